"""Reading the parts that the messages of all network servers have."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import msgspec

from iot_agents.common.nesting import MAX_DEPTH, deeper_than
from iot_agents.lorawan.uplink import BadUplink

T = TypeVar("T")

_LONGEST_FRAME: Final = 1024
_EUI: Final = re.compile(r"[0-9a-f]{16}")


def document_of(payload: bytes) -> dict[str, Any]:
    """Return a message's JSON object.

    Raises:
        BadUplink: it is none, or nested too deeply.
    """
    try:
        document = msgspec.json.decode(payload, type=dict[str, Any])
    except RecursionError as error:
        raise BadUplink(f"nested deeper than {MAX_DEPTH} levels") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadUplink(f"not an uplink: {error}") from error
    if deeper_than(MAX_DEPTH, document):
        raise BadUplink(f"nested deeper than {MAX_DEPTH} levels")
    return document


def read(document: Mapping[str, Any], kind: type[T], server: str) -> T:
    """Return the members of a message that matter; numbers may stand in texts.

    Raises:
        BadUplink: a member is missing or not what it must be.
    """
    try:
        return msgspec.convert(document, kind, strict=False)
    except (msgspec.ValidationError, ValueError, OverflowError) as error:
        raise BadUplink(f"not an uplink of {server}: {error}") from error


def eui(text: str) -> str:
    """Return a device EUI in lower-case hex.

    Raises:
        BadUplink: it is none.
    """
    lowered = text.lower()
    if not _EUI.fullmatch(lowered):
        raise BadUplink(f"{text!r:.40} is not a device EUI")
    return lowered


def moment(text: str, member: str = "time") -> datetime:
    """Return an RFC 3339 time in UTC, cut to microseconds; one without an offset is in UTC.

    Raises:
        BadUplink: it is none.
    """
    try:
        told = datetime.fromisoformat(text)
        return told.replace(tzinfo=UTC) if told.tzinfo is None else told.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise BadUplink(f"{member}: {text!r:.40} is not a date-time") from error


def from_base64(text: str, member: str = "data") -> bytes:
    """Return the bytes in a base64 text.

    Raises:
        BadUplink: it is none, or they are more than a frame holds.
    """
    try:
        return _bounded(base64.b64decode(text, validate=True), member)
    except (binascii.Error, ValueError) as error:
        raise BadUplink(f"{member}: {text!r:.40} is not base64") from error


def from_hex(text: str, member: str) -> bytes:
    """Return the bytes in a text of hex digits.

    Raises:
        BadUplink: it is none, or they are more than a frame holds.
    """
    try:
        return _bounded(bytes.fromhex(text), member)
    except ValueError as error:
        raise BadUplink(f"{member}: {text!r:.40} is not hex") from error


def counter(number: int, member: str) -> int:
    """Return a frame counter or port that can be one.

    Raises:
        BadUplink: it is negative or has more than 32 bits.
    """
    if not 0 <= number < 1 << 32:
        raise BadUplink(f"{member}: {number!r:.40} is out of range")
    return number


def speaks_for(speaker: str, device: str) -> None:
    """Check that a topic names the device that its message is of.

    Rights are given by topic: a device must not speak for another one.

    Raises:
        BadUplink: it names another one.
    """
    if speaker and speaker != device:
        raise BadUplink(f"the message is of device {device:.40}, the topic is not")


def _bounded(data: bytes, member: str) -> bytes:
    if len(data) > _LONGEST_FRAME:
        raise BadUplink(f"{member}: {len(data)} bytes are more than a frame holds")
    return data
