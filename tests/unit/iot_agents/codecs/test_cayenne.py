"""Cayenne LPP: every type, and what is said of bytes that are not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_agents.common.codecs.cayenne import CayenneLpp
from iot_agents.common.codecs.interface import PayloadError
from tests.support.shared import SHARED, needs_shared

CODEC = CayenneLpp()


@pytest.mark.parametrize(
    ("frame", "name", "value"),
    [
        ("00ff", "digital_in", 255),
        ("0101", "digital_out", 1),
        ("02fed4", "analog_in", -3),
        ("03012d", "analog_out", 3.01),
        ("64fffffffe", "generic", 4294967294),
        ("65ea60", "luminosity", 60000),
        ("6601", "presence", 1),
        ("67ffd7", "temperature", -4.1),
        ("6873", "relative_humidity", 57.5),
        ("7104d2fb2e0000", "accelerometer", {"x": 1.234, "y": -1.234, "z": 0}),
        ("73ffff", "barometric_pressure", 6553.5),
        ("740c25", "voltage", 31.09),
        ("750fa1", "current", 4.001),
        ("7600000032", "frequency", 50),
        ("7864", "percentage", 100),
        ("79fff6", "altitude", -10),
        ("7d0467", "concentration", 1127),
        ("8003e8", "power", 1000),
        ("8200000af1", "distance", 2.801),
        ("8300000001", "energy", 0.001),
        ("84010e", "direction", 270),
        ("8569a3f456", "unix_time", 1772352598),
        ("86000affff0000", "gyrometer", {"x": 0.1, "y": -0.01, "z": 0}),
        ("870a141e", "colour", {"r": 10, "g": 20, "b": 30}),
        (
            "8806765ff2960a0003e8",
            "gps",
            {"latitude": 42.3519, "longitude": -87.9094, "altitude": 10},
        ),
        ("8e01", "switch", 1),
    ],
)
def test_every_type_has_its_size_sign_and_scale(frame: str, name: str, value: object) -> None:
    decoded = CODEC.decode(bytes.fromhex("05" + frame + "0978" + "2a"))

    assert decoded == {f"{name}_5": value, "percentage_9": 42}


@needs_shared
def test_the_frames_of_the_vectors_give_what_they_say() -> None:
    file = SHARED / "protocols" / "vectors" / "lorawan_payloads.json"
    vectors = json.loads(file.read_text(encoding="utf-8"))["vectors"]
    cases = [case for case in vectors if case["device"] == "Cayenne LPP"]

    assert [CODEC.decode(bytes.fromhex(case["hex"])) for case in cases] == [
        case["decoded"] for case in cases
    ]
    assert len(cases) == 3


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ("0167", "byte 2: temperature needs 2 bytes, 0 are left"),
        ("016700ff02", "byte 4: a channel without a type"),
        ("016700ff02ee", "byte 5: unknown Cayenne LPP type 238"),
        ("018806765f", "byte 2: gps needs 9 bytes, 3 are left"),
    ],
)
def test_an_error_names_the_byte(frame: str, reason: str) -> None:
    with pytest.raises(PayloadError, match=reason):
        CODEC.decode(bytes.fromhex(frame))


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        values = CODEC.decode(data)
    except PayloadError:
        return
    assert all(isinstance(value, int | float | dict) for value in values.values())
