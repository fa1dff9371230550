"""Device payloads as declared byte layouts: the `decode:` section of a mapping, compiled."""

from __future__ import annotations

from typing import Any


class PayloadError(Exception):
    """The bytes are not what the layout says."""


class Codec:
    """A compiled byte layout."""

    def decode(self, data: bytes, port: int | None = None) -> dict[str, Any]:
        """Return the named values in the bytes that came on a port.

        Raises:
            PayloadError: no frame of the layout fits the port and the bytes.
        """
        raise NotImplementedError
