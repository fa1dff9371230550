"""JSON and CBOR in the bytes: their members, and documents made to do harm."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_agents.common.codecs.documents import Cbor, Json
from iot_agents.common.codecs.interface import Codec, PayloadError

CODECS: dict[str, Codec] = {"cbor": Cbor(), "json": Json()}


def test_members_have_the_types_of_json() -> None:
    moment = datetime(2026, 3, 1, 8, tzinfo=UTC)
    data = cbor2.dumps(
        {"t": 21.5, 1: [1, None], "b": b"\xab", "at": moment, "no": None, "nan": math.nan, "o": {}}
    )

    assert CODECS["cbor"].decode(data) == {
        "t": 21.5,
        "1": [1, None],
        "b": "ab",
        "at": "2026-03-01T08:00:00+00:00",
        "o": {},
    }
    assert CODECS["json"].decode(b'{"t": 21.5, "no": null}') == {"t": 21.5}


@pytest.mark.parametrize(
    ("form", "data", "reason"),
    [
        ("cbor", b"", "byte 0: not CBOR"),
        ("cbor", b"\x01", "no object, but int"),
        ("cbor", b"\xa1\x61a", "byte 3: not CBOR"),
        ("cbor", b"\xa1\x61a\x01\xff", "byte 4: more after the end"),
        ("cbor", b"\xa1\x61a" + b"\x81" * 500, "not CBOR"),
        ("cbor", b"\xa1\x81\x01\x02", "named by a tuple"),
        ("cbor", b"\xa1\x61a\xd9\xff\xff\x01", "has no JSON"),
        ("cbor", b"\xa1\x61a\xd8\x1c\x81\xd8\x1d\x00", "not CBOR"),
        ("cbor", b"\xa1\x61a\xc5\x82\x1b" + b"\x7f" * 8 + b"\x01", "not CBOR"),
        ("cbor", b"\xa1\x61a\xc2\x49" + b"\xff" * 9, "more than 64 bits"),
        ("cbor", b"\xa1\x61a\x5b" + b"\x7f" * 8, "not CBOR"),
        ("json", b"", "not JSON"),
        ("json", b"[1]", "no object, but list"),
        ("json", b"\xff", "not JSON"),
        ("json", b'{"a":' * 30 + b"1" + b"}" * 30, "nested deeper"),
        ("json", b'{"a":' + b"[" * 900, "not JSON"),
    ],
)
def test_what_is_no_document_says_why(form: str, data: bytes, reason: str) -> None:
    with pytest.raises(PayloadError, match=reason):
        CODECS[form].decode(data)


@given(st.sampled_from(sorted(CODECS)), st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(form: str, data: bytes) -> None:
    try:
        values = CODECS[form].decode(data)
    except PayloadError:
        return
    assert None not in values.values()


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.integers(-(2**63), 2**64 - 1) | st.text(max_size=10) | st.booleans(),
        max_size=5,
    )
)
def test_what_a_device_packs_is_what_is_read(values: dict[str, Any]) -> None:
    assert CODECS["cbor"].decode(cbor2.dumps(values)) == values
