"""Uplinks of a ChirpStack server through MQTT and HTTP, to what reaches the broker."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.eventually import eventually
from tests.support.lorawan import EUI, HTTP_TOKEN, TOPIC, City, city, sensor, uplink
from tests.support.mosquitto import mosquitto, needs_mosquitto
from tests.support.shared import needs_shared
from tests.support.vectors import differences, vector


def provisioned(name: str, eui: str) -> dict[str, Any]:
    """Return the device of a vector as the provisioning API takes it."""
    given = vector(name)["provisioning"]
    members = ("attributes", "static_attributes", "entity_name", "entity_type")
    return {
        "device_id": eui,
        "internal_attributes": {"lorawan": {"codec": given["codec"]}},
        **{member: given[member] for member in members if member in given},
    }


@needs_shared
@pytest.mark.parametrize(
    ("name", "eui"),
    [
        ("chirpstack_v4_up_parking.json", "0200000000000a11"),
        ("chirpstack_v4_up_tensiometer.json", "0200000000000b22"),
    ],
    ids=["parking", "tensiometer"],
)
async def test_the_vectors_give_what_they_say(tmp_path: Path, name: str, eui: str) -> None:
    static = {each["name"] for each in vector(name)["provisioning"].get("static_attributes", ())}
    async with city(tmp_path) as town:
        await town.provision(provisioned(name, eui))
        for case in vector(name)["cases"]:
            given = case["input"]
            await _deliver(town, given)

            assert differences(case, await town.updates(), static=static) == [], case["name"]


async def _deliver(town: City, given: Mapping[str, Any]) -> None:
    if given["transport"] == "mqtt":
        await town.publish(given["payload"], given["topic"])
        return
    async with town.http.post(
        f"{town.agents.url}/lorawan/chirpstack?{given['query']}",
        json=given["payload"],
        headers={"Authorization": f"Bearer {HTTP_TOKEN}"},
    ) as answer:
        assert answer.status == 200, await answer.text()


@needs_mosquitto
async def test_uplinks_come_through_a_server_of_ones_own(tmp_path: Path) -> None:
    async with mosquitto(tmp_path) as server, city(tmp_path, mqtt_url=server.url) as town:
        await town.provision(sensor())

        async def is_ready() -> bool:
            return bool((await town.get("/ready"))["ready"])

        await eventually(is_ready)
        await town.mqtt.publish(TOPIC, msgspec.json.encode(uplink()), qos=1)

        await town.receiver.received(2)
        spot = (await town.updates())[0]

    assert spot["status"]["value"] == "occupied"
    assert spot["status"]["observedAt"] == "2026-03-01T08:15:02.123Z"


async def test_a_mapping_file_serves_a_device_without_attributes(tmp_path: Path) -> None:
    async with city(tmp_path) as town:
        await town.provision(sensor())
        await town.publish(uplink())

        entities = {entity["type"]: entity for entity in await town.updates()}

    assert entities["ParkingSpot"]["id"] == "urn:ngsi-ld:ParkingSpot:centre:017"
    assert entities["ParkingSpot"]["status"]["value"] == "occupied"
    assert entities["Device"]["rssi"]["value"] == -57


async def test_static_attributes_come_with_the_first_measure_only(tmp_path: Path) -> None:
    point = {"type": "Point", "coordinates": [-4.7, 41.6]}
    static = [{"name": "location", "type": "geo:json", "value": point}]
    async with city(tmp_path) as town:
        await town.provision(sensor(static_attributes=static))
        await town.publish(uplink(1))
        first = {entity["type"]: entity for entity in await town.updates()}
        await town.publish(uplink(2))
        second = {entity["type"]: entity for entity in await town.updates()}

    assert first["ParkingSpot"]["location"]["type"] == "GeoProperty"
    assert first["ParkingSpot"]["location"]["value"] == point
    assert "location" not in second["ParkingSpot"]
    assert "status" in second["ParkingSpot"]


async def test_a_changed_device_sends_its_static_attributes_again(tmp_path: Path) -> None:
    async with city(tmp_path) as town:
        await town.provision(sensor(static_attributes=[{"name": "name", "value": "old"}]))
        await town.publish(uplink(1))
        await town.updates()
        headers = {"fiware-service": "city", "fiware-servicepath": "/"}
        change = {"static_attributes": [{"name": "name", "value": "new"}]}
        url = f"{town.agents.url}/iot/devices/{EUI}"
        async with town.http.put(url, json=change, headers=headers) as answer:
            assert answer.status == 204
        await town.publish(uplink(2))

        names = [entity["name"]["value"] for entity in await town.updates() if "name" in entity]

    assert names == ["new"]


async def test_the_tenant_is_that_of_the_device(tmp_path: Path) -> None:
    async with city(tmp_path) as town:
        await town.provision(sensor(), service="north")
        await town.publish(uplink())
        await town.updates()

    assert {upsert.tenant for upsert in town.receiver.upserts} == {"north"}


async def test_an_unknown_device_waits_with_its_payload(tmp_path: Path) -> None:
    async with city(tmp_path) as town:
        await town.publish(uplink(1))
        await town.publish(uplink(2))

        (waiting,) = (await town.get("/iot/waiting"))["devices"]
        updates = await town.updates()

    assert updates == []
    assert waiting["device_id"] == EUI
    assert waiting["measures"] == 2
    assert waiting["payload"]["fCnt"] == 2
    assert "provisioned" in waiting["reason"]
    assert town.counters["waiting"] == 2


async def test_a_device_in_the_waiting_room_survives_a_restart_and_can_be_forgotten(
    tmp_path: Path,
) -> None:
    async with city(tmp_path) as town:
        await town.publish(uplink())
    async with city(tmp_path) as town:
        before = await town.get("/iot/waiting")
        async with town.http.delete(f"{town.agents.url}/iot/waiting/{EUI}") as answer:
            forgotten = answer.status
        async with town.http.delete(f"{town.agents.url}/iot/waiting/{EUI}") as answer:
            again = answer.status
        after = await town.get("/iot/waiting")

    assert (before["count"], after["count"]) == (1, 0)
    assert (forgotten, again) == (204, 404)


async def test_a_payload_that_no_mapping_accepts_waits_for_one(tmp_path: Path) -> None:
    strange = uplink(deviceInfo={"devEui": EUI, "deviceProfileName": "never heard of"})
    async with city(tmp_path) as town:
        await town.provision(sensor())
        await town.publish(strange)

        (waiting,) = (await town.get("/iot/waiting"))["devices"]

    assert "no mapping" in waiting["reason"]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"not json", "not an uplink"),
        (uplink(data="!!"), "base64"),
        (uplink(time="yesterday"), "yesterday"),
        (uplink(deviceInfo={"devEui": "0200000000000fff"}), "0200000000000fff"),
        (uplink(joinServerContext={"sessionKeyId": "x"}), "encrypted payload"),
        (uplink(data="AQID", fPort=1, fCnt="many"), "fCnt"),
        (uplink(fPort=9), "9"),
    ],
    ids=["json", "base64", "time", "another device", "encrypted", "type", "port"],
)
async def test_a_bad_uplink_is_kept_with_its_reason_and_stops_nothing(
    tmp_path: Path, message: Any, reason: str
) -> None:
    async with city(tmp_path) as town:
        await town.provision(sensor())
        await town.publish(message)
        await town.publish(uplink(7))
        letters = await town.get("/iot/dead-letters")
        updates = await town.updates()

    assert letters["count"] == 1
    assert reason in letters["deadLetters"][0]["reason"]
    assert letters["deadLetters"][0]["device"] == EUI
    assert town.counters["rejected"] == 1
    assert {entity["type"] for entity in updates} == {"ParkingSpot", "Device"}


async def test_in_reject_mode_an_entity_against_its_model_is_refused(tmp_path: Path) -> None:
    bad = {"device_id": EUI, "entity_type": "ParkingSpot", "entity_name": "urn:ngsi-ld:P:1"}
    attribute = {"object_id": "occupied", "name": "status", "type": "Text"}
    codec = {"lorawan": {"codec": "bosch-tps110"}}
    device = {**bad, "attributes": [attribute], "internal_attributes": codec}
    async with city(tmp_path, validation="reject") as town:
        await town.provision(device)
        await town.publish(uplink())
        (letter,) = (await town.get("/iot/dead-letters"))["deadLetters"]
        updates = await town.updates()

    assert updates == []
    assert "status: expected" in letter["reason"]


@pytest.mark.parametrize("event", ["join", "status", "ack", "txack", "log", "location"])
async def test_other_events_than_uplinks_bring_no_measure(tmp_path: Path, event: str) -> None:
    async with city(tmp_path) as town:
        await town.provision(sensor())
        told = uplink(location={"latitude": 41, "longitude": -4})
        await town.publish(told, TOPIC.replace("/up", f"/{event}"))
        updates = await town.updates()

    assert updates == []
    assert town.counters["ignored"] == 1


async def test_a_frame_counter_that_begins_again_after_a_join_is_new(tmp_path: Path) -> None:
    async with city(tmp_path) as town:
        await town.provision(sensor())
        await town.publish(uplink(0))
        await town.publish(uplink(0))
        await town.publish(uplink(0, devAddr="01ffffff"))
        await town.updates()

    assert town.counters["duplicates"] == 1
    assert town.counters["delivered"] == 2


async def test_a_duplicate_is_known_after_a_restart(tmp_path: Path) -> None:
    async with city(tmp_path) as town:
        await town.provision(sensor())
        await town.publish(uplink(5))
        await town.updates()
    async with city(tmp_path) as town:
        await town.publish(uplink(5))

        assert await town.updates() == []
        assert town.counters["duplicates"] == 1


async def test_the_http_integration_wants_its_token(tmp_path: Path) -> None:
    async with city(tmp_path) as town:
        url = f"{town.agents.url}/lorawan/chirpstack?event=up"
        async with town.http.post(url, json=uplink()) as answer:
            refused = answer.status
        headers = {"Authorization": f"Bearer {HTTP_TOKEN}"}
        async with town.http.post(url, data=b"x", headers=headers) as answer:
            bad = answer.status

    assert (refused, bad) == (401, 400)
    assert town.counters["unauthorized"] == 1


async def test_a_full_spool_holds_the_network_server_back_and_loses_nothing(
    tmp_path: Path,
) -> None:
    async with city(tmp_path, spool_max_measures=1) as town:
        await town.provision(sensor())
        blocked = asyncio.Event()
        town.receiver.hold = blocked
        await town.publish(uplink(1))
        headers = {"Authorization": f"Bearer {HTTP_TOKEN}"}
        url = f"{town.agents.url}/lorawan/chirpstack?event=up"
        async with town.http.post(url, json=uplink(2), headers=headers) as answer:
            refused = answer.status
        ready = await town.get("/ready")

        async with asyncio.TaskGroup() as group:
            group.create_task(town.publish(uplink(3)))
            blocked.set()
        await town.updates()

    assert refused == 503
    assert "full" in ready["reasons"][0]
    assert town.counters["delivered"] == 2


async def test_the_metrics_page_tells_what_happened(tmp_path: Path) -> None:
    async with city(tmp_path) as town:
        await town.provision(sensor())
        await town.publish(uplink(1))
        await town.publish(uplink(1))
        await town.updates()
        async with town.http.get(town.agents.url + "/metrics") as answer:
            page = await answer.text()
        health, ready = await town.get("/health"), await town.get("/ready")

    assert 'rigel_agent_received_total{agent="lorawan"} 2.0' in page
    assert 'rigel_agent_acknowledged_total{agent="lorawan"} 2.0' in page
    assert 'rigel_agent_duplicates_total{agent="lorawan"} 1.0' in page
    assert 'rigel_agent_delivered_total{agent="lorawan"} 1.0' in page
    assert 'rigel_agent_pending{agent="lorawan"} 0.0' in page
    assert health == {"status": "ok"}
    assert ready["ready"] is True
