"""Check entities against their Smart Data Model, per type as strictly as the operator wants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Mode(StrEnum):
    """What a problem means for an entity of a type."""

    OFF = "off"
    WARN = "warn"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Problem:
    """One rule of a model that an entity breaks.

    Attributes:
        attribute: its short name, with the path inside its value where there is one.
        rule: the rule in words, such as `one of free, occupied, unknown`.
        value: what the entity has instead.
    """

    attribute: str
    rule: str
    value: Any

    def __str__(self) -> str:
        return f"{self.attribute}: expected {self.rule}, got {self.value!r:.80}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the check of an entity found, and what to do with the entity."""

    mode: Mode
    problems: tuple[Problem, ...] = ()

    @property
    def rejected(self) -> bool:
        """Whether the entity must not be written."""
        return self.mode is Mode.REJECT and bool(self.problems)


class Validator:
    """The check of normalized entities with short names."""

    def __init__(self, modes: Mapping[str, Mode] | None = None, default: Mode = Mode.WARN) -> None:
        """Choose the modes: per type, and for the types not named. Unknown types are always off."""
        raise NotImplementedError

    def check(self, entity: Mapping[str, Any], *, whole: bool = False) -> Verdict:
        """Check an entity, or a fragment of one.

        Args:
            whole: also ask for the attributes that the model requires.
        """
        raise NotImplementedError
