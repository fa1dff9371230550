"""The vectors of FIWARE's JSON and UltraLight agents, through real servers into a real broker."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.devices import SERVICE, Field, field, merged
from tests.support.mosquitto import mosquitto, needs_mosquitto
from tests.support.serve import running_broker
from tests.support.shared import needs_shared
from tests.support.vectors import differences, vector

RECEIVED = "2026-03-01T08:15:00.000Z"
FILES = ("iota_json_measures.json", "iota_ul_measures.json", "ul_multi_measure.json")


@needs_shared
@needs_mosquitto
@pytest.mark.parametrize("name", FILES)
@pytest.mark.timeout(180)
async def test_the_vectors_give_what_they_say(tmp_path: Path, name: str) -> None:
    document = vector(name)
    assert document.get("headers", SERVICE) == SERVICE
    wrong: dict[str, list[str]] = {}
    (tmp_path / "mosquitto").mkdir()
    async with mosquitto(tmp_path / "mosquitto") as server, running_broker(tmp_path) as broker:
        for number, case in enumerate(document["cases"]):
            moment = datetime.fromisoformat(case.get("receive_time", RECEIVED)).astimezone(UTC)
            async with field(
                tmp_path / str(number),
                broker.url,
                server.url,
                now=moment,
                mqtt_unprefixed=True,
                command_subscriptions=False,
            ) as street:
                found = await _played(street, document["provisioning"], case)
                await _clear(street)
            if found:
                wrong[case["name"]] = found

    assert wrong == {}


async def _played(
    street: Field, provisioning: Mapping[str, Any], case: Mapping[str, Any]
) -> list[str]:
    groups = [dict(group) for group in provisioning["groups"]]
    groups[0] |= case.get("group_patch", {})
    await street.north("POST", "/iot/groups", {"groups": groups}, status=201)
    if case["input"]["topic" if case["input"]["transport"] == "mqtt" else "path"].endswith(
        "cmdexe"
    ):
        await street.north("POST", "/iot/devices", {"devices": [_device(groups[0])]}, status=201)
    found = await _sent(street, case)
    await street.agents.drained()
    static = [each["name"] for each in groups[0].get("static_attributes", ())]
    expected = dict(case)
    if "expected_sequence" in case:
        expected["expected"] = merged(case["expected_sequence"])
    got = [entity async for entity in street.broker.query_entities(type="ParkingSpot,Device")]
    found += differences(expected, [_without_ours(entity) for entity in got], static=static)
    if "expected_error" in case and not street.counters["rejected"]:
        found.append("was not rejected")
    for device in case.get("expected_state", {}).get("devices_added", ()):
        await street.north("GET", f"/iot/devices/{device}", status=200)
    return found


def _device(group: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "device_id": "spot17",
        "entity_type": group["entity_type"],
        "apikey": group["apikey"],
    }


def _without_ours(entity: Mapping[str, Any]) -> dict[str, Any]:
    return {name: member for name, member in entity.items() if name != "@context"}


async def _sent(street: Field, case: Mapping[str, Any]) -> list[str]:
    given = case["input"]
    if given["transport"] == "mqtt":
        await street.publish(given["topic"], _bytes(given, "payload"))
        return []
    url = street.agents.http_url + given["path"]
    data = _bytes(given, "body") if given["method"] == "POST" else None
    headers = given.get("headers", {})
    async with street.http.request(given["method"], url, data=data, headers=headers) as answer:
        text = await answer.text()
    expected = case["expected_response"]
    found = [] if answer.status == expected["http"] else [f"answered {answer.status}: {text}"]
    if "body_text" in expected and text != expected["body_text"]:
        found.append(f"answered {text!r}")
    if "body" in expected:
        body = msgspec.json.decode(text)
        found += [
            f"answered {body}"
            for name, value in expected["body"].items()
            if body.get(name) != value
        ]
    return found


def _bytes(given: Mapping[str, Any], member: str) -> bytes:
    if f"{member}_hex" in given:
        return bytes.fromhex(given[f"{member}_hex"])
    if f"{member}_text" in given:
        return str(given[f"{member}_text"]).encode()
    return msgspec.json.encode(given[member])


async def _clear(street: Field) -> None:
    async for entity in street.broker.query_entities(type="ParkingSpot,Device"):
        await street.broker.delete_entity(entity["id"])
