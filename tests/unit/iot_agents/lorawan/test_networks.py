"""The messages of network servers read into one record; what cannot be read says why."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_agents.common.commands.model import Fate, NetworkReport
from iot_agents.lorawan import reading
from iot_agents.lorawan.networks import NETWORKS, by_network
from iot_agents.lorawan.transport import topic_pattern
from iot_agents.lorawan.uplink import (
    BadUplink,
    NoMeasure,
    Report,
    Told,
    Uplink,
    measure_of,
    measure_of_report,
    radio_of,
)
from tests.support.shared import SHARED, needs_shared

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
EUI = "02000000000000ab"


def decode(
    document: Any, event: str = "up", network: str = "chirpstack", speaker: str = ""
) -> Told:
    read = reading.document_of(msgspec.json.encode(document))
    return NETWORKS[network].decode(event, speaker, read, NOW)


def uplink(document: Any, network: str = "chirpstack", event: str = "up") -> Uplink:
    told = decode(document, event, network)
    assert isinstance(told, Uplink)
    return told


def v4(**members: Any) -> dict[str, Any]:
    return {
        "time": "2026-03-01T08:15:02.5Z",
        "deviceInfo": {
            "devEui": EUI.upper(),
            "deviceProfileName": "p",
            "deviceName": "bay",
            "applicationId": "app",
            "tags": {"zone": "a"},
        },
        "devAddr": "01A2B3C4",
        "fCnt": 7,
        "fPort": 2,
        "data": "AQI=",
        "rxInfo": [
            {"gatewayId": "far", "rssi": -90, "snr": 3.5},
            {"gatewayId": "near", "rssi": -70, "snr": -1},
        ],
        "txInfo": {
            "frequency": 868100000,
            "modulation": {"lora": {"bandwidth": 125000, "spreadingFactor": 9}},
        },
        **members,
    }


def v3(**members: Any) -> dict[str, Any]:
    return {
        "applicationID": "7",
        "deviceName": "bay",
        "deviceProfileName": "p",
        "devEUI": EUI,
        "rxInfo": [
            {
                "gatewayID": "near",
                "time": "2026-03-01T08:15:02.5Z",
                "rssi": -70,
                "loRaSNR": 3.5,
            }
        ],
        "txInfo": {
            "frequency": 868100000,
            "loRaModulationInfo": {"bandwidth": 125, "spreadingFactor": 9},
        },
        "fCnt": 7,
        "fPort": 2,
        "data": "AQI=",
        **members,
    }


def tts(member: str = "uplink_message", **members: Any) -> dict[str, Any]:
    frame = {
        "session_key_id": "AZ==",
        "f_port": 2,
        "f_cnt": 7,
        "frm_payload": "AQI=",
        "rx_metadata": [{"gateway_ids": {"gateway_id": "near"}, "rssi": -70, "snr": 3.5}],
        "settings": {
            "data_rate": {"lora": {"bandwidth": 125000, "spreading_factor": 9}},
            "frequency": "868100000",
        },
        "received_at": "2026-03-01T08:15:02.5Z",
        "version_ids": {"brand_id": "acme", "model_id": "bay-9"},
    }
    return {
        "end_device_ids": {
            "device_id": "bay",
            "application_ids": {"application_id": "app"},
            "dev_eui": EUI.upper(),
        },
        "correlation_ids": ["as:up:1"],
        member: {**frame, **members} if member == "uplink_message" else members,
    }


def thingpark(**members: Any) -> dict[str, Any]:
    return {
        "DevEUI_uplink": {
            "Time": "2026-03-01T09:15:02.5+01:00",
            "DevEUI": EUI.upper(),
            "FPort": "2",
            "FCntUp": "7",
            "payload_hex": "0102",
            "LrrRSSI": "-70.0",
            "LrrSNR": "3.5",
            "SpFact": "9",
            "Lrrid": "near",
            "DevAddr": "01A2B3C4",
            "CustomerID": "app",
            "CustomerData": {"alr": {"pro": "p", "ver": "1"}, "name": "bay"},
            **members,
        }
    }


def thingpark_sent(**members: Any) -> dict[str, Any]:
    sent = {"DevEUI": EUI.upper(), "FPort": "2", "DeliveryStatus": "1", "CustomerID": "app"}
    return {"DevEUI_downlink_Sent": {**sent, **members}}


def loriot(**members: Any) -> dict[str, Any]:
    return {
        "cmd": "rx",
        "EUI": EUI.upper(),
        "ts": 1772352902500,
        "fcnt": 7,
        "port": 2,
        "freq": 868100000,
        "rssi": -70,
        "snr": 3.5,
        "dr": "SF9 BW125 4/5",
        "data": "0102",
        **members,
    }


ENVELOPES = [
    pytest.param("chirpstack", v4(), id="chirpstack v4"),
    pytest.param("chirpstack", v3(), id="chirpstack v3"),
    pytest.param("things-stack", tts(), id="the things stack"),
    pytest.param("thingpark", thingpark(), id="thingpark"),
    pytest.param("loriot", loriot(), id="loriot"),
]


@pytest.mark.parametrize(("network", "document"), ENVELOPES)
def test_the_same_frame_of_every_network_is_the_same_record(
    network: str, document: Mapping[str, Any]
) -> None:
    told = uplink(document, network)

    assert (told.dev_eui, told.f_cnt, told.f_port, told.data) == (EUI, 7, 2, b"\x01\x02")
    assert told.time == datetime(2026, 3, 1, 8, 15, 2, 500_000, UTC)
    radio = radio_of(told)
    assert (radio["rssi"], radio["snr"], radio["spreading_factor"]) == (-70, 3.5, 9)


@pytest.mark.parametrize(("network", "document"), ENVELOPES)
def test_mappings_read_the_same_names_whatever_the_network(
    network: str, document: Mapping[str, Any]
) -> None:
    payload = measure_of(uplink(document, network), "topic", b"raw").payload

    assert payload["deviceInfo"]["devEui"].lower() == EUI
    assert (payload["fPort"], payload["fCnt"]) == (2, 7)
    assert base64.b64decode(payload["data"]) == b"\x01\x02"
    assert max(one["rssi"] for one in payload["rxInfo"]) == -70
    assert payload["radio"]["rssi"] == -70
    assert payload["time"].startswith("2026-03-01T08:15:02.5")


@pytest.mark.parametrize(
    ("network", "document", "names"),
    [
        ("chirpstack", v4(), ("bay", "app", "p")),
        ("chirpstack", v3(), ("bay", "7", "p")),
        ("things-stack", tts(), ("bay", "app", "acme bay-9")),
        ("thingpark", thingpark(), ("bay", "app", "p")),
        ("loriot", loriot(), ("", "", "")),
    ],
    ids=["v4", "v3", "tts", "thingpark", "loriot"],
)
def test_name_application_and_profile_are_the_networks(
    network: str, document: Mapping[str, Any], names: tuple[str, str, str]
) -> None:
    told = uplink(document, network)

    assert (told.name, told.application, told.profile) == names


@needs_shared
@pytest.mark.parametrize("index", range(6))
def test_the_envelopes_of_the_vectors_give_one_record(index: int) -> None:
    file = SHARED / "protocols" / "vectors" / "lorawan_envelopes.json"
    vectors = json.loads(file.read_text(encoding="utf-8"))
    case, wanted = vectors["cases"][index], vectors["normalised"]
    networks = {"tts": "things-stack", "thingpark": "thingpark", "loriot": "loriot"}
    network = networks.get(case["server"].split("_")[0], "chirpstack")
    speaker = NETWORKS[network].of_topic(case.get("topic", ""))[1]

    told = decode(case["input"], "up", network, speaker)

    assert isinstance(told, Uplink)
    assert told.dev_eui == wanted["devEui"]
    assert (told.f_port, told.f_cnt) == (wanted["fPort"], wanted["fCnt"])
    assert told.data.hex() == wanted["payloadHex"]
    assert radio_of(told)["rssi"] == wanted["rssi"]
    assert told.time.isoformat(timespec="milliseconds") == case["time"].replace("Z", "+00:00")


def test_the_best_gateway_is_the_one_with_the_strongest_signal() -> None:
    radio = radio_of(uplink(v4()))

    assert radio == {
        "rssi": -70,
        "snr": 3.5,
        "gateways": 2,
        "gateway": "near",
        "spreading_factor": 9,
        "bandwidth": 125000,
        "frequency": 868100000,
        "f_cnt": 7,
        "f_port": 2,
    }


def test_members_left_out_have_protobufs_defaults() -> None:
    told = uplink({"deviceInfo": {"devEui": EUI}, "fPort": 1, "time": "2026-03-01T08:00:00Z"})

    assert (told.f_cnt, told.data) == (0, b"")
    assert "rssi" not in radio_of(told)


@pytest.mark.parametrize(
    ("network", "document"),
    [
        ("chirpstack", v4(time=None)),
        ("chirpstack", v3(rxInfo=[])),
        ("things-stack", tts(received_at="")),
        ("thingpark", thingpark(Time="")),
        ("loriot", loriot(ts=None)),
    ],
    ids=["v4", "v3", "tts", "thingpark", "loriot"],
)
def test_an_uplink_without_a_time_has_that_of_its_arrival(
    network: str, document: Mapping[str, Any]
) -> None:
    assert uplink(document, network).time == NOW


def test_the_other_form_of_chirpstack_v3_writes_base64_and_texts() -> None:
    eui = base64.b64encode(bytes.fromhex(EUI)).decode()
    document = v3(
        devEUI=eui, rxInfo=None, objectJSON='{"a": 1}', publishedAt="2026-03-01T08:00:00Z"
    )

    told = uplink(document)

    assert told.dev_eui == EUI
    assert told.decoded == {"a": 1}
    assert told.time == datetime(2026, 3, 1, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("decoded", "read"),
    [(28.100000381469727, 28.1), (28.1, 28.1), (0.5, 0.5), (1e300, 1e300), (7, 7)],
)
def test_digits_that_single_precision_makes_up_are_dropped(decoded: float, read: float) -> None:
    told = uplink(tts(decoded_payload={"t": decoded, "in": [{"t": decoded}]}), "things-stack")

    assert told.decoded == {"t": read, "in": [{"t": read}]}


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-03-01T08:15:02.123456789+00:00", datetime(2026, 3, 1, 8, 15, 2, 123456, UTC)),
        ("2026-03-01T10:15:02+02:00", datetime(2026, 3, 1, 8, 15, 2, 0, UTC)),
        ("2026-03-01T08:15:02", datetime(2026, 3, 1, 8, 15, 2, 0, UTC)),
    ],
    ids=["nanoseconds", "offset", "no zone"],
)
def test_times_are_rfc_3339_with_any_zone_and_fraction(text: str, moment: datetime) -> None:
    assert uplink(v4(time=text)).time == moment


@pytest.mark.parametrize(
    ("network", "document", "event", "reason"),
    [
        ("chirpstack", v4(fPort=0), "up", "MAC commands"),
        ("chirpstack", v3(fPort=0), "up", "MAC commands"),
        ("chirpstack", v4(), "join", "without a measure"),
        ("chirpstack", v4(level="INFO", code="OTAA"), "log", "OTAA"),
        ("things-stack", tts(f_port=0), "up", "MAC commands"),
        ("things-stack", tts(), "up/normalized", "the same frame"),
        ("things-stack", {**tts(), "simulated": True}, "up", "simulated"),
        ("things-stack", tts("join_accept"), "join", "without a measure"),
        ("thingpark", thingpark(FPort="0"), "", "MAC commands"),
        ("thingpark", {"DevEUI_location": {}}, "", "not an uplink"),
        ("loriot", loriot(port=0), "", "MAC commands"),
        ("loriot", {"cmd": "cq"}, "", "cq"),
    ],
)
def test_what_carries_no_measure_is_told_from_what_is_wrong(
    network: str, document: Any, event: str, reason: str
) -> None:
    with pytest.raises(NoMeasure, match=reason):
        decode(document, event, network)


@pytest.mark.parametrize(
    ("network", "document", "event", "reason"),
    [
        ("chirpstack", [], "up", "not an uplink"),
        ("chirpstack", v4(deviceInfo={}), "up", "devEui"),
        ("chirpstack", v4(deviceInfo={"devEui": "zz"}), "up", "'zz'"),
        ("chirpstack", v4(data="?"), "up", "base64"),
        ("chirpstack", v4(data="\ud7ff"), "up", "base64"),
        ("chirpstack", v4(data="A" * 4000), "up", "more than a frame"),
        ("chirpstack", v4(time="noon"), "up", "'noon'"),
        ("chirpstack", v4(fCnt=-1), "up", "fCnt"),
        ("chirpstack", v4(fCnt="many"), "up", "fCnt"),
        ("chirpstack", v4(joinServerContext={"sessionKeyId": "k"}), "up", "encrypted"),
        ("chirpstack", v4(), "explode", "unknown event 'explode'"),
        ("chirpstack", v4(level="ERROR", code="OTAA", description="bad"), "log", "OTAA: bad"),
        ("chirpstack", v3(type="UPLINK_CODEC", error="bad"), "error", "UPLINK_CODEC: bad"),
        ("chirpstack", v3(objectJSON="{"), "up", "not an uplink"),
        ("chirpstack", v3(), "explode", "unknown event"),
        ("chirpstack", {"object": {}}, "up", "deviceInfo"),
        ("things-stack", {}, "up", "none of uplink_message"),
        ("things-stack", tts(frm_payload="!"), "up", "frm_payload"),
        ("things-stack", tts("location_solved"), "location", "`location`"),
        ("thingpark", {}, "", "DevEUI_uplink"),
        ("thingpark", thingpark(payload_hex="0"), "", "payload_hex"),
        ("thingpark", thingpark(FPort="two"), "", "FPort"),
        ("loriot", {}, "", "no cmd"),
        ("loriot", loriot(data=None), "", "encrypted"),
        ("loriot", loriot(ts=10**18), "", "ts"),
    ],
)
def test_what_is_wrong_says_where(network: str, document: Any, event: str, reason: str) -> None:
    with pytest.raises(BadUplink, match=reason):
        decode(document, event, network)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b'{"a":' * 40 + b"1" + b"}" * 40, "nested"),
        (b'{"a":' + b"[" * 100_000, "nested|truncated"),
        (b"\xff\xfe", "not an uplink"),
        (b"", "not an uplink"),
    ],
    ids=["deep", "very deep", "bytes", "empty"],
)
def test_a_hostile_document_is_refused_before_it_is_read(payload: bytes, reason: str) -> None:
    with pytest.raises(BadUplink, match=reason):
        reading.document_of(payload)


@pytest.mark.parametrize(
    ("network", "document", "speaker"),
    [
        ("chirpstack", v4(), "02000000000000ff"),
        ("chirpstack", v4(deviceInfo={"devEui": EUI, "deviceName": "other"}), "other"),
        ("chirpstack", v3(), "02000000000000ff"),
        ("things-stack", tts(), "other-bay"),
        ("things-stack", tts("downlink_ack"), "other-bay"),
        ("thingpark", thingpark(), "02000000000000ff"),
    ],
)
def test_a_device_cannot_speak_for_another_one(
    network: str, document: Mapping[str, Any], speaker: str
) -> None:
    with pytest.raises(BadUplink, match="the topic is not"):
        decode(document, "up", network, speaker)


@pytest.mark.parametrize(
    ("network", "document", "event", "members"),
    [
        (
            "chirpstack",
            v4(margin=7, batteryLevel=91.5),
            "status",
            {"margin": 7, "external_power_source": False, "battery_level": 91.5},
        ),
        (
            "chirpstack",
            v4(batteryLevelUnavailable=True, batteryLevel=0),
            "status",
            {"margin": 0, "external_power_source": False},
        ),
        (
            "chirpstack",
            v3(margin=7, externalPowerSource=True),
            "status",
            {"margin": 7, "external_power_source": True},
        ),
        (
            "chirpstack",
            v4(location={"latitude": 41.5, "longitude": -4.5, "accuracy": 20}),
            "location",
            {"location": {"type": "Point", "coordinates": [-4.5, 41.5]}, "accuracy": 20},
        ),
        (
            "things-stack",
            tts("location_solved", location={"latitude": 41.5, "longitude": -4.5}),
            "location",
            {"location": {"type": "Point", "coordinates": [-4.5, 41.5]}},
        ),
    ],
)
def test_status_and_location_tell_members_that_attributes_can_ask_for(
    network: str, document: Mapping[str, Any], event: str, members: Mapping[str, Any]
) -> None:
    told = decode(document, event, network)

    assert isinstance(told, Report)
    measure = measure_of_report(told, "topic", b"raw")
    assert (measure.device_id, measure.event, measure.members) == (EUI, event, members)


@pytest.mark.parametrize(
    ("network", "document", "event", "fate", "handles"),
    [
        ("chirpstack", v4(queueItemId="q", acknowledged=True), "ack", Fate.ACKNOWLEDGED, ("q",)),
        ("chirpstack", v4(queueItemId="q"), "ack", Fate.FAILED, ("q",)),
        ("chirpstack", v4(queueItemId="q"), "txack", Fate.SENT, ("q",)),
        ("chirpstack", v4(), "txack", Fate.SENT, ()),
        (
            "chirpstack",
            v4(level="ERROR", code="EXPIRED", context={"queue_item_id": "q"}),
            "log",
            Fate.FAILED,
            ("q",),
        ),
        ("chirpstack", v3(acknowledged=True), "ack", Fate.ACKNOWLEDGED, None),
        ("chirpstack", v3(), "ack", Fate.FAILED, None),
        ("chirpstack", v3(), "txack", Fate.SENT, None),
        ("things-stack", tts("downlink_queued"), "down/queued", Fate.QUEUED, ()),
        ("things-stack", tts("downlink_sent"), "down/sent", Fate.SENT, ()),
        (
            "things-stack",
            tts("downlink_ack", correlation_ids=("rigel:1",)),
            "down/ack",
            Fate.ACKNOWLEDGED,
            ("rigel:1",),
        ),
        ("things-stack", tts("downlink_nack"), "down/nack", Fate.QUEUED, ()),
        (
            "things-stack",
            tts("downlink_nack", confirmed_retry={"attempt": 1}, correlation_ids=("rigel:1",)),
            "down/nack",
            Fate.QUEUED,
            ("rigel:1",),
        ),
        (
            "things-stack",
            tts("downlink_nack", confirmed_retry={"max_attempts": 1}, correlation_ids=("rigel:1",)),
            "down/nack",
            Fate.FAILED,
            ("rigel:1",),
        ),
        (
            "things-stack",
            tts("downlink_failed", downlink={"correlation_ids": ["rigel:1", 7]}),
            "down/failed",
            Fate.FAILED,
            ("rigel:1",),
        ),
        (
            "things-stack",
            tts(
                "downlink_queue_invalidated",
                downlinks=[
                    {"correlation_ids": ["rigel:1"]},
                    {"correlation_ids": ["as:1", "rigel:2"]},
                    "",
                ],
            ),
            "down/invalidated",
            Fate.FAILED,
            ("rigel:1", "rigel:2"),
        ),
        ("loriot", loriot(cmd="txd"), "", Fate.SENT, None),
        ("loriot", loriot(port=0, ack=True), "", Fate.ACKNOWLEDGED, None),
        ("thingpark", thingpark(FPort="0", ACKbit="1"), "", Fate.ACKNOWLEDGED, None),
        ("thingpark", thingpark_sent(), "", Fate.SENT, None),
        (
            "thingpark",
            thingpark_sent(CorrelationID="0123456789abcdef"),
            "",
            Fate.SENT,
            ("0123456789ABCDEF",),
        ),
        (
            "thingpark",
            thingpark_sent(DeliveryStatus=0, DeliveryFailedCause1="D0"),
            "",
            Fate.FAILED,
            None,
        ),
    ],
)
def test_what_becomes_of_a_downlink_is_told_by_its_handles(
    network: str,
    document: Mapping[str, Any],
    event: str,
    fate: Fate,
    handles: tuple[str, ...] | None,
) -> None:
    told = decode(document, event, network)

    assert isinstance(told, NetworkReport)
    assert (told.address, told.fate, told.handles) == (EUI, fate, handles)
    assert bool(told.reason) == (fate is Fate.FAILED)


@pytest.mark.parametrize(
    ("network", "document", "acknowledges"),
    [
        ("loriot", loriot(ack=True), True),
        ("loriot", loriot(), False),
        ("thingpark", thingpark(ACKbit="1"), True),
        ("thingpark", thingpark(ACKbit="0"), False),
        ("chirpstack", v4(), False),
    ],
)
def test_a_frame_can_confirm_a_downlink(
    network: str,
    document: Mapping[str, Any],
    acknowledges: bool,  # noqa: FBT001
) -> None:
    assert uplink(document, network).acknowledges is acknowledges


def test_loriot_repeats_a_frame_with_its_gateways_and_it_is_the_same_measure() -> None:
    gateways = [{"gweui": "near", "rssi": -70, "snr": 3.5}, {"gweui": "far", "rssi": -99}]

    first = measure_of(uplink(loriot(), "loriot"), "t", b"")
    again = measure_of(uplink(loriot(cmd="gw", gws=gateways, ts=1772352903100), "loriot"), "t", b"")

    assert first.key == again.key
    assert again.network["gateways"] == 2


def test_the_measure_of_an_uplink_is_the_same_for_every_delivery() -> None:
    first = measure_of(uplink(v4()), "topic", b"raw")
    again = measure_of(uplink(v4(deduplicationId="other")), "topic", b"raw")

    assert first.key == again.key


@pytest.mark.parametrize(
    "other", [{"fCnt": 8}, {"devAddr": "01000000"}], ids=["frame counter", "session"]
)
def test_another_frame_or_session_is_another_measure(other: dict[str, Any]) -> None:
    first = measure_of(uplink(v4()), "topic", b"raw")
    second = measure_of(uplink(v4(**other)), "topic", b"raw")

    assert first.key != second.key


@pytest.mark.parametrize(
    ("network", "topic", "named"),
    [
        ("chirpstack", f"application/a/device/{EUI.upper()}/event/up", ("up", EUI)),
        ("chirpstack", f"eu868/application/7/device/{EUI}/rx", ("rx", EUI)),
        ("chirpstack", "elsewhere", ("", "")),
        ("things-stack", "v3/app@city/devices/bay/up", ("up", "bay")),
        ("things-stack", "v3/app@city/devices/bay/down/ack", ("down/ack", "bay")),
        ("thingpark", "any/topic", ("", "")),
    ],
)
def test_a_topic_names_event_and_device(network: str, topic: str, named: tuple[str, str]) -> None:
    assert NETWORKS[network].of_topic(topic)[:2] == named


def test_an_entry_of_a_setting_can_name_its_network() -> None:
    texts = ("a/+/b", "things-stack=v3/+/devices/+/up")

    assert list(by_network("lorawan_topics", texts, otherwise="chirpstack")) == [
        ("chirpstack", "a/+/b"),
        ("things-stack", "v3/+/devices/+/up"),
    ]


@pytest.mark.parametrize("wrong", ["pigeons=s3cret", "s3cret"])
def test_an_entry_that_names_no_network_is_told_by_its_place(wrong: str) -> None:
    with pytest.raises(
        ValueError, match=r"tokens\[1\]: expected network=…, one of chirpstack"
    ) as error:
        list(by_network("tokens", ("loriot=key", wrong)))

    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize(
    ("topic_filter", "topic", "fits"),
    [
        ("a/+/b", "a/x/b", True),
        ("a/+/b", "a/x/y/b", False),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("#", "a/b", True),
        ("a.c", "abc", False),
    ],
)
def test_a_topic_filter_fits_the_topics_mqtt_says(
    topic_filter: str,
    topic: str,
    fits: bool,  # noqa: FBT001 - a column of the table
) -> None:
    assert bool(topic_pattern(topic_filter).fullmatch(topic)) is fits


_ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=20),
    st.sampled_from([[], {}, [{}], [None], {"": {}}, [[1]], {"lora": 1}, {"latitude": "x"}]),
)
_VALID = {"chirpstack": v4(), "things-stack": tts(), "thingpark": thingpark(), "loriot": loriot()}


@st.composite
def _damaged(draw: st.DrawFn) -> tuple[str, Any]:
    """Draw a message of a network with some of its members replaced by anything."""
    network = draw(st.sampled_from([*_VALID, "v3"]))
    document = json.loads(json.dumps(v3() if network == "v3" else _VALID[network]))
    inner = document
    while draw(st.booleans()):
        objects = [value for value in inner.values() if isinstance(value, dict) and value]
        if not objects:
            break
        inner = draw(st.sampled_from(objects))
    for name in draw(st.lists(st.sampled_from(sorted(inner)), max_size=3)):
        inner[name] = draw(_ANYTHING)
    return "chirpstack" if network == "v3" else network, document


@given(
    _damaged(), st.sampled_from(["", "up", "status", "location", "ack", "txack", "log", "error"])
)
def test_a_damaged_message_is_read_or_refused_and_nothing_else(
    message: tuple[str, Any], event: str
) -> None:
    network, document = message
    try:
        told = decode(document, event, network)
    except (BadUplink, NoMeasure):
        return
    if isinstance(told, Uplink):
        assert measure_of(told, "topic", b"").device_id == told.dev_eui


@given(st.sampled_from(sorted(NETWORKS)), st.binary())
def test_no_bytes_raise_anything_else(network: str, payload: bytes) -> None:
    with pytest.raises((BadUplink, NoMeasure)):
        NETWORKS[network].decode("up", "", reading.document_of(payload), NOW)


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))])))
def test_every_time_is_read_as_the_instant_it_is(moment: datetime) -> None:
    try:
        instant = moment.astimezone(UTC)
    except OverflowError:
        instant = NOW
    document = v4(time=moment.isoformat() if instant is not NOW else "")

    assert uplink(document).time == instant
