"""What JSON and UltraLight devices may do wrong, and what is kept of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.devices import field
from tests.support.ngsi_receiver import ngsi_receiver

GROUP = {"apikey": "parkkey", "resource": "/iot/json", "entity_type": "ParkingSpot"}
SPOT = "urn:ngsi-ld:ParkingSpot:spot17"


async def test_what_waited_is_read_again_when_its_device_is_known(tmp_path: Path) -> None:
    async with ngsi_receiver() as receiver, field(tmp_path, receiver.url) as street:
        await street.publish("/json/parkkey/spot17/attrs/level", b"1")
        await street.publish("/json/parkkey/spot17/attrs", b'[{"a":2},{"b":3}]')
        assert (await street.north("GET", "/iot/waiting"))["count"] == 1
        await street.north("POST", "/iot/groups", {"groups": [GROUP]}, status=201)
        await street.publish("/json/parkkey/spot17/attrs", b'{"c":4}')
        await street.agents.drained()

        names = [
            name
            for entity in receiver.entities
            for name in entity
            if name in ("level", "a", "b", "c")
        ]
        assert names == ["level", "a", "b", "c"]
        assert receiver.entities[0]["id"] == SPOT
        assert (await street.north("GET", "/iot/waiting"))["count"] == 0


@pytest.mark.parametrize(
    ("topic", "payload", "reason"),
    [
        ("/json/parkkey/spot17/attrs", b"[" * 100_000, "BAD_PAYLOAD: not JSON"),
        ("/json/parkkey/spot17/attrs", b"[" + b"{}," * 1000 + b"{}]", "more than 1000 sets"),
        ("/ul/parkkey/spot17/attrs", b"\xff|1", "PARSE_ERROR: not UTF-8"),
        ("/ul/parkkey/spot17/attrs", b"#".join([b"a|1"] * 1001), "more than 1000 groups"),
        ("/json/park key/spot17/attrs", b"{}", "apikey and device must be"),
        ("/json/parkkey/" + "x" * 257 + "/attrs", b"{}", "apikey and device must be"),
        ("/json/parkkey/spot17/cmdexe", b'{"open":1}', "the device has no command 'open'"),
        ("/json/parkkey/spot17/attrs", b'{"a":"' + b"x" * 2000 + b'"}', "larger than 2000 bytes"),
    ],
    ids=["nested", "sets", "bytes", "groups", "apikey", "long id", "result", "large"],
)
async def test_bad_messages_are_kept_with_what_is_wrong_with_them(
    tmp_path: Path, topic: str, payload: bytes, reason: str
) -> None:
    limit = 2000 if b"xxx" in payload else 1_000_000
    async with (
        ngsi_receiver() as receiver,
        field(tmp_path, receiver.url, max_body=limit) as street,
    ):
        await street.north("POST", "/iot/groups", {"groups": [GROUP]}, status=201)
        await street.publish(topic, payload)
        letters = await street.north("GET", "/iot/dead-letters")
        await street.publish("/json/parkkey/spot18/attrs", b'{"a":1}')
        await street.agents.drained()

    assert [reason in each["reason"] for each in letters["deadLetters"]] == [True]
    assert [entity["id"] for entity in receiver.entities] == ["urn:ngsi-ld:ParkingSpot:spot18"]


async def test_a_message_that_comes_again_is_one_observation(tmp_path: Path) -> None:
    payload = b'{"a":1,"TimeInstant":"2026-03-01T08:15:00Z"}'
    async with ngsi_receiver() as receiver, field(tmp_path, receiver.url) as street:
        await street.north("POST", "/iot/groups", {"groups": [GROUP]}, status=201)
        await street.publish("/json/parkkey/spot17/attrs", payload)
        await street.publish("/json/parkkey/spot17/attrs", payload)
        await street.agents.drained()

        assert len(receiver.entities) == 1
        assert street.counters["duplicates"] == 1


async def test_several_sets_reach_the_broker_one_after_the_other(tmp_path: Path) -> None:
    payload = b"2026-03-01T08:20:00Z|a|2#2026-03-01T08:15:00Z|a|1"
    async with ngsi_receiver() as receiver, field(tmp_path, receiver.url) as street:
        await street.north("POST", "/iot/groups", {"groups": [GROUP]}, status=201)
        await street.publish("ul/parkkey/spot17/attrs", payload)
        await street.agents.drained()

        sent = [[entity["a"]["value"] for entity in upsert.entities] for upsert in receiver.upserts]
        assert sent == [[1], [2]]


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Type": "application/json"}, b'{"a":1}'),
        ({"Content-Type": "text/plain"}, b"a|1"),
    ],
    ids=["JSON", "UltraLight"],
)
async def test_a_group_with_a_path_of_its_own_is_served(
    tmp_path: Path, headers: dict[str, str], body: bytes
) -> None:
    group: dict[str, Any] = {**GROUP, "resource": "/meters"}
    async with ngsi_receiver() as receiver, field(tmp_path, receiver.url) as street:
        await street.north("POST", "/iot/groups", {"groups": [group]}, status=201)
        url = f"{street.agents.http_url}/meters?k=parkkey&i=spot17"
        async with street.http.post(url, data=body, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
        await street.agents.drained()

        assert [entity["a"]["value"] for entity in receiver.entities] == [1]


async def test_a_device_without_a_key_sends_with_the_default_one(tmp_path: Path) -> None:
    device = {"device_id": "spot17", "entity_type": "ParkingSpot"}
    async with ngsi_receiver() as receiver, field(tmp_path, receiver.url) as street:
        await street.north("POST", "/iot/devices", {"devices": [device]}, status=201)
        await street.publish("/json/1234/spot17/attrs", b'{"a":1}')
        await street.agents.drained()

        assert [entity["id"] for entity in receiver.entities] == [SPOT]


async def test_an_apikey_in_wrong_hands_fills_no_registry(tmp_path: Path) -> None:
    async with (
        ngsi_receiver() as receiver,
        field(tmp_path, receiver.url, autoprovision_limit=2) as street,
    ):
        await street.north("POST", "/iot/groups", {"groups": [GROUP]}, status=201)
        for number in range(4):
            await street.publish(f"/json/parkkey/made-up-{number}/attrs", b'{"a":1}')
        url = f"{street.agents.http_url}/iot/json?k=parkkey&i=another"
        async with street.http.post(url, json={"a": 1}) as answer:
            assert answer.status == 404
            assert "autoprovision_limit" in (await answer.json())["message"]
        await street.agents.drained()

        assert (await street.north("GET", "/iot/devices"))["count"] == 2
        assert (await street.north("GET", "/iot/waiting"))["count"] == 3
        async with street.http.get(street.agents.url + "/metrics") as answer:
            counted = re.search(r"turned_away_total (\d+)", await answer.text())
        assert counted is not None
        assert int(counted[1]) >= 3
        assert {entity["id"][-1] for entity in receiver.entities} == {"0", "1"}
