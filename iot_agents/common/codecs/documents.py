"""Devices that send documents: JSON or CBOR, one object per frame."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Final, NoReturn

import cbor2
import msgspec

from iot_agents.common.codecs.interface import PayloadError

MAX_DEPTH: Final = 16
"""How deep a document may be nested."""


def _refuse(*_: Any) -> NoReturn:
    raise ValueError("a tag that sensors have no use for")


# References let a few bytes become gigabytes; the others ask for work without a bound.
_REFUSED_TAGS: Final = dict.fromkeys((4, 5, 25, 28, 29, 30, 35, 36, 256, 43000), _refuse)


class Json:
    """A JSON object in UTF-8."""

    def decode(self, data: bytes, port: int | None = None) -> Mapping[str, Any]:  # noqa: ARG002 - any port
        """Return the object's members; see `Codec`."""
        try:
            return members_of(msgspec.json.decode(data), "JSON")
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise PayloadError(f"not JSON: {error}") from error


class Cbor:
    """A CBOR map (RFC 8949)."""

    def decode(self, data: bytes, port: int | None = None) -> Mapping[str, Any]:  # noqa: ARG002 - any port
        """Return the map's members, those named by numbers under the number as text."""
        stream = io.BytesIO(data)
        decoder = cbor2.CBORDecoder(
            stream, max_depth=MAX_DEPTH, semantic_decoders=_REFUSED_TAGS, read_size=1
        )
        try:
            value = decoder.decode()
        except (
            cbor2.CBORDecodeError,
            ValueError,
            TypeError,
            RecursionError,
            OverflowError,
        ) as error:
            raise PayloadError(f"byte {stream.tell()}: not CBOR: {error}") from error
        if stream.tell() < len(data):
            raise PayloadError(f"byte {stream.tell()}: more after the end of the CBOR map")
        return members_of(value, "CBOR")


def members_of(value: Any, form: str) -> Mapping[str, Any]:
    """Return the members of a document in JSON's types, without those that are null.

    Raises:
        PayloadError: it is no object, or holds what JSON cannot.
    """
    if not isinstance(value, Mapping):
        raise PayloadError(f"the {form} is no object, but {type(value).__name__}")
    plain = _plain(value, MAX_DEPTH)
    return {name: inner for name, inner in plain.items() if inner is not None}


def _plain(value: Any, depth: int) -> Any:
    """Return a value in JSON's types.

    Raises:
        PayloadError: it has none, or is nested too deeply.
    """
    if depth < 0:
        raise PayloadError(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        return {_name(key): _plain(inner, depth - 1) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner, depth - 1) for inner in value]
    return _scalar(value)


def _scalar(value: Any) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        if not -(1 << 63) <= value < 1 << 64:
            raise PayloadError("a number has more than 64 bits")
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes | bytearray):
        return bytes(value).hex()
    if isinstance(value, datetime | date):
        return value.isoformat()
    if value is cbor2.undefined:
        return None
    raise PayloadError(f"a {type(value).__name__} has no JSON")


def _name(key: Any) -> str:
    if isinstance(key, str | int):
        return str(key)
    raise PayloadError(f"a member is named by a {type(key).__name__}")
