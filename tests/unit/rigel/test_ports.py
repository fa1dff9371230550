"""A taken port is told before anything starts."""

import socket

import pytest

from rigel.ports import Port, PortTaken, refuse_taken


def test_a_free_port_passes() -> None:
    refuse_taken(Port("127.0.0.1", 0, "RIGEL_BROKER_PORT"))


def test_a_taken_port_is_named_with_the_setting_that_changes_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]

        with pytest.raises(PortTaken) as caught:
            refuse_taken(Port("127.0.0.1", number, "RIGEL_BROKER_PORT"))

    assert f"127.0.0.1:{number}: Address already in use" in str(caught.value)
    assert "RIGEL_BROKER_PORT" in str(caught.value)
