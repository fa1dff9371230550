"""What a codec is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

LONGEST_DOWNLINK: Final = 242
"""Bytes that a frame of LoRaWAN holds at most."""
LARGEST_PORT: Final = 223
"""The last port of LoRaWAN that applications have."""


class PayloadError(Exception):
    """A device's bytes are not what its codec reads; the text says where and why."""


class TooSlow(PayloadError):
    """A codec took longer over a device's bytes than it may."""


class BadCodec(Exception):
    """A codec that was asked for cannot be had; the text says why."""


class Codec(Protocol):
    """Makes values of a device's bytes."""

    def decode(self, data: bytes, port: int | None = None) -> Mapping[str, Any]:
        """Return the named values in bytes that came on a port.

        Raises:
            PayloadError: they cannot be read.
        """
        ...
