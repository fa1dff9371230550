"""What is told of what was started."""

import pytest

from broker.client import BrokerUnreachable, Client
from rigel.up import Running, addresses


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("mqtt://city:s3cret@broker.example:1883", "mqtt://broker.example:1883"),
        ("mqtts://city:p%40ss@[2001:db8::1]:8883", "mqtts://[2001:db8::1]:8883"),
        ("mqtt://localhost", "mqtt://localhost"),
    ],
    ids=["user and password", "escaped, IPv6", "nobody"],
)
def test_where_things_are_is_told_without_passwords(url: str, told: str) -> None:
    assert addresses(Running(mqtt=url)) == {"MQTT broker": told}


async def test_a_broker_that_cannot_be_reached_is_told_of_without_its_password() -> None:
    async with Client.connect("http://city:s3cret@127.0.0.1:9") as client:
        with pytest.raises(BrokerUnreachable) as failure:
            await client.request("GET", "/types")

    assert "http://127.0.0.1:9/ngsi-ld/v1/types" in str(failure.value)
    assert "s3cret" not in str(failure.value)
