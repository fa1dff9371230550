"""The packets of MQTT 3.1.1 and 5 that a client sends and receives.

Every packet is a byte of type and flags, its length in seven bits a byte, low ones first, and then:

    CONNECT     name, level, flags, keep alive (2), [properties], client id, [user], [password]
    CONNACK     session present, code, [properties]
    PUBLISH     topic, [packet id (2), unless QoS 0], [properties], payload
    PUBACK …    packet id (2), [code, [properties]]         also PUBREC, PUBREL, PUBCOMP
    SUBSCRIBE   packet id (2), [properties], (filter, options)*
    SUBACK      packet id (2), [properties], code*
    DISCONNECT  [code, [properties]]

Properties are there in MQTT 5 only: their length, then pairs of a byte and a value. Texts are UTF-8
behind a length of two bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

FIVE: Final = 5
THREE: Final = 4
"""The levels of MQTT 5 and 3.1.1 in a CONNECT."""

REFUSED: Final = 0x80
"""Codes from here on are refusals."""

_CONTINUED: Final = 0x80
_MOST_LENGTH_BYTES: Final = 4
_SESSION_EXPIRY: Final = 0x11
_SERVER_KEEP_ALIVE: Final = 0x13
_REASON: Final = 0x1F
_RECEIVE_MAXIMUM: Final = 0x21
_NO_RETAINED_AGAIN: Final = 0x10
# What follows a property's byte: a number of bytes, text, two texts, or a length.
_FIXED: Final = {
    **dict.fromkeys((0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A), 1),
    **dict.fromkeys((0x13, 0x21, 0x22, 0x23), 2),
    **dict.fromkeys((0x02, 0x11, 0x18, 0x27), 4),
}
_TEXTS: Final = {
    **dict.fromkeys((0x03, 0x08, 0x09, 0x12, 0x15, 0x16, 0x1A, 0x1C, 0x1F), 1),
    0x26: 2,
}
_SUBSCRIPTION_ID: Final = 0x0B


class Malformed(Exception):
    """The bytes are no packet that a server may send."""


class Kind(IntEnum):
    """The type of a packet."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class Connect:
    """What a client says of itself.

    Attributes:
        clean: whether the server shall forget what it kept for the client.
        session_expiry: seconds it shall keep it; MQTT 5 only, as is the one after it.
        receive_maximum: messages it may send before one is acknowledged.
    """

    level: int
    client_id: str
    keep_alive: int
    clean: bool
    user: str | None = None
    password: str | None = None
    session_expiry: int = 0
    receive_maximum: int = 65_535

    def encode(self) -> bytes:
        """Return the packet."""
        flags = self.clean << 1 | (self.password is not None) << 6 | (self.user is not None) << 7
        properties = b""
        if self.level == FIVE:
            found = bytes([_SESSION_EXPIRY]) + self.session_expiry.to_bytes(4)
            found += bytes([_RECEIVE_MAXIMUM]) + self.receive_maximum.to_bytes(2)
            properties = _length(len(found)) + found
        body = _text("MQTT") + bytes([self.level, flags]) + self.keep_alive.to_bytes(2) + properties
        texts = (self.client_id, self.user, self.password)
        return _packet(Kind.CONNECT, 0, body + b"".join(_text(t) for t in texts if t is not None))


@dataclass(frozen=True, slots=True)
class Connack:
    """What a server says to a CONNECT.

    Attributes:
        keep_alive: seconds the client shall keep to instead of its own; None when it may.
    """

    session_present: bool
    code: int
    reason: str = ""
    keep_alive: int | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """A PUBLISH that came; one of QoS 0 has the packet id 0.

    Attributes:
        again: whether the server may have sent it before (DUP).
    """

    topic: str
    payload: bytes
    packet_id: int
    qos: int
    again: bool = False


def publish(
    level: int, topic: str, payload: bytes, packet_id: int, *, qos: int, retain: bool
) -> bytes:
    """Return a PUBLISH."""
    head = _text(topic) + (packet_id.to_bytes(2) if qos else b"")
    properties = b"\x00" if level == FIVE else b""
    return _packet(Kind.PUBLISH, qos << 1 | retain, head + properties + payload)


def subscribe(level: int, topic: str, packet_id: int) -> bytes:
    """Return a SUBSCRIBE to one filter with QoS 1."""
    five = level == FIVE
    # A retained message is taken once, not at every reconnection.
    options = 1 | _NO_RETAINED_AGAIN if five else 1
    body = packet_id.to_bytes(2) + (b"\x00" if five else b"") + _text(topic) + bytes([options])
    return _packet(Kind.SUBSCRIBE, 2, body)


def acknowledgement(kind: Kind, packet_id: int) -> bytes:
    """Return a PUBACK, PUBREL or PUBCOMP that says that all is well."""
    return bytes([kind << 4 | (2 if kind is Kind.PUBREL else 0), 2]) + packet_id.to_bytes(2)


PINGREQ: Final = bytes([Kind.PINGREQ << 4, 0])
DISCONNECT: Final = bytes([Kind.DISCONNECT << 4, 0])


