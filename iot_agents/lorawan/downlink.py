"""A command as a downlink: what its provisioning and its value say of bytes, port and urgency.

The value of a command is one of these:

    {"hex": "01ff", "fPort": 5}      bytes in hex; likewise "base64"
    {"object": {"open": true}}       values, for a codec to encode
    anything else                    what `encoding` says, and values where it says nothing

`fPort`, `confirmed`, `priority` and `replace` stand beside, or in the `metadata` of the command as
it is provisioned, as `encoding` does (`object`, `hex`, `base64`).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from iot_agents.common.codecs.interface import (
    LARGEST_PORT,
    LONGEST_DOWNLINK,
    Codec,
    PayloadError,
)
from iot_agents.common.codecs.script import ScriptCodec
from iot_agents.common.commands.evaluating import Unwritable, element_of, evaluated
from iot_agents.common.commands.model import Command
from iot_agents.common.commands.provisioned import option

DEFAULT_PORT: Final = 1
_ENCODINGS: Final = ("hex", "base64", "object")
_OPTIONS: Final = ("fPort", "confirmed", "priority", "replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Downlink:
    """A downlink for a network server's queue.

    Attributes:
        id: 32 hex digits, by which what becomes of it is known.
        data: the bytes; None where the network server is to encode `values`.
        priority: a word of The Things Stack.
        replace: whether it takes the place of what is queued.
        expires: when it is of no use any more.
        repeatable: whether the device may get it twice.
    """

    id: str
    dev_eui: str
    port: int
    data: bytes | None
    values: Mapping[str, Any] | None
    confirmed: bool
    priority: str
    replace: bool
    expires: datetime
    repeatable: bool = False

    @property
    def short_id(self) -> str:
        """The half of the id that fits where 64 bits are all there is."""
        return self.id[:16].upper()


async def downlink_of(
    command: Command, dev_eui: str, codec: Codec | None, variables: Mapping[str, Any]
) -> Downlink:
    """Return the downlink that a command means.

    Args:
        codec: the device's; a script encodes values, all others leave them to the network server.

    Raises:
        Unwritable: it means none; the text says why.
    """
    element = element_of(command)
    options, encoding, content = _parts(command, element)
    port = _port(options.get("fPort"))
    data = values = None
    if encoding == "object":
        values = content if isinstance(content, Mapping) else {_name(command, element): content}
        if isinstance(codec, ScriptCodec):
            data, port = await _encoded(codec, values, port, variables)
    else:
        data = _bytes(content, encoding)
    return Downlink(
        id=command.id,
        dev_eui=dev_eui,
        port=port or DEFAULT_PORT,
        data=data,
        values=values,
        confirmed=_flag(options, "confirmed"),
        priority=str(options.get("priority") or ""),
        replace=_flag(options, "replace"),
        expires=command.expires,
        repeatable=command.idempotent,
    )


def _parts(command: Command, element: Mapping[str, Any]) -> tuple[Mapping[str, Any], str, Any]:
    """Return a command's options, the encoding of its content, and the content."""
    provisioned = {name: option(element, name) for name in _OPTIONS}
    encoding = option(element, "encoding") or "object"
    if encoding not in _ENCODINGS:
        raise Unwritable(f"encoding {encoding!r:.40} is none of {', '.join(_ENCODINGS)}")
    expression = element.get("expression")
    value = evaluated(expression, command) if isinstance(expression, str) else command.value
    if isinstance(value, Mapping):
        named = [name for name in _ENCODINGS if name in value]
        if len(named) == 1 and set(value) <= {*named, *_OPTIONS}:
            given = {name: value[name] for name in _OPTIONS if name in value}
            return {**provisioned, **given}, named[0], value[named[0]]
    return provisioned, encoding, value


async def _encoded(
    codec: ScriptCodec, values: Mapping[str, Any], port: int | None, variables: Mapping[str, Any]
) -> tuple[bytes, int | None]:
    try:
        return await codec.encode(values, port, variables)
    except PayloadError as error:
        raise Unwritable(str(error)) from error


def _bytes(content: Any, encoding: str) -> bytes:
    if not isinstance(content, str):
        raise Unwritable(f"{content!r:.60} is no text in {encoding}")
    try:
        data = (
            bytes.fromhex(content)
            if encoding == "hex"
            else base64.b64decode(content, validate=True)
        )
    except (ValueError, binascii.Error) as error:
        raise Unwritable(f"{content!r:.60} is not {encoding}") from error
    if len(data) > LONGEST_DOWNLINK:
        raise Unwritable(f"{len(data)} bytes are more than a frame holds")
    return data


def _flag(options: Mapping[str, Any], name: str) -> bool:
    value = options.get(name)
    if value is not None and not isinstance(value, bool):
        raise Unwritable(f"{name}: {value!r:.40} is neither true nor false")
    return value is True


def _port(value: Any) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= LARGEST_PORT:
        raise Unwritable(f"fPort: {value!r:.40} is not between 1 and {LARGEST_PORT}")
    return value


def _name(command: Command, element: Mapping[str, Any]) -> str:
    return str(element.get("object_id") or command.name)
