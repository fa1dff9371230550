"""Codecs of all kinds in the running agent, good and hostile, and what the radio tells."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cbor2
import msgspec
import pytest

from tests.support.lorawan import EUI, TOPIC, City, city, sensor, uplink

OTHER = "0200000000000b22"
SCRIPT = """function decodeUplink({bytes, fPort, recvTime, variables}) {
  if (bytes[0] === 255) while (true);
  if (bytes[0] === 254) throw new Error('no such frame');
  if (bytes[0] === 253) { const all = []; for (;;) all.push(new Array(1000).fill(0)); }
  if (bytes[0] === 252) return 'garbage';
  return {data: {level: bytes[0] * (variables.factor || 1), day: recvTime.getUTCDate()}};
}"""
MAPPING = """\
mapping: acme-level
source: {protocol: lorawan, profile: acme}
decode: {codec: acme.js}
entities:
- id: "urn:ngsi-ld:Tank:{deviceInfo.devEui}"
  type: Tank
  at: time
  attributes:
    level: {from: decoded.level, observed: true}
    strength: {from: radio.rssi}
    spreading: {from: radio.spreading_factor}
examples:
- name: half full
  payload: {time: "2026-03-01T08:00:00Z", deviceInfo: {devEui: "02"}, fPort: 1, data: "Bw=="}
  expected:
  - id: urn:ngsi-ld:Tank:02
    type: Tank
    level: {type: Property, value: 7, observedAt: "2026-03-01T08:00:00.000Z"}
