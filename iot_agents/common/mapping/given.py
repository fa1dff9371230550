"""A measure that came as a whole attribute, and not only as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Given:
    """A value, which expressions read, with the normalized attribute that a device made of it."""

    value: Any
    attribute: Mapping[str, Any]


def value_of(measure: Any) -> Any:
    """Return what a measure says."""
    return measure.value if isinstance(measure, Given) else measure


def attribute_of(measure: Any) -> dict[str, Any]:
    """Return a measure as a normalized attribute."""
    if isinstance(measure, Given):
        return dict(measure.attribute)
    return {"type": "Property", "value": measure}
