"""Declared byte layouts: what they read, and which bytes they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_agents.common.codecs.interface import Codec, PayloadError
from iot_agents.common.mapping.apply import apply
from iot_agents.common.mapping.codec import compile_codec
from iot_agents.common.mapping.document import InvalidField
from iot_agents.common.mapping.model import MappingError
from smart_data_models import yaml12
from tests.unit.iot_agents.mapping.building import load, problems_of, text_of


def codec(frames: str) -> Codec:
    return compile_codec({"frames": yaml12.load(frames).value}, ("decode",), lambda _: None)


@pytest.mark.parametrize(
    ("field", "data", "expected"),
    [
        ("{type: u8}", "ff", 255),
        ("{type: s8}", "ff", -1),
        ("{type: u16be}", "0102", 258),
        ("{type: u16le}", "0102", 513),
        ("{type: s16be}", "fffe", -2),
        ("{type: s16le}", "feff", -2),
        ("{type: u24le}", "010000", 1),
        ("{type: s24be}", "ffffff", -1),
        ("{type: u32be}", "00010000", 65536),
        ("{type: s32le}", "ffffffff", -1),
        ("{type: u64le}", "0100000000000000", 1),
        ("{type: f32be}", "3fc00000", 1.5),
        ("{type: f64le}", "000000000000f83f", 1.5),
        ("{type: f32be}", "7fc00000", None),
        ("{type: u16be, scale: 0.1}", "00a1", 16.1),
        ("{type: u16be, scale: 0.001}", "0c25", 3.109),
        ("{type: u16be, scale: 2}", "0003", 6),
        ("{type: u16be, add: -32768, scale: 0.1}", "80a1", 16.1),
        ("{type: u8, add: 1}", "01", 2),
        ("{type: u8, bit: 3}", "08", True),
        ("{type: u8, bit: 2}", "08", False),
        ("{type: u16be, mask: 0x3fff}", "ce29", 3625 + 0),
        ("{type: u8, enum: {1: open, 2: closed}}", "02", "closed"),
        ("{type: u8, enum: {1: open, 2: closed}}", "03", None),
        ("{type: u16le, missing: [0xffff], scale: 0.1}", "ffff", None),
        ("{type: u8, times: 3}", "010203", [1, 2, 3]),
        ("{type: u8, times: 3, missing: [2]}", "010203", [1, 3]),
        ("{type: u8, times: 3, join: '.'}", "010203", "1.2.3"),
    ],
)
def test_a_field_reads_its_value(field: str, data: str, expected: Any) -> None:
    decoded = codec(f"[{{fields: {{v: {field}}}}}]").decode(bytes.fromhex(data))

    assert decoded == ({} if expected is None else {"v": expected})


def test_fields_stand_one_after_the_other_unless_they_say_where() -> None:
    layout = codec("[{skip: 1, fields: {a: {type: u8}, b: {type: u8, at: 3}, c: {type: u8}}}]")

    assert layout.decode(bytes([9, 1, 9, 2, 3])) == {"a": 1, "b": 2, "c": 3}


def test_a_field_is_read_only_when_its_flag_is_set() -> None:
    layout = codec(
        "[{fields: {flags: {type: u8, keep: false}, a: {type: u8, when: {flags: 0}},"
        " b: {type: u8, when: {flags: 7}}}}]"
    )

    assert layout.decode(bytes([0x01, 5])) == {"a": 5}
    assert layout.decode(bytes([0x80, 5])) == {"b": 5}
    assert layout.decode(bytes([0x81, 5, 6])) == {"a": 5, "b": 6}
    assert layout.decode(bytes([0])) == {}


def test_the_first_frame_that_fits_port_and_length_is_read() -> None:
    layout = codec(
        "[{port: 1, length: 1, fields: {a: {type: u8}}},"
        " {port: [1, 2], fields: {b: {type: u16be}}}, {length: [3], fields: {c: {type: u24be}}}]"
    )

    assert layout.decode(b"\x07", 1) == {"a": 7}
    assert layout.decode(b"\x00\x07", 1) == {"b": 7}
    assert layout.decode(b"\x00\x07", 2) == {"b": 7}
    assert layout.decode(b"\x00\x00\x07") == {"c": 7}


def test_records_are_read_by_their_tags_in_any_order() -> None:
    layout = codec(
        "[{fields: {head: {type: u8}}, records: {'0175': {battery: {type: u8}},"
        " '03': {}, '0367': {temperature: {type: s16le, scale: 0.1}}}}]"
    )

    assert layout.decode(bytes.fromhex("aa0367190101755603")) == {
        "head": 170,
        "temperature": 28.1,
        "battery": 86,
    }


@pytest.mark.parametrize(
    ("frames", "data", "port", "message"),
    [
        ("[{port: 1, fields: {a: {type: u8}}}]", "01", 2, "no layout for 1 bytes on port 2"),
        ("[{length: 2, fields: {a: {type: u8}}}]", "01", 2, "no layout for 1 bytes on port 2"),
        ("[{fields: {a: {type: u16be}}}]", "01", None, "a: the bytes end before it"),
        ("[{fields: {a: {type: u8}}}]", "0102", None, "1 bytes more than the layout has"),
        ("[{records: {'01': {a: {type: u8}}}}]", "010502aa", None, "unknown record 02aa"),
        ("[{records: {'01': {a: {type: u8}}}}]", "01", None, "a: the bytes end before it"),
    ],
)
def test_bytes_that_do_not_fit_are_refused(
    frames: str, data: str, port: int | None, message: str
) -> None:
    with pytest.raises(PayloadError, match=message):
        codec(frames).decode(bytes.fromhex(data), port)


def test_a_layout_may_ignore_what_follows() -> None:
    fields = codec("[{rest: ignore, fields: {a: {type: u8}}}]")
    records = codec("[{rest: ignore, records: {'01': {a: {type: u8}}}}]")

    assert fields.decode(b"\x01\x02\x03") == {"a": 1}
    assert records.decode(b"\x01\x02\x03") == {"a": 2}


@pytest.mark.parametrize(
    ("frames", "problem"),
    [
        ("[{fields: {a: {type: u8, when: {flags: 0}}}}]", "'flags' is not an earlier field"),
        ("[{records: {0175: {a: {type: u8}}}}]", "is not a tag in hex, quoted"),
        ("[{records: {'1x': {a: {type: u8}}}}]", "is not a tag in hex, quoted"),
    ],
)
def test_a_layout_that_contradicts_itself_is_refused(frames: str, problem: str) -> None:
    with pytest.raises(InvalidField, match=problem):
        codec(frames)


@pytest.mark.parametrize(
    ("decode", "problem"),
    [
        ("{frames: [{fields: {a: {type: u17}}}]}", "decode.frames[0].fields.a.type: 'u17' is not"),
        ("{frames: [{fields: {a: {}}}]}", "decode.frames[0].fields.a: type must be there"),
        ("{frames: [{port: 1}]}", "decode.frames[0]"),
        ("{frames: [{fields: {a: {type: u8, sale: 2}}}]}", "sale: is not a word here"),
        ("{bytes: 'a b', frames: [{fields: {a: {type: u8}}}]}", "decode.bytes: 'a b' is not a"),
    ],
)
def test_a_wrong_layout_in_a_file_is_refused_with_its_place(
    tmp_path: Path, decode: str, problem: str
) -> None:
    text = text_of("a: {value: 1}", before=f"decode: {decode}\n")

    assert problem in problems_of(tmp_path, text)[0]


@pytest.mark.parametrize(
    ("section", "payload", "expected"),
    [
        ("{", {"data": "AQI=", "fPort": 1}, 258),
        ("{encoding: hex, ", {"data": "0102", "fPort": 1}, 258),
        ("{bytes: x.y, port: x.p, ", {"x": {"y": "AQI=", "p": 1}}, 258),
        ("{into: values, ", {"data": "AQI=", "fPort": 1}, None),
        ("{", {"fPort": 1}, None),
        ("{", {"data": None}, None),
    ],
)
def test_a_mapping_reads_what_its_layout_decodes(
    tmp_path: Path, section: str, payload: dict[str, Any], expected: int | None
) -> None:
    before = f"decode: {section}frames: [{{fields: {{v: {{type: u16be}}}}}}]}}\n"
    mapping = load(tmp_path, text_of("v: {from: decoded.v}\nz: {value: 0}", before=before))

    entity = apply(mapping, {"time": "2026-05-04T07:00:00Z", **payload})[0]

    assert entity.get("v") == (expected and {"type": "Property", "value": expected})


@pytest.mark.parametrize("data", ["A", "AQI=!", "AQID", 5])
def test_bytes_a_mapping_cannot_decode_are_an_error(tmp_path: Path, data: Any) -> None:
    before = "decode: {frames: [{fields: {v: {type: u16be}}}]}\n"
    mapping = load(tmp_path, text_of("v: {from: decoded.v}", before=before))

    with pytest.raises(MappingError) as failure:
        apply(mapping, {"time": "2026-05-04T07:00:00Z", "data": data})

    assert (failure.value.field, failure.value.code) == ("decode", "BAD_PAYLOAD")


@given(st.binary(max_size=40))
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    layout = codec(
        "[{records: {'0175': {b: {type: u8}}, '0367': {t: {type: s16le, scale: 0.1}},"
        " 'ff': {f: {type: f32be}, g: {type: u8, times: 2}}}}]"
    )
    try:
        decoded = layout.decode(data)
    except PayloadError:
        decoded = {}

    assert set(decoded) <= {"b", "t", "f", "g"}
