"""Codecs that vendors write in JavaScript, in the shape of the LoRa Alliance's TS013.

    decodeUplink({bytes, fPort, recvTime, variables})  → {data, warnings, errors}
    encodeDownlink({data, fPort, variables})           → {bytes, fPort, warnings, errors}

A script without `decodeUplink` may have the older `Decode(fPort, bytes, variables)` or
`Decoder(bytes, port)`, and likewise `Encode` and `Encoder`, which return data or bytes alone. It
runs in the sandbox only.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

from iot_agents.common.codecs.documents import members_of
from iot_agents.common.codecs.interface import (
    LARGEST_PORT,
    LONGEST_DOWNLINK,
    PayloadError,
    TooSlow,
)
from iot_agents.common.codecs.sandbox import (
    Sandbox,
    Script,
    ScriptCall,
    ScriptFailed,
    ScriptTimedOut,
)

_log = logging.getLogger(__name__)
_UPLINK: Final = ("decodeUplink", "Decode", "Decoder")
_DOWNLINK: Final = ("encodeDownlink", "Encode", "Encoder")
_MODERN: Final = frozenset(("decodeUplink", "encodeDownlink"))


class ScriptCodec:
    """A script and the sandbox it runs in."""

    def __init__(self, sandbox: Sandbox, script: Script) -> None:
        self._sandbox = sandbox
        self._script = script

    @property
    def name(self) -> str:
        """The script's name."""
        return self._script.name

    def decode(self, data: bytes, port: int | None = None) -> Mapping[str, Any]:
        """Return the values the script makes of bytes, and wait for them; see `Codec`."""
        with _translated():
            return self._data(*self._sandbox.call(self._uplink(data, port, None, {})))

    async def decode_received(
        self, data: bytes, port: int | None, received: datetime, variables: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Return the values the script makes of bytes; see `Codec`.

        Args:
            received: when the network had them.
            variables: what is provisioned of the device for its codec.
        """
        with _translated():
            call = self._uplink(data, port, received, variables)
            return self._data(*await self._sandbox.run(call))

    async def encode(
        self, values: Mapping[str, Any], port: int | None, variables: Mapping[str, Any]
    ) -> tuple[bytes, int | None]:
        """Return the bytes the script makes of the values of a downlink, and the port for them.

        Raises:
            PayloadError: it cannot.
        """
        given = {"data": values, "fPort": port, "variables": variables}
        with _translated():
            call = ScriptCall(self._script, _DOWNLINK, given)
            name, result = await self._sandbox.run(call)
        if name in _MODERN:
            members = self._members(name, result)
            result, port = members.get("bytes"), _port(members.get("fPort"), port, self.name)
        if not isinstance(result, list) or not all(_is_byte(each) for each in result):
            raise PayloadError(f"{self.name}: {name} returned no list of bytes")
        if len(result) > LONGEST_DOWNLINK:
            raise PayloadError(
                f"{self.name}: {name} made {len(result)} bytes, too many for a frame"
            )
        return bytes(int(each) for each in result), port

    def _uplink(
        self, data: bytes, port: int | None, received: datetime | None, variables: Mapping[str, Any]
    ) -> ScriptCall:
        given: dict[str, Any] = {"bytes": list(data), "fPort": port, "variables": variables}
        if received is not None:
            given["recvTime"] = int(received.timestamp() * 1000)
        return ScriptCall(self._script, _UPLINK, given)

    def _data(self, name: str, result: Any) -> Mapping[str, Any]:
        data = self._members(name, result).get("data") if name in _MODERN else result
        try:
            return members_of(data, "data")
        except PayloadError as error:
            raise PayloadError(f"{self.name}: {name}: {error}") from error

    def _members(self, name: str, result: Any) -> Mapping[str, Any]:
        """Return what a function returned, unless that says that it failed."""
        if not isinstance(result, Mapping):
            raise PayloadError(f"{self.name}: {name} returned no object")
        if errors := result.get("errors"):
            raise PayloadError(f"{self.name}: {_joined(errors)}")
        if warnings := result.get("warnings"):
            _log.debug("%s: %s", self.name, _joined(warnings))
        return result


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except ScriptTimedOut as error:
        raise TooSlow(str(error)) from error
    except ScriptFailed as error:
        raise PayloadError(str(error)) from error


def _joined(texts: Any) -> str:
    each = texts if isinstance(texts, list) else [texts]
    return "; ".join(str(text) for text in each)[:500]


def _is_byte(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value in range(256)


def _port(told: Any, asked: int | None, name: str) -> int | None:
    if told is None:
        return asked
    if not isinstance(told, int) or not 0 < told <= LARGEST_PORT:
        raise PayloadError(f"{name}: {told!r:.40} is no port")
    return told
