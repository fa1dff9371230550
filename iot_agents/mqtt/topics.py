"""The MQTT topics of devices.

    [/]json/<apikey>/<device>/attrs            several measures; likewise below `ul`
    …/attrs/<attribute>                        one measure
    …/cmdexe                                   the result of a command
    …/configuration/commands                   what a device asks to be told
    /<apikey>/<device>/attrs …                 the same without a language, where it is switched on

To devices, always without the language: `/<apikey>/<device>/cmd`, `…/configuration/values`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from iot_agents.mqtt.payloads.language import Language

MAX_NAME: Final = 256
_NAME: Final = re.compile(r"[A-Za-z0-9_.:@\-]{1,256}")
_TAILS: Final = ("attrs", "attrs/+", "cmdexe", "configuration/commands")
_PARTS: Final = 2


class Kind(StrEnum):
    """What a message is."""

    MEASURES = "attrs"
    RESULT = "cmdexe"
    CONFIGURATION = "configuration/commands"


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic that a device published to.

    Attributes:
        language: None where the topic does not say it.
        attribute: the only one the message is about; empty when it names its attributes.
    """

    language: Language | None
    apikey: str
    device: str
    kind: Kind
    attribute: str = ""


def filters(*, unprefixed: bool) -> list[str]:
    """Return the topic filters to subscribe to.

    Args:
        unprefixed: whether topics without a language are taken too.
    """
    heads = [f"{slash}{language}/+/+" for language in Language for slash in ("/", "")]
    if unprefixed:
        heads += ["/+/+", "+/+"]
    return [f"{head}/{tail}" for head in heads for tail in _TAILS]


def read_topic(topic: str, *, unprefixed: bool) -> Topic | None:
    """Return what a topic says, None when it is none of ours."""
    levels = topic.removeprefix("/").split("/")
    language = next((each for each in Language if levels[0] == each), None)
    if language is not None and len(levels) > _PARTS:
        levels = levels[1:]
    elif not unprefixed:
        return None
    else:
        language = None
    if len(levels) <= _PARTS:
        return None
    apikey, device, *tail = levels
    found = next(_kinds(tail), None)
    return None if found is None else Topic(language, apikey, device, *found)


def _kinds(tail: list[str]) -> Iterator[tuple[Kind, str]]:
    for kind in Kind:
        if "/".join(tail) == kind:
            yield kind, ""
    if tail[0] == Kind.MEASURES and len(tail) == _PARTS:
        yield Kind.MEASURES, tail[1]


def is_name(text: str) -> bool:
    """Tell whether an apikey or a device's id may be a part of a topic."""
    return _NAME.fullmatch(text) is not None


def to_device(apikey: str, device: str, tail: str, *, leading_slash: bool) -> str:
    """Return the topic of a message to a device."""
    return f"{'/' if leading_slash else ''}{apikey}/{device}/{tail}"
