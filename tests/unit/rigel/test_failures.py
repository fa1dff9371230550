"""A failure that explains itself is told in a line; a defect keeps its traceback."""

import pytest

from rigel.demo.facts import NeverTrue
from rigel.failures import explanation
from rigel.ports import PortTaken


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PortTaken("port 1026 is taken"), "port 1026 is taken"),
        (
            ExceptionGroup("tasks", [ExceptionGroup("inner", [NeverTrue("not ready")])]),
            "not ready",
        ),
        (
            ExceptionGroup("tasks", [NeverTrue("not ready"), OSError("disk full")]),
            "not ready\ndisk full",
        ),
        (
            FileNotFoundError(2, "No such file or directory", "bay.yaml"),
            "bay.yaml: No such file or directory",
        ),
        (KeyError("defect"), None),
        (ExceptionGroup("tasks", [NeverTrue("not ready"), KeyError("defect")]), None),
    ],
    ids=["plain", "wrapped", "several", "no file", "defect", "defect beside it"],
)
def test_what_is_said_of_an_error(error: Exception, said: str | None) -> None:
    assert explanation(error) == said
