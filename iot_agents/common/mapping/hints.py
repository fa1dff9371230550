"""What the Smart Data Models say about an attribute, where a mapping leaves it open."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from smart_data_models.catalogue import Catalogue

_CONVERTED: Final = frozenset(("enum", "time", "scale", "number"))
_READ: Final = frozenset(("from", "expr", "first", "last"))
"""The source words that take a value as the device wrote it."""


@dataclass(frozen=True, slots=True)
class Hint:
    """What a model says about one attribute.

    Attributes:
        kind: the kind of attribute it is.
        conversion: the conversion that its type asks for, `number` or `time`, or nothing.
    """

    kind: str = "Property"
    conversion: str = ""

    def conversions(self, field: Mapping[str, Any], word: str) -> Mapping[str, Any]:
        """Return the field with the conversion of the model, unless it converts by itself."""
        if word not in _READ or not self.conversion or _CONVERTED & field.keys():
            return field
        return {**field, self.conversion: "text" if self.conversion == "time" else True}


Hints: TypeAlias = Callable[[str, str], Hint]
"""The hint for an attribute of a type."""


def hints_of(catalogue: Catalogue) -> Hints:
    """Return what gives the hints of a catalogue."""

    def hint(entity_type: str, attribute: str) -> Hint:
        found = catalogue.attribute(entity_type, attribute)
        if found is None:
            return Hint()
        if found.type in ("number", "integer"):
            return Hint(found.kind, "number")
        return Hint(found.kind, "time" if found.format == "date-time" else "")

    return hint
