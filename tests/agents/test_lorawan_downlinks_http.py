"""Commands to LoRaWAN devices over HTTP, to network servers that are real receivers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.http import serving
from tests.support.lorawan import EUI, uplink
from tests.support.mosquitto import free_port, needs_mosquitto
from tests.support.valves import TTS_UP, V3_UP, V4, Queue, Works, tts, works

LORIOT_UP = {"cmd": "rx", "EUI": EUI, "fcnt": 1, "port": 1, "data": "01"}
THINGPARK_UP = {"DevEUI": EUI, "FPort": 1, "FCntUp": 1, "payload_hex": "01"}
pytestmark = needs_mosquitto


def pushes(url: str, key: str = "NNSXS.KEY") -> dict[str, str]:
    """Return the headers by which a webhook of The Things Stack names the way back."""
    return {
        "X-Downlink-Push": f"{url}/as/down/push",
        "X-Downlink-Replace": f"{url}/as/down/replace",
        "X-Downlink-Apikey": key,
    }


async def test_a_webhook_tells_where_downlinks_go_and_with_which_key(tmp_path: Path) -> None:
    queue = Queue()
    async with serving({"/as": queue.app()}) as url, works(tmp_path) as town:
        await town.provision()
        await town.post("things-stack/up", TTS_UP, **pushes(url))
        await town.ask({"open": True})
        path, told, body = await queue.next()
        await town.shows("SENT")
        await town.post("things-stack/ack", tts("downlink_ack", **body["downlinks"][0]))
        await town.shows("OK")

    assert path == "/as/down/push"
    assert told["Authorization"] == "Bearer NNSXS.KEY"
    assert body["downlinks"][0]["frm_payload"] == "AQI="


async def test_after_a_restart_the_key_comes_with_the_next_message(tmp_path: Path) -> None:
    queue = Queue()
    async with serving({"/as": queue.app()}) as url:
        async with works(tmp_path) as town:
            await town.provision()
            await town.post("things-stack/up", TTS_UP, **pushes(url, "OLD"))
        async with works(tmp_path, retry_first=3600.0, retry_limit=3600.0) as town:
            await town.ask({"open": True})
            await eventually(lambda: _waits(town, "the key comes with the device's next message"))
            next_up = {**TTS_UP, "uplink_message": {**TTS_UP["uplink_message"], "f_cnt": 2}}
            await town.post("things-stack/up", next_up, **pushes(url, "NEW"))
            _, told, _ = await queue.next()

    assert told["Authorization"] == "Bearer NEW"
    assert queue.count == 1


async def _waits(town: Works, reason: str) -> bool:
    return reason in await town.commands()


@pytest.mark.parametrize(
    ("network", "message", "template", "path", "header"),
    [
        (
            "chirpstack",
            uplink(),
            "/api/devices/{dev_eui}/queue",
            f"/api/devices/{EUI}/queue",
            "Grpc-Metadata-Authorization",
        ),
        (
            "chirpstack",
            V3_UP,
            "/api/devices/{dev_eui}/queue",
            f"/api/devices/{EUI}/queue",
            "Grpc-Metadata-Authorization",
        ),
        ("loriot", LORIOT_UP, "/1/rest", "/1/rest", "Authorization"),
        ("thingpark", {"DevEUI_uplink": THINGPARK_UP}, "/flow", "/flow", "Authorization"),
        ("things-stack", TTS_UP, "/{device}/{mode}", "/valve-1/push", "Authorization"),
    ],
    ids=["chirpstack v4", "chirpstack v3", "loriot", "thingpark", "the things stack"],
)
async def test_a_downlink_can_go_by_http(
    tmp_path: Path, network: str, message: Any, template: str, path: str, header: str
) -> None:
    queue = Queue()
    async with (
        serving({"/ns": queue.app()}) as url,
        works(
            tmp_path,
            lorawan_downlinks=(f"{network}={url}/ns{template}",),
            lorawan_downlink_tokens=(f"{network}=s3cret",),
        ) as town,
    ):
        await town.provision()
        await town.post(network, message)
        await town.ask({"open": True})
        called, told, body = await queue.next()
        await town.shows("SENT")

    assert called == "/ns" + path
    assert told[header] == "Bearer s3cret"
    assert "s3cret" not in json.dumps(body)


async def test_the_api_of_chirpstack_v4_names_a_downlink_itself(tmp_path: Path) -> None:
    queue = Queue(answer={"id": "named-by-the-server"})
    async with (
        serving({"/ns": queue.app()}) as url,
        works(tmp_path, lorawan_downlinks=(f"chirpstack={url}/ns/",)) as town,
    ):
        await town.provision()
        await town.post("chirpstack", uplink())
        await town.ask({"open": True})
        await town.shows("SENT")
        told = uplink(queueItemId="named-by-the-server", acknowledged=True)
        await town.post("chirpstack?event=ack", told)
        await town.shows("OK")


async def test_thingpark_gets_a_signed_query_and_reports_by_correlation(tmp_path: Path) -> None:
    queue = Queue()
    template = (
        "/lrc?DevEUI={DEV_EUI}&FPort={port}&Payload={hex}&Confirmed={confirmed}"
        "&CorrelationID={id}&AS_ID=TWA_1.2.AS&Time={time}"
    )
    async with (
        serving({"/tp": queue.app()}) as url,
        works(
            tmp_path,
            lorawan_downlinks=(f"thingpark={url}/tp{template}",),
            lorawan_downlink_tokens=("thingpark=A0F1",),
        ) as town,
    ):
        await town.provision()
        await town.post("thingpark", {"DevEUI_uplink": THINGPARK_UP})
        await town.ask({"open": True})
        called, told, _ = await queue.next()
        query, _, token = called.partition("?")[2].partition("&Token=")
        named = dict(part.split("=") for part in query.split("&"))
        sent = {"DevEUI": EUI, "DeliveryStatus": "1", "CorrelationID": named["CorrelationID"]}
        await town.post("thingpark", {"DevEUI_downlink_Sent": sent})
        await town.shows("DELIVERED")
        ack = {**THINGPARK_UP, "FCntUp": 2, "ACKbit": "1"}
        await town.post("thingpark", {"DevEUI_uplink": ack})
        await town.shows("OK")

    assert (named["DevEUI"], named["Payload"], named["Confirmed"]) == (EUI.upper(), "0102", "1")
    assert token == hashlib.sha256(f"{query}a0f1".encode()).hexdigest()
    assert "Authorization" not in told


async def test_loriot_tells_that_a_downlink_was_sent_and_the_next_frame_confirms_it(
    tmp_path: Path,
) -> None:
    queue = Queue(answer={"success": "Data enqueued"})
    async with (
        serving({"/ns": queue.app()}) as url,
        works(tmp_path, lorawan_downlinks=(f"loriot={url}/ns/1/rest",)) as town,
    ):
        await town.provision()
        await town.post("loriot", LORIOT_UP)
        await town.ask({"open": True})
        await town.shows("SENT")
        await town.post("loriot", {"cmd": "txd", "EUI": EUI, "seqdn": 3})
        await town.shows("DELIVERED")
        await town.post("loriot", {**LORIOT_UP, "fcnt": 2, "ack": True})
        await town.shows("OK")
        _, _, body = await queue.next()

    assert body["cmd"] == "tx"
    assert (body["EUI"], body["data"], body["confirmed"]) == (EUI.upper(), "0102", True)


@pytest.mark.parametrize(
    ("queue", "reason"),
    [
        (Queue(400), "answered 400"),
        (Queue(500), "answered 500; the device may have got it or not"),
        (Queue(answer={"error": "device is not there"}), "device is not there"),
    ],
    ids=["refused", "broken", "refused politely"],
)
async def test_a_network_server_that_refuses_fails_the_command(
    tmp_path: Path, queue: Queue, reason: str
) -> None:
    async with (
        serving({"/ns": queue.app()}) as url,
        works(tmp_path, lorawan_downlinks=(f"chirpstack={url}/ns/",)) as town,
    ):
        await town.provision()
        await town.send(f"{V4}/event/up", uplink())
        await town.ask({"open": True})
        entity = await town.shows("ERROR")

    assert reason in entity["open_info"]["value"]
    assert queue.count == 1


async def test_a_network_server_that_is_busy_is_asked_again(tmp_path: Path) -> None:
    queue = Queue(503)
    async with (
        serving({"/ns": queue.app()}) as url,
        works(tmp_path, lorawan_downlinks=(f"chirpstack={url}/ns/",)) as town,
    ):
        await town.provision()
        await town.send(f"{V4}/event/up", uplink())
        await town.ask({"open": True})
        await queue.next()
        queue.status = 200
        await town.shows("SENT")


async def test_keys_are_neither_logged_nor_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    targets = {
        "chirpstack": f"http://{nobody}/?key=s3cret",
        "loriot": f"http://user:s3cret@{nobody}/",
    }
    settings: Mapping[str, Any] = {
        "lorawan_downlinks": tuple(f"{name}={url}" for name, url in targets.items()),
        "lorawan_downlink_tokens": ("chirpstack=s3cret", "loriot=s3cret"),
    }
    caplog.set_level("DEBUG")
    async with works(tmp_path, **settings) as town:
        await town.provision()
        await town.send(f"{V4}/event/up", uplink())
        await town.ask({"open": True})
        await eventually(lambda: _waits(town, "127.0.0.1: "))
        listed = await town.commands()
        await town.post("loriot", LORIOT_UP)
        entity = await town.shows("ERROR")

    shown = [caplog.text, json.dumps(entity), listed]
    assert not [text for text in shown if "s3cret" in text]


async def test_the_password_of_an_mqtt_server_is_neither_logged_nor_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    nobody = f"things-stack=mqtt://app:s3cret@127.0.0.1:{free_port()}"
    async with works(tmp_path, until_ready=False, lorawan_servers=(nobody,)) as town:
        await eventually(lambda: "no connection to the MQTT server" in caplog.text)
        async with town.http.get(f"{town.agents.url}/health") as answer:
            health = await answer.text()

    assert "s3cret" not in caplog.text + health
