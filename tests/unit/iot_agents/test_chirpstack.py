"""ChirpStack's JSON read into one record; what cannot be read says why."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_agents.lorawan.chirpstack import decode_uplink, event_of
from iot_agents.lorawan.transport import topic_pattern
from iot_agents.lorawan.uplink import BadUplink, NoMeasure, Uplink, measure_of

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def message(**members: Any) -> dict[str, Any]:
    return {
        "time": "2026-03-01T08:15:02.5Z",
        "deviceInfo": {"devEui": "02000000000000AB", "deviceProfileName": "p"},
        "devAddr": "01A2B3C4",
        "fCnt": 7,
        "fPort": 2,
        "data": "AQI=",
        "rxInfo": [{"rssi": -90, "snr": 3.5}, {"rssi": -70, "snr": -1}],
        **members,
    }


def decode(document: Any, event: str = "up") -> Uplink:
    return decode_uplink(event, msgspec.json.encode(document), lambda: NOW)


def test_an_uplink_is_read_into_one_record() -> None:
    uplink = decode(message())

    assert uplink.dev_eui == "02000000000000ab"
    assert uplink.session == "01a2b3c4"
    assert (uplink.f_cnt, uplink.f_port) == (7, 2)
    assert uplink.data == b"\x01\x02"
    assert uplink.time == datetime(2026, 3, 1, 8, 15, 2, 500_000, UTC)
    assert (uplink.rssi, uplink.snr, uplink.gateways) == (-70, 3.5, 2)


def test_members_left_out_have_protobufs_defaults() -> None:
    uplink = decode(
        {"deviceInfo": {"devEui": "02000000000000ab"}, "fPort": 1, "time": "2026-03-01T08:00:00Z"}
    )

    assert uplink.f_cnt == 0
    assert uplink.data == b""
    assert uplink.rssi is None


def test_an_uplink_without_a_time_has_that_of_its_arrival() -> None:
    assert decode(message(time="")).time == NOW


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
    assert decode(message(time=text)).time == moment


@pytest.mark.parametrize(
    ("document", "event", "reason"),
    [
        (message(fPort=0), "up", "MAC commands"),
        (message(), "join", "join"),
        ({}, "status", "status"),
    ],
    ids=["port 0", "join", "status"],
)
def test_what_carries_no_measure_is_told_from_what_is_wrong(
    document: Any, event: str, reason: str
) -> None:
    with pytest.raises(NoMeasure, match=reason):
        decode(document, event)


@pytest.mark.parametrize(
    ("document", "event", "reason"),
    [
        ([], "up", "not an uplink"),
        (message(deviceInfo={}), "up", "devEui"),
        (message(deviceInfo={"devEui": "zz"}), "up", "'zz'"),
        (message(data="?"), "up", "base64"),
        (message(time="noon"), "up", "'noon'"),
        (message(joinServerContext={"sessionKeyId": "k"}), "up", "encrypted"),
        (message(), "explode", "unknown event 'explode'"),
    ],
    ids=["list", "no eui", "eui", "data", "time", "encrypted", "event"],
)
def test_what_is_wrong_says_where(document: Any, event: str, reason: str) -> None:
    with pytest.raises(BadUplink, match=reason):
        decode(document, event)


@given(st.binary())
def test_no_bytes_raise_anything_else(payload: bytes) -> None:
    with pytest.raises((BadUplink, NoMeasure)):
        decode_uplink("up", payload, lambda: NOW)


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))])))
def test_every_time_is_read_as_the_instant_it_is(moment: datetime) -> None:
    assert decode(message(time=moment.isoformat())).time == moment


def test_the_measure_of_an_uplink_is_the_same_for_every_delivery() -> None:
    first = measure_of(decode(message()), "topic", b"raw")
    again = measure_of(decode(message(deduplicationId="other")), "topic", b"raw")

    assert first.key == again.key
    assert first.network == {"rssi": -70, "snr": 3.5, "gateways": 2, "f_cnt": 7, "f_port": 2}


@pytest.mark.parametrize(
    "other", [{"fCnt": 8}, {"devAddr": "01000000"}], ids=["frame counter", "session"]
)
def test_another_frame_or_session_is_another_measure(other: dict[str, Any]) -> None:
    first = measure_of(decode(message()), "topic", b"raw")
    second = measure_of(decode(message(**other)), "topic", b"raw")

    assert first.key != second.key


@pytest.mark.parametrize(
    ("topic", "named"),
    [
        ("application/a/device/02AB/event/up", ("up", "02ab")),
        ("application/a/device/02AB/event/up/more", ("", "")),
        ("other/topic", ("", "")),
    ],
)
def test_a_topic_names_event_and_device(topic: str, named: tuple[str, str]) -> None:
    assert event_of(topic) == named


@pytest.mark.parametrize(
    ("topic_filter", "topic", "matches"),
    [
        ("a/+/c", "a/b/c", True),
        ("a/+/c", "a//c", True),
        ("a/+/c", "a/b/b/c", False),
        ("a/#", "a/b/c", True),
        ("a/#", "a", True),
        ("a/#", "ab", False),
        ("#", "a/b", True),
        ("a.c", "abc", False),
    ],
)
def test_topic_filters_match_as_mqtt_says(topic_filter: str, topic: str, matches: bool) -> None:  # noqa: FBT001
    assert (topic_pattern(topic_filter).fullmatch(topic) is not None) is matches
