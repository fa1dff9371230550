"""What a command's value and provisioning say of a downlink, and how networks are told."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest

from iot_agents.common.codecs.cayenne import CayenneLpp
from iot_agents.common.codecs.interface import Codec
from iot_agents.common.codecs.sandbox import Sandbox, Script
from iot_agents.common.codecs.script import ScriptCodec
from iot_agents.common.commands.evaluating import Unwritable
from iot_agents.common.commands.model import Command
from iot_agents.common.device import Attribute, Device
from iot_agents.common.registry_rows import Known
from iot_agents.common.service_group import in_force
from iot_agents.lorawan.downlink import Downlink, downlink_of
from iot_agents.lorawan.networks import NETWORKS
from iot_agents.lorawan.places import provisioned_place
from iot_agents.lorawan.queues import QUEUES, NotTaken

EUI = "0200000000000a11"
ID = "0123456789abcdef0123456789abcdef"
SIGNED = "03d7c83d81d83175aa90fa765d987e2469ef3839f1d9e2b8e1158051677d1bae"
EXPIRES = datetime(2026, 3, 2, tzinfo=UTC)


def command(value: Any, **element: Any) -> Command:
    attribute = Attribute(**{"name": "valve", **element})
    device = Device(device_id=EUI, entity_type="Valve", commands=(attribute,))
    known = Known(device, in_force(device, None))
    return Command(ID, known, "urn:ngsi-ld:Valve:1", "valve", value, EXPIRES)


async def made(value: Any, codec: Codec | None = None, **element: Any) -> Downlink:
    return await downlink_of(command(value, **element), EUI, codec, {})


def downlink(**members: Any) -> Downlink:
    given = {
        "id": ID,
        "dev_eui": EUI,
        "port": 5,
        "data": b"\x01\xff",
        "values": None,
        "confirmed": True,
        "priority": "",
        "replace": False,
        "expires": EXPIRES,
    }
    return Downlink(**{**given, **members})


@pytest.mark.parametrize(
    ("value", "metadata", "expected"),
    [
        ({"hex": "01FF", "fPort": 5}, {}, (b"\x01\xff", 5, False)),
        ({"base64": "Af8=", "confirmed": True}, {}, (b"\x01\xff", 1, True)),
        ("01ff", {"encoding": "hex", "fPort": 7}, (b"\x01\xff", 7, False)),
        ("Af8=", {"encoding": {"value": "base64"}}, (b"\x01\xff", 1, False)),
        (
            {"hex": "", "fPort": 9},
            {"fPort": {"value": 7}, "confirmed": {"value": True}},
            (b"", 9, True),
        ),
    ],
)
async def test_bytes_stand_in_the_value_or_as_provisioned(
    value: Any, metadata: Mapping[str, Any], expected: tuple[bytes, int, bool]
) -> None:
    told = await made(value, metadata=metadata)

    assert (told.data, told.port, told.confirmed) == expected
    assert told.values is None


@pytest.mark.parametrize(
    ("value", "values"),
    [
        ({"open": True}, {"open": True}),
        ({"object": {"hex": "x"}, "fPort": 3}, {"hex": "x"}),
        ("open", {"valve": "open"}),
        (7, {"valve": 7}),
        ({"hex": "01", "other": 1}, {"hex": "01", "other": 1}),
    ],
)
async def test_anything_else_is_values_for_a_codec(value: Any, values: Mapping[str, Any]) -> None:
    told = await made(value, CayenneLpp())

    assert (told.data, told.values) == (None, values)


async def test_a_script_encodes_values() -> None:
    source = "function encodeDownlink({data}) { return {bytes: [data.open ? 1 : 0], fPort: 9}; }"
    with closing(Sandbox()) as sandbox:
        codec = ScriptCodec(sandbox, Script("valve.js", source))

        told = await made({"open": True}, codec)

    assert (told.data, told.port) == (b"\x01", 9)


async def test_an_expression_makes_the_value() -> None:
    told = await made(3, expression="'ff' + valve + '0'", metadata={"encoding": "hex"})

    assert told.data == b"\xff\x30"


@pytest.mark.parametrize(
    ("value", "element", "reason"),
    [
        ({"hex": "0"}, {}, "'0' is not hex"),
        ({"base64": "?"}, {}, "is not base64"),
        ({"hex": 7}, {}, "no text in hex"),
        ({"hex": "00" * 243}, {}, "243 bytes"),
        ({"hex": "00", "fPort": 0}, {}, "fPort: 0"),
        ({"hex": "00", "fPort": True}, {}, "fPort: True"),
        ({"hex": "00", "fPort": 224}, {}, "fPort: 224"),
        ({"hex": "00", "confirmed": "true"}, {}, "confirmed: 'true' is neither"),
        ({"hex": "00", "replace": 1}, {}, "replace: 1 is neither"),
        (1, {"metadata": {"confirmed": {"value": 0}}}, "confirmed: 0 is neither"),
        ("x", {"metadata": {"encoding": "morse"}}, "'morse' is none of hex, base64, object"),
        (1, {"expression": "gone.away"}, "gives nothing"),
    ],
)
async def test_what_is_no_downlink_says_why(
    value: Any, element: Mapping[str, Any], reason: str
) -> None:
    with pytest.raises(Unwritable, match=reason):
        await made(value, **element)


@pytest.mark.parametrize(
    ("form", "message", "topic"),
    [
        (
            "chirpstack-v4",
            {
                "id": "01234567-89ab-cdef-0123-456789abcdef",
                "devEui": EUI,
                "confirmed": True,
                "fPort": 5,
                "data": "Af8=",
                "expiresAt": "2026-03-02T00:00:00.000Z",
            },
            "application/7/device/x/command/down",
        ),
        (
            "chirpstack-v3",
            {"confirmed": True, "fPort": 5, "data": "Af8="},
            "application/7/device/x/command/down",
        ),
        (
            "things-stack-v3",
            {
                "downlinks": [
                    {
                        "f_port": 5,
                        "confirmed": True,
                        "priority": "NORMAL",
                        "correlation_ids": [f"rigel:{ID}"],
                        "frm_payload": "Af8=",
                        "confirmed_retry": {"max_attempts": 1},
                    }
                ]
            },
            "application/7/device/x/down/push",
        ),
        (
            "loriot",
            {
                "cmd": "tx",
                "EUI": EUI.upper(),
                "port": 5,
                "confirmed": True,
                "data": "01ff",
                "appid": "app",
            },
            "",
        ),
        (
            "thingpark",
            {
                "DevEUI_downlink": {
                    "DevEUI": EUI.upper(),
                    "FPort": 5,
                    "payload_hex": "01ff",
                    "Confirmed": "1",
                    "FlushDownlinkQueue": "0",
                    "ValidityTime": "2026-03-02T00:00:00.000Z",
                    "CorrelationID": "0123456789ABCDEF",
                }
            },
            "",
        ),
    ],
)
def test_each_network_is_told_in_its_own_words(
    form: str, message: Mapping[str, Any], topic: str
) -> None:
    queue = QUEUES[form]

    assert queue.message(downlink(), "app") == message
    assert queue.topic("application/7/device/x", downlink()) == topic


@pytest.mark.parametrize(
    ("form", "member"),
    [("chirpstack-v4", "object"), ("chirpstack-v3", "object"), ("things-stack-v3", "")],
)
def test_values_are_left_to_networks_that_encode(form: str, member: str) -> None:
    message = QUEUES[form].message(downlink(data=None, values={"open": True}), "app")
    told = message if member else message["downlinks"][0]

    assert told[member or "decoded_payload"] == {"open": True}


@pytest.mark.parametrize(
    ("form", "members", "reason"),
    [
        ("loriot", {"data": None, "values": {}}, "nothing encodes"),
        ("thingpark", {"data": None, "values": {}}, "nothing encodes"),
        ("things-stack-v3", {"priority": "URGENT"}, "'URGENT' is none of"),
    ],
)
def test_a_network_that_cannot_take_it_says_why(
    form: str, members: Mapping[str, Any], reason: str
) -> None:
    with pytest.raises(NotTaken, match=reason):
        QUEUES[form].message(downlink(**members), "app")


@pytest.mark.parametrize("members", [{"confirmed": False}, {"repeatable": True}])
def test_only_what_must_not_come_twice_is_tried_once_by_the_things_stack(
    members: Mapping[str, Any],
) -> None:
    (told,) = QUEUES["things-stack-v3"].message(downlink(**members), "app")["downlinks"]

    assert "confirmed_retry" not in told


def test_the_api_of_chirpstack_v3_takes_values_as_a_text() -> None:
    queue = QUEUES["chirpstack-v3"]
    message = queue.message(downlink(data=None, values={"open": True}), "app")

    assert queue.body(message) == {
        "deviceQueueItem": {"confirmed": True, "fPort": 5, "jsonObject": '{"open":true}'}
    }


@pytest.mark.parametrize(
    ("url", "signed", "headers"),
    [
        # Checked with `printf '%s' 'DevEUI=1&AS_ID=a0f' | sha256sum`.
        ("http://a/d?DevEUI=1&AS_ID=a", f"http://a/d?DevEUI=1&AS_ID=a&Token={SIGNED}", {}),
        ("http://a/d?DevEUI=1", "http://a/d?DevEUI=1", {"Authorization": "Bearer 0F"}),
    ],
    ids=["application server", "iot flow"],
)
def test_thingpark_wants_a_query_signed_that_names_an_application_server(
    url: str, signed: str, headers: Mapping[str, str]
) -> None:
    assert QUEUES["thingpark"].authorized(url, "0F") == (signed, headers)


def test_the_things_stack_can_replace_its_queue() -> None:
    topic = QUEUES["things-stack-v3"].topic("v3/a@t/devices/d", downlink(replace=True))

    assert topic == "v3/a@t/devices/d/down/replace"


@pytest.mark.parametrize(
    ("network", "topic", "begin"),
    [
        ("chirpstack", "application/7/device/02/event/up", "application/7/device/02"),
        ("chirpstack", "eu868/application/7/device/02/rx", "eu868/application/7/device/02"),
        ("things-stack", "v3/a@t/devices/bay/up", "v3/a@t/devices/bay"),
        ("things-stack", "v3/a@t/devices/bay/down/ack", "v3/a@t/devices/bay"),
        ("things-stack", "application/7/device/02/event/up", ""),
        ("loriot", "application/7/device/02/event/up", ""),
    ],
)
def test_the_topics_of_a_device_begin_alike(network: str, topic: str, begin: str) -> None:
    assert NETWORKS[network].of_topic(topic)[2] == begin


@pytest.mark.parametrize(
    ("section", "topic"),
    [
        ({"application_id": "7"}, f"application/7/device/{EUI}"),
        ({"application_id": 7, "network": "chirpstack"}, f"application/7/device/{EUI}"),
        (
            {"application_id": "app@t", "network": "things-stack", "device_name": "bay"},
            "v3/app@t/devices/bay",
        ),
        ({"application_id": "7/device/other/command#"}, ""),
        ({"application_id": "a/b"}, ""),
        ({"application_id": "x", "network": "loriot"}, ""),
    ],
)
def test_a_device_that_has_not_sent_is_where_its_provisioning_says(
    section: Mapping[str, Any], topic: str
) -> None:
    place = provisioned_place(EUI, section)

    assert place is not None
    assert place.topic == topic


@pytest.mark.parametrize("section", [{}, {"application_id": "7", "network": "pigeons"}])
def test_provisioning_may_not_tell_where_a_device_is(section: Mapping[str, Any]) -> None:
    assert provisioned_place(EUI, section) is None
