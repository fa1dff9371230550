"""The two languages of devices, and what a payload in one of them may be wrong in."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

MAX_SETS: Final = 1000
"""Sets of measures that one message may carry."""

Measures = dict[str, Any]
"""One set of measures, by the names the device gave them; `TimeInstant` is their time."""


class Language(StrEnum):
    """How a device's payloads are written; the value is the prefix of its MQTT topics."""

    JSON = "json"
    ULTRALIGHT = "ul"


class BadPayload(Exception):
    """A payload that cannot be read; the text says why.

    Attributes:
        name: of the error, as the FIWARE agents call it.
    """

    def __init__(self, reason: str, name: str = "BAD_PAYLOAD") -> None:
        super().__init__(reason)
        self.name = name


_RESOURCES: Final[Mapping[str, Language]] = {
    "/iot/json": Language.JSON,
    "/iot/d": Language.ULTRALIGHT,
}


def language_of_resource(resource: str) -> Language | None:
    """Return the language of a path that always means one, None for all others."""
    return _RESOURCES.get(resource.rstrip("/"))


def resource_of_language(language: Language) -> str:
    """Return the path that always means a language."""
    return next(resource for resource, meant in _RESOURCES.items() if meant is language)


def language_of_device(in_force: Mapping[str, Any]) -> Language | None:
    """Return the language that is provisioned of a device, None when nothing says which."""
    protocol = str(in_force.get("protocol") or "").upper()
    if "UL20" in protocol or "ULTRALIGHT" in protocol or protocol.endswith("-UL"):
        return Language.ULTRALIGHT
    if "JSON" in protocol:
        return Language.JSON
    return language_of_resource(str(in_force.get("resource") or ""))


def language_of_payload(payload: bytes) -> Language:
    """Guess a language by the first character: objects and arrays are JSON."""
    return Language.JSON if payload.lstrip()[:1] in (b"{", b"[") else Language.ULTRALIGHT


def json_or(payload: bytes | str, otherwise: Any) -> Any:
    """Return what a payload says in JSON, and something else when it is not JSON."""
    try:
        return msgspec.json.decode(payload)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return otherwise
