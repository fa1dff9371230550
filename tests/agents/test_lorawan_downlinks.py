"""Commands to LoRaWAN devices over MQTT: into the network server's queue, and their fates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.lorawan import EUI, uplink
from tests.support.mosquitto import mosquitto, needs_mosquitto
from tests.support.valves import (
    ENTITY,
    TTS,
    TTS_UP,
    V3_UP,
    V4,
    Works,
    network_server,
    next_downlink,
    tts,
    valve,
    works,
    works_at,
)

pytestmark = needs_mosquitto


async def test_a_command_becomes_a_downlink_that_the_device_confirms(tmp_path: Path) -> None:
    async with works(tmp_path) as town:
        await town.provision()
        await town.send(f"{V4}/event/up", uplink())
        await town.ask({"open": True})
        topic, message = await town.downlink()
        await town.shows("SENT")
        told = uplink(queueItemId=message["id"], acknowledged=True)
        await town.send(f"{V4}/event/txack", told)
        await town.shows("DELIVERED")
        await town.send(f"{V4}/event/ack", told)
        entity = await town.shows("OK")

    assert topic == f"{V4}/command/down"
    assert message["devEui"] == EUI
    assert (message["data"], message["fPort"], message["confirmed"]) == ("AQI=", 9, True)
    assert entity["open_info"]["value"] == "the device confirmed it"
    assert entity["opened"]["value"] is True


@pytest.mark.parametrize(
    ("event", "members", "reason"),
    [
        ("ack", {"acknowledged": False}, "did not acknowledge"),
        ("log", {"level": "ERROR", "code": "EXPIRED"}, "expired in the network server"),
    ],
)
async def test_a_downlink_that_fails_is_a_command_that_failed(
    tmp_path: Path, event: str, members: Mapping[str, Any], reason: str
) -> None:
    async with works(tmp_path) as town:
        await town.provision()
        await town.send(f"{V4}/event/up", uplink())
        await town.ask({"open": False})
        _, message = await town.downlink()
        named = {"queueItemId": message["id"], "context": {"queue_item_id": message["id"]}}
        await town.send(f"{V4}/event/{event}", uplink(**members, **named))
        entity = await town.shows("ERROR")

    assert reason in entity["open_info"]["value"]


async def test_an_unconfirmed_downlink_is_done_when_it_was_sent(tmp_path: Path) -> None:
    async with works(tmp_path) as town:
        await town.provision(confirmed=False)
        await town.send(f"{V4}/event/up", uplink())
        await town.ask({"open": True})
        _, message = await town.downlink()
        await town.send(f"{V4}/event/txack", uplink(queueItemId=message["id"]))
        entity = await town.shows("OK")

    assert "not asked to confirm" in entity["open_info"]["value"]


async def test_a_device_on_the_things_stack_is_told_there(tmp_path: Path) -> None:
    async with works(tmp_path) as town:
        await town.provision()
        await town.send(f"{TTS}/up", TTS_UP)
        await town.ask({"open": True})
        topic, message = await town.downlink()
        (told,) = message["downlinks"]
        ids = {"correlation_ids": [*told["correlation_ids"], "as:down:1"]}
        await town.send(f"{TTS}/down/queued", tts("downlink_queued", **ids))
        await town.send(f"{TTS}/down/sent", tts("downlink_sent", **ids))
        await town.shows("DELIVERED")
        await town.send(f"{TTS}/down/ack", tts("downlink_ack", **ids))
        await town.shows("OK")

    assert topic == f"{TTS}/down/push"
    assert (told["frm_payload"], told["f_port"], told["confirmed"]) == ("AQI=", 9, True)


async def test_the_things_stack_tries_once_what_must_not_come_twice(tmp_path: Path) -> None:
    async with works(tmp_path) as town:
        await town.provision()
        await town.send(f"{TTS}/up", TTS_UP)
        await town.ask({"open": True})
        _, message = await town.downlink()
        (told,) = message["downlinks"]
        await town.send(f"{TTS}/down/nack", tts("downlink_nack", **told))
        entity = await town.shows("ERROR")

    assert told["confirmed_retry"] == {"max_attempts": 1}
    assert "downlink_nack" in entity["open_info"]["value"]


async def test_a_command_can_replace_the_queue_of_the_things_stack(tmp_path: Path) -> None:
    async with works(tmp_path) as town:
        await town.provision(metadata={"replace": {"value": True}})
        await town.send(f"{TTS}/up", TTS_UP)
        await town.ask({"open": True})
        topic, _ = await town.downlink()

    assert topic == f"{TTS}/down/replace"


async def test_what_was_replaced_in_a_queue_has_failed(tmp_path: Path) -> None:
    options = {"open": {}, "stop": {"replace": {"value": True}}}
    commands = [{"name": name, "metadata": metadata} for name, metadata in options.items()]
    async with works(tmp_path) as town:
        await town.provision(commands=commands)
        await town.send(f"{TTS}/up", TTS_UP)
        await town.ask({"open": True})
        await town.shows("SENT")
        await town.ask_here(command="stop")
        entity = await town.shows("ERROR")

    assert entity["open_info"]["value"] == "another command took its place in the network's queue"


async def test_a_queue_that_cannot_be_replaced_says_so(tmp_path: Path) -> None:
    async with works(tmp_path) as town:
        await town.provision(metadata={"replace": {"value": True}})
        await town.send(f"{V4}/event/up", uplink())
        await town.ask({"open": True})
        entity = await town.shows("ERROR")

    assert "chirpstack-v4 cannot replace" in entity["open_info"]["value"]


async def test_a_device_on_chirpstack_v3_is_known_by_its_eui(tmp_path: Path) -> None:
    async with works(tmp_path) as town:
        await town.provision()
        await town.send(f"{V4}/event/up", V3_UP)
        await town.ask({"open": True})
        topic, message = await town.downlink()
        await town.shows("SENT")
        await town.send(f"{V4}/event/txack", {"devEUI": EUI})
        await town.shows("DELIVERED")
        await town.send(f"{V4}/event/ack", {"devEUI": EUI, "acknowledged": True})
        await town.shows("OK")

    assert topic == f"{V4}/command/down"
    assert message == {"confirmed": True, "fPort": 9, "data": "AQI="}


async def test_bytes_can_be_given_as_they_are(tmp_path: Path) -> None:
    async with works(tmp_path) as town:
        await town.provision()
        await town.send(f"{V4}/event/up", uplink())
        await town.ask({"hex": "ff1d", "fPort": 85})
        _, message = await town.downlink()

    assert (message["data"], message["fPort"]) == ("/x0=", 85)


@pytest.mark.parametrize(
    ("value", "reason"),
    [({"shut": 1}, "open is not said"), ({"hex": "0"}, "is not hex")],
    ids=["the script refuses", "no hex"],
)
async def test_a_command_that_cannot_be_encoded_fails_with_the_reason(
    tmp_path: Path, value: Any, reason: str
) -> None:
    async with works(tmp_path) as town:
        await town.provision()
        await town.send(f"{V4}/event/up", uplink())
        await town.ask(value)
        entity = await town.shows("ERROR")

    assert reason in entity["open_info"]["value"]


async def test_a_command_waits_until_the_device_was_heard_of(tmp_path: Path) -> None:
    async with works(tmp_path, retry_first=3600.0, retry_limit=3600.0) as town:
        await town.provision()
        await town.ask_here()
        await eventually(lambda: _says(town, "it has not sent anything yet"))
        await town.send(f"{V4}/event/up", uplink())
        topic, _ = await town.downlink()

    assert topic == f"{V4}/command/down"


async def _says(town: Works, reason: str) -> bool:
    return reason in await town.commands()


async def test_a_command_to_a_device_that_is_never_heard_of_expires(tmp_path: Path) -> None:
    async with works(tmp_path) as town:
        await town.provision()
        await town.ask_here(expiry=0.2)
        entity = await town.shows("EXPIRED")

    assert entity["open_info"]["value"] == "it never left within 0.2 s"


async def test_a_device_can_be_told_where_it_is_before_it_was_heard_of(tmp_path: Path) -> None:
    async with works(tmp_path) as town:
        await town.provision(lorawan={"application_id": "7"})
        await town.ask_here()
        topic, _ = await town.downlink()

    assert topic == f"{V4}/command/down"


async def test_one_request_opens_all_valves(tmp_path: Path) -> None:
    euis = [f"02000000000000{n:02x}" for n in range(3)]
    valves = [
        valve(device_id=eui, entity_name=f"{ENTITY}:{eui}", lorawan={"application_id": "7"})
        for eui in euis
    ]
    async with works(tmp_path) as town:
        await town.north("/iot/devices", {"devices": valves}, 201)
        await town.ask_here(entities=[], type="Valve")
        downlinks = [await town.downlink() for _ in euis]
        for _, message in downlinks:
            eui = message["devEui"]
            told = uplink(queueItemId=message["id"], deviceInfo={"devEui": eui}, acknowledged=True)
            await town.send(f"application/7/device/{eui}/event/ack", told)
            await town.shows("OK", f"{ENTITY}:{eui}")

    assert sorted(message["devEui"] for _, message in downlinks) == euis


async def test_where_a_device_is_survives_a_restart(tmp_path: Path) -> None:
    async with works(tmp_path) as town:
        await town.provision()
        await town.send(f"{V4}/event/up", uplink())
        await town.agents.drained()
    async with works(tmp_path) as town:
        await town.ask({"open": True})
        topic, _ = await town.downlink()

    assert topic == f"{V4}/command/down"


async def test_a_network_can_have_an_mqtt_server_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    async with (
        mosquitto(tmp_path / "own") as own,
        mosquitto(tmp_path) as shared,
        works_at(
            tmp_path,
            shared,
            lorawan_servers=(
                f"things-stack=mqtt://app@127.0.0.1:{own.port}",
                f"things-stack=mqtt://other@127.0.0.1:{own.port}",
            ),
        ) as town,
        network_server(own.url) as network,
    ):
        await town.provision()
        town.mqtt, shared_mqtt = network, town.mqtt
        await town.send(f"{TTS}/up", TTS_UP)
        await town.ask({"open": True})
        topic, _ = await next_downlink(network)
        left_out = shared_mqtt.messages

    assert topic == f"{TTS}/down/push"
    assert len(left_out) == 0


async def test_a_topic_of_the_operators_own_takes_downlinks(tmp_path: Path) -> None:
    target = "own/{application}/{DEV_EUI}/down"
    async with works(tmp_path, lorawan_downlinks=(f"chirpstack={target}",)) as town:
        await town.provision()
        named = {"devEui": EUI, "applicationId": "7"}
        await town.send(f"{V4}/event/up", uplink(deviceInfo=named))
        await town.ask({"open": True})
        topic, _ = await town.downlink()

    assert topic == f"own/7/{EUI.upper()}/down"


async def test_no_application_can_name_another_topic(tmp_path: Path) -> None:
    async with works(tmp_path, lorawan_downlinks=("chirpstack=own/{application}/down",)) as town:
        await town.provision()
        named = {"devEui": EUI, "applicationId": "7/#"}
        await town.send(f"{V4}/event/up", uplink(deviceInfo=named))
        await town.ask({"open": True})
        entity = await town.shows("ERROR")

    assert "cannot stand in a topic" in entity["open_info"]["value"]


async def test_downlinks_of_others_change_nothing(tmp_path: Path) -> None:
    async with works(tmp_path) as town:
        await town.provision()
        await town.send(f"{V4}/event/up", uplink())
        await town.ask({"open": True})
        await town.downlink()
        await town.shows("SENT")
        await town.send(f"{V4}/event/ack", uplink(queueItemId="another", acknowledged=True))
        await town.send(f"{V4}/event/txack", uplink())
        await eventually(lambda: town.agents.metrics()["ignored"] == 2)
        await town.agents.drained()
        await town.shows("SENT")