"""


def frame(data: bytes, f_cnt: int = 1, **members: Any) -> dict[str, Any]:
    return uplink(f_cnt, data=base64.b64encode(data).decode(), **members)


def tank(codec: str, *names: str, **members: Any) -> dict[str, Any]:
    return sensor(
        entity_type="Tank",
        entity_name="urn:ngsi-ld:Tank:1",
        attributes=[{"object_id": name, "name": name, "type": "Number"} for name in names],
        **{"internal_attributes": {"lorawan": {"codec": codec}}, **members},
    )


def scripts(directory: Path) -> Path:
    made = directory / "codecs"
    made.mkdir()
    (made / "acme.js").write_text(SCRIPT, encoding="utf-8")
    return made


def values(entity: Mapping[str, Any]) -> dict[str, Any]:
    return {name: m["value"] for name, m in entity.items() if name not in ("id", "type")}


@pytest.mark.parametrize(
    ("codec", "data", "names", "expected"),
    [
        ("cayennelpp", b"\x01\x67\xff\xd7", ["temperature_1"], {"temperature_1": -4.1}),
        ("cbor", cbor2.dumps({"t": 21.5, "x": 1}), ["t"], {"t": 21.5}),
        ("json", b'{"t": 21.5, "x": 1}', ["t"], {"t": 21.5}),
        ("acme.js", b"\x07", ["level", "day"], {"level": 7, "day": 1}),
        ("bosch-tps110", b"\x01", ["occupied"], {}),
    ],
)
async def test_a_device_names_its_codec(
    tmp_path: Path, codec: str, data: bytes, names: list[str], expected: Mapping[str, Any]
) -> None:
    async with city(tmp_path, codecs=(scripts(tmp_path),)) as town:
        await town.provision(tank(codec, *names))
        await town.publish(frame(data))
        updates = await town.updates()

    assert [values(entity) for entity in updates] == ([expected] if expected else [])


async def test_a_script_gets_the_devices_variables(tmp_path: Path) -> None:
    internal = {"lorawan": {"codec": "acme.js", "variables": {"factor": 10}}}
    async with city(tmp_path, codecs=(scripts(tmp_path),)) as town:
        await town.provision(tank("", "level", internal_attributes=internal))
        await town.publish(frame(b"\x07"))
        (entity,) = await town.updates()

    assert values(entity) == {"level": 70}


async def test_a_mapping_names_the_script_beside_it(tmp_path: Path) -> None:
    directory = scripts(tmp_path)
    (directory / "acme.yaml").write_text(MAPPING, encoding="utf-8")
    info = {"devEui": EUI, "deviceProfileName": "ACME"}
    lora = {"modulation": {"lora": {"spreadingFactor": 9}}}
    async with city(tmp_path, mappings=(directory,)) as town:
        await town.provision(sensor())
        await town.publish(frame(b"\x07", deviceInfo=info, txInfo=lora))
        await town.publish(frame(b"\xff", 2, deviceInfo=info))
        (entity,) = await town.updates()
        letters = await town.letters()

    assert values(entity) == {"level": 7, "strength": -57, "spreading": 9}
    assert [device for device, _ in letters] == [EUI]
    assert "too long" in letters[0][1]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xff", "takes too long"),
        (b"\xfe", "no such frame (line 3"),
        (b"\xfd", "out of memory"),
        (b"\xfc", "returned no object"),
    ],
    ids=["loop", "throw", "memory", "garbage"],
)
async def test_a_frame_on_which_a_script_fails_costs_that_frame_only(
    tmp_path: Path, data: bytes, reason: str
) -> None:
    other = {**tank("acme.js", "level"), "device_id": OTHER}
    there = {"devEui": OTHER}
    async with city(tmp_path, codecs=(scripts(tmp_path),)) as town:
        await town.provision(tank("acme.js", "level"), other)
        await town.publish(frame(data))
        await town.publish(frame(b"\x05", deviceInfo=there), TOPIC.replace(EUI, OTHER))
        await town.publish(frame(b"\x06", 2))
        updates = [values(entity) for entity in await town.updates()]
        ((device, told),) = await town.letters()

    assert updates == [{"level": 5}, {"level": 6}]
    assert device == EUI
    assert reason in told


async def test_a_device_that_is_slow_again_and_again_is_left_alone(tmp_path: Path) -> None:
    other = {**tank("acme.js", "level"), "device_id": OTHER}
    async with city(tmp_path, codecs=(scripts(tmp_path),)) as town:
        await town.provision(tank("acme.js", "level"), other)
        for number in range(4):
            await town.publish(frame(b"\xff", number))
        await town.publish(frame(b"\x05", deviceInfo={"devEui": OTHER}), TOPIC.replace(EUI, OTHER))
        updates = [values(entity) for entity in await town.updates()]
        letters = await town.letters()

    assert updates == [{"level": 5}]
    assert ["not called" in reason for _, reason in letters] == [False, False, False, True]


@pytest.mark.parametrize("codec", ["gone.js", "../acme.js", "no-such-mapping"])
async def test_a_codec_that_is_not_there_is_the_devices_error(tmp_path: Path, codec: str) -> None:
    async with city(tmp_path, codecs=(scripts(tmp_path),)) as town:
        await town.provision(tank(codec, "level"))
        await town.publish(frame(b"\x07"))
        letters = await town.letters()

    assert letters == [(EUI, f"there is no codec {codec!r}, which the device asks for")]


async def test_a_device_of_the_fiware_lorawan_agent_works_as_it_is(tmp_path: Path) -> None:
    block = {
        "application_server": {
            "host": "ns.example",
            "username": "app",
            "password": "secret",
            "provider": "chirpstack",
        },
        "dev_eui": EUI.upper(),
        "app_eui": "0200000000000001",
        "application_id": "7",
        "application_key": "00" * 16,
        "data_model": "cayennelpp",
    }
    device = {
        "device_id": "lora_n_003",
        "entity_name": "LORA-N-003",
        "entity_type": "LoraDevice",
        "timezone": "Europe/Madrid",
        "attributes": [
            {"object_id": "ps0", "name": "barometric_pressure_0", "type": "Number"},
            {"object_id": "t1", "name": "temperature_1", "type": "Number"},
            {"object_id": "digital_in_3", "name": "door", "type": "Number"},
        ],
        "internal_attributes": {"lorawan": block},
    }
    data = bytes.fromhex("0073274b016701160268500300640401000501d7")
    async with city(tmp_path) as town:
        await town.provision(device)
        await town.publish(frame(data))
        (entity,) = await town.updates()

    assert entity["id"] == "urn:ngsi-ld:LoraDevice:LORA-N-003"
    assert values(entity) == {"barometric_pressure_0": 1005.9, "temperature_1": 27.8, "door": 100}


@pytest.mark.parametrize("listed", [False, True], ids=["object", "list of one"])
async def test_a_group_tells_the_codec_of_its_devices(
    tmp_path: Path,
    listed: bool,  # noqa: FBT001 - a row of the table
) -> None:
    internal = {"lorawan": {"data_model": "cayennelpp", "radio": True}}
    group = {
        "resource": "0200000000000001",
        "apikey": "key",
        "entity_type": "Tank",
        "attributes": [{"object_id": "temperature_1", "name": "temperature", "type": "Number"}],
        "internal_attributes": [internal] if listed else internal,
    }
    device = {"device_id": "tank-1", "apikey": "key", "entity_type": "Tank"}
    own = {"internal_attributes": {"lorawan": {"dev_eui": EUI}}}
    async with city(tmp_path) as town:
        await town.provision_group(group)
        await town.provision({**device, **own})
        await town.publish(frame(b"\x01\x67\x00\xff"))
        (entity,) = await town.updates()

    assert values(entity) == {"temperature": 25.5, "rssi": -57, "snr": 9.5, "gateways": 1}


@pytest.mark.parametrize("resource", ["/iot/json", "/iot/d", "/meters"])
async def test_a_group_of_devices_that_post_leaves_lorawan_devices_alone(
    tmp_path: Path, resource: str
) -> None:
    group = {
        "resource": resource,
        "apikey": "key",
        "entity_type": "ParkingSpot",
        "attributes": [{"object_id": "o", "name": "occupied", "type": "Boolean"}],
    }
    async with city(tmp_path) as town:
        await town.provision_group(group)
        await town.provision(sensor(protocol="LoRaWAN"))
        await town.publish(uplink())
        entities = {entity["type"] for entity in await town.updates()}

    assert entities == {"ParkingSpot", "Device"}


async def test_the_radio_can_be_asked_for_beside_a_mapping_file(tmp_path: Path) -> None:
    asking = sensor(internal_attributes={"lorawan": {"radio": True}})
    async with city(tmp_path) as town:
        await town.provision(asking)
        await town.publish(uplink())
        entities = {entity["type"]: entity for entity in await town.updates()}

    assert entities["ParkingSpot"]["rssi"] == {
        "type": "Property",
        "value": -57,
        "unitCode": "DBM",
        "observedAt": "2026-03-01T08:15:02.123Z",
    }
    assert entities["ParkingSpot"]["status"]["value"] == "occupied"


@pytest.mark.parametrize(
    ("event", "members", "asked", "expected"),
    [
        ("status", {"batteryLevel": 91.5, "margin": 7}, "battery_level", 91.5),
        (
            "location",
            {"location": {"latitude": 41.5, "longitude": -4.5}},
            "location",
            {"type": "Point", "coordinates": [-4.5, 41.5]},
        ),
    ],
)
async def test_what_the_network_tells_of_a_device_goes_to_the_attribute_that_asks(
    tmp_path: Path, event: str, members: Mapping[str, Any], asked: str, expected: Any
) -> None:
    attribute = {
        "object_id": asked,
        "name": "told",
        "type": "geo:json" if asked == "location" else "",
    }
    async with city(tmp_path) as town:
        await town.provision(sensor(attributes=[attribute]))
        await town.publish(uplink(**members), TOPIC.replace("/up", f"/{event}"))
        (entity,) = await town.updates()

    assert entity["told"]["value"] == expected


@pytest.mark.parametrize("levels", [40, 100_000])
async def test_a_deeply_nested_message_is_the_devices_error(tmp_path: Path, levels: int) -> None:
    deep = b'{"object":' + b'{"a":' * levels + b"1" + b"}" * (levels + 1)
    async with city(tmp_path) as town:
        await _bad_then_good(town, deep, "nested")


async def test_a_message_that_is_too_large_is_the_devices_error(tmp_path: Path) -> None:
    async with city(tmp_path, max_body=2000) as town:
        await _bad_then_good(
            town, msgspec.json.encode(uplink(2, object={"a": "x" * 2000})), "larger"
        )
        status = await town.post("chirpstack", uplink(3, object={"a": "x" * 2000}))

    assert status == 413


async def _bad_then_good(town: City, bad: bytes, reason: str) -> None:
    await town.provision(sensor())
    await town.publish(bad)
    await town.publish(uplink(9))
    ((device, told),) = await town.letters()

    assert device == EUI
    assert reason in told
    assert len(await town.updates()) == 2


async def test_only_the_token_opens_a_webhook(tmp_path: Path) -> None:
    async with city(tmp_path) as town:
        await town.provision(sensor())
        url = f"{town.agents.url}/lorawan/chirpstack/up?event=up&token="
        statuses = [
            await town.post("chirpstack", uplink(1), token="other"),
            await town.post("chirpstack", uplink(1), token="ø"),
            await town.post("no-such-network", uplink(1)),
            await town.post("chirpstack", uplink(1)),
        ]
        for token in ("wrong", "http-token"):
            async with town.http.post(url + token, json=uplink(2)) as answer:
                statuses.append(answer.status)
        updates = await town.updates()

    assert statuses == [401, 401, 404, 200, 401, 200]
    assert len(updates) == 4


async def test_without_a_token_there_is_no_webhook(tmp_path: Path) -> None:
    async with city(tmp_path, lorawan_http_token="") as town:
        assert await town.post("chirpstack", uplink(1)) == 404


@pytest.mark.parametrize(
    "topic",
    [
        f"application/../device/{EUI}/event/up",
        f"application/a/device/{EUI}/event/%00",
        f"application/a/device/{'x' * 500}/event/up",
        "application/a/device/’/event/up",
        f"application/a/device/{EUI}/event/'; DROP TABLE measure; --",
    ],
)
async def test_a_hostile_topic_stops_nothing(tmp_path: Path, topic: str) -> None:
    async with city(tmp_path) as town:
        await town.provision(sensor())
        await town.publish(uplink(1), topic)
        await town.publish(uplink(2))
        updates = await town.updates()

    assert "ParkingSpot" in {entity["type"] for entity in updates}