def split(buffer: bytearray) -> Iterator[tuple[int, int, int]]:
    """Yield first byte, start and end of the body of each whole packet that a buffer begins with.

    Raises:
        Malformed: a length is none.
    """
    at, size = 0, len(buffer)
    while at + 1 < size:
        first, at = buffer[at], at + 1
        length = shift = 0
        while True:
            if at == size:
                return
            byte = buffer[at]
            length |= (byte & 0x7F) << shift
            at += 1
            if byte < _CONTINUED:
                break
            shift += 7
            if shift == 7 * _MOST_LENGTH_BYTES:
                raise Malformed("a packet's length has more than four bytes")
        if at + length > size:
            return
        yield first, at, at + length
        at += length


def head(buffer: bytearray) -> tuple[int, int, int]:
    """Return first byte, start and end of the body of the packet that a buffer begins with."""
    length, start = _read_length(bytes(buffer[:5]), 1)
    return buffer[0], start, start + length


def message(level: int, first: int, body: bytes) -> Message:
    """Read a PUBLISH.

    Raises:
        Malformed: it is none.
    """
    qos = first >> 1 & 3
    at = 2 + int.from_bytes(body[:2])
    try:
        topic = body[2:at].decode()
    except UnicodeDecodeError as error:
        raise Malformed("a topic is not UTF-8") from error
    packet_id = 0
    if qos:
        packet_id, at = int.from_bytes(body[at : at + 2]), at + 2
    if level == FIVE:
        length, at = _read_length(body, at)
        at += length
    if at > len(body) or qos > 1 or (qos and not packet_id):
        raise Malformed("a PUBLISH is cut off, or of a QoS that nobody asked for")
    return Message(topic, body[at:], packet_id, qos, bool(first >> 3 & 1))


def connack(level: int, body: bytes) -> Connack:
    """Read a CONNACK.

    Raises:
        Malformed: it is none.
    """
    if len(body) < 2:  # noqa: PLR2004 - flags and code
        raise Malformed("a CONNACK is cut off")
    # A server older than MQTT 5 answers a CONNECT of 5 in its own form, without properties.
    found = _properties(body, 2) if level == FIVE and len(body) > 2 else {}  # noqa: PLR2004
    alive = found.get(_SERVER_KEEP_ALIVE)
    return Connack(
        session_present=bool(body[0] & 1),
        code=body[1],
        reason=found.get(_REASON, b"").decode(errors="replace"),
        keep_alive=None if alive is None else int.from_bytes(alive),
    )


def acknowledged(body: bytes) -> tuple[int, int]:
    """Return packet id and code of a PUBACK, PUBREC or PUBCOMP.

    Raises:
        Malformed: it is none.
    """
    if len(body) < 2:  # noqa: PLR2004 - the packet id
        raise Malformed("an acknowledgement is cut off")
    return int.from_bytes(body[:2]), body[2] if len(body) > 2 else 0  # noqa: PLR2004


def suback(level: int, body: bytes) -> tuple[int, Sequence[int]]:
    """Return packet id and codes of a SUBACK.

    Raises:
        Malformed: it is none.
    """
    at = 2
    if level == FIVE:
        length, at = _read_length(body, at)
        at += length
    if at >= len(body):
        raise Malformed("a SUBACK is cut off")
    return int.from_bytes(body[:2]), tuple(body[at:])


def disconnection(body: bytes) -> tuple[int, str]:
    """Return code and reason of a DISCONNECT."""
    found = _properties(body, 1) if len(body) > 1 else {}
    return body[0] if body else 0, found.get(_REASON, b"").decode(errors="replace")


def _packet(kind: Kind, flags: int, body: bytes) -> bytes:
    return bytes([kind << 4 | flags]) + _length(len(body)) + body


def _length(length: int) -> bytes:
    encoded = bytearray()
    while length >= _CONTINUED:
        encoded.append(length & 0x7F | _CONTINUED)
        length >>= 7
    encoded.append(length)
    return bytes(encoded)


def _read_length(body: bytes, at: int) -> tuple[int, int]:
    length = 0
    for count in range(_MOST_LENGTH_BYTES):
        if at + count >= len(body):
            break
        byte = body[at + count]
        length |= (byte & 0x7F) << 7 * count
        if byte < _CONTINUED:
            return length, at + count + 1
    raise Malformed("a length is cut off, or has more than four bytes")


def _text(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2) + data


def _properties(body: bytes, at: int) -> dict[int, bytes]:
    """Return the values of properties by their byte, of texts without their length."""
    length, at = _read_length(body, at)
    end = at + length
    if end > len(body):
        raise Malformed("properties are cut off")
    found: dict[int, bytes] = {}
    while at < end:
        name, at = body[at], at + 1
        if name in _FIXED:
            found[name], at = body[at : at + _FIXED[name]], at + _FIXED[name]
        elif name in _TEXTS:
            for _ in range(_TEXTS[name]):
                size = int.from_bytes(body[at : at + 2])
                found[name], at = body[at + 2 : at + 2 + size], at + 2 + size
        elif name == _SUBSCRIPTION_ID:
            _, at = _read_length(body, at)
        else:
            raise Malformed(f"there is no property {name}")
    return found
