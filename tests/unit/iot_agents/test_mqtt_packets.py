"""MQTT packets, byte by byte; vectors are written by the standards (OASIS MQTT 3.1.1 and 5.0)."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_agents.common import mqtt_packets as packets
from iot_agents.common.mqtt_packets import FIVE, THREE, Connect, Malformed, Message


def test_a_connect_of_mqtt_3_carries_name_level_flags_and_texts() -> None:
    connect = Connect(
        level=THREE, client_id="a", keep_alive=60, clean=False, user="u", password="p"
    )

    assert connect.encode() == b"\x10\x13\x00\x04MQTT\x04\xc0\x00\x3c\x00\x01a\x00\x01u\x00\x01p"


def test_a_connect_of_mqtt_5_says_how_long_its_session_is_kept_and_how_much_it_takes() -> None:
    connect = Connect(
        level=FIVE,
        client_id="a",
        keep_alive=60,
        clean=False,
        session_expiry=3600,
        receive_maximum=10,
    )

    properties = b"\x08\x11\x00\x00\x0e\x10\x21\x00\x0a"
    assert connect.encode() == b"\x10\x16\x00\x04MQTT\x05\x00\x00\x3c" + properties + b"\x00\x01a"


@pytest.mark.parametrize("level", [THREE, FIVE])
@given(
    topic=st.text(min_size=1, max_size=50),
    payload=st.binary(max_size=400),
    packet_id=st.integers(1, 65_535),
    qos=st.sampled_from([0, 1]),
)
def test_a_message_is_read_as_it_was_written(
    level: int, topic: str, payload: bytes, packet_id: int, qos: int
) -> None:
    packet = packets.publish(level, topic, payload, packet_id, qos=qos, retain=False)
    ((first, start, end),) = packets.split(bytearray(packet))

    read = packets.message(level, first, packet[start:end])

    assert end == len(packet)
    assert read == Message(topic, payload, packet_id if qos else 0, qos)


def test_a_message_with_properties_is_read_behind_them() -> None:
    properties = b"\x26\x00\x01k\x00\x01v\x0b\x80\x01"
    body = b"\x00\x01t\x00\x07" + bytes([len(properties)]) + properties + b"payload"

    assert packets.message(FIVE, 0x32, body) == Message("t", b"payload", 7, 1)


@given(sizes=st.lists(st.integers(0, 300), max_size=5), cut=st.integers(0, 400))
def test_only_whole_packets_are_split_off(sizes: list[int], cut: int) -> None:
    written = [packets.publish(THREE, "t", b"x" * size, 1, qos=1, retain=False) for size in sizes]
    stream = b"".join(written)[:cut]

    found = [bytes(stream[:end]) for _, _, end in packets.split(bytearray(stream))]

    whole = [b"".join(written[: n + 1]) for n in range(len(written))]
    assert found == [each for each in whole if len(each) <= cut]


@pytest.mark.parametrize(
    ("body", "code", "keep_alive", "reason"),
    [
        (b"\x00\x05", 5, None, ""),
        (b"\x01\x00\x00", 0, None, ""),
        (b"\x00\x87\x0a\x13\x00\x1e\x1f\x00\x04full", 0x87, 30, "full"),
    ],
    ids=["of 3.1.1", "without properties", "with properties"],
)
def test_what_a_server_answers_to_a_connect_is_read(
    body: bytes, code: int, keep_alive: int | None, reason: str
) -> None:
    answer = packets.connack(FIVE, body)

    assert (answer.code, answer.keep_alive, answer.reason) == (code, keep_alive, reason)


@pytest.mark.parametrize(
    ("first", "body"),
    [
        (0x30, b"\x00\x05t"),
        (0x32, b"\x00\x01t\x00\x00"),
        (0x34, b"\x00\x01t\x00\x01"),
        (0x30, b"\x00\x01\xff"),
        (0x30, b""),
    ],
    ids=["short topic", "no packet id", "QoS 2", "not UTF-8", "empty"],
)
def test_a_message_that_cannot_be_is_refused(first: int, body: bytes) -> None:
    with pytest.raises(Malformed):
        packets.message(THREE, first, body)


@given(body=st.binary(max_size=60), first=st.integers(0, 255))
def test_arbitrary_bytes_are_read_or_refused(body: bytes, first: int) -> None:
    readers = (
        lambda: packets.message(FIVE, first, body),
        lambda: packets.connack(FIVE, body),
        lambda: packets.suback(FIVE, body),
        lambda: packets.acknowledged(body),
        lambda: packets.disconnection(body),
        lambda: list(packets.split(bytearray(body))),
    )
    for read in readers:
        with suppress(Malformed):
            read()
