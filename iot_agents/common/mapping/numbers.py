"""Numbers as devices give them: as numbers or as text, with a point or a comma."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from smart_data_models.jexl.values import MISSING, ExpressionError, Getter, Scope, describe, plain

_NUMBER: Final = re.compile(r"\s*[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d+)?\s*")
_NONE: Final = frozenset({"", "nan", "null", "none", "n/a", "na", "-"})


def number_of(value: Any) -> Any:
    """Return a value as a number, MISSING where it says that there is none.

    Raises:
        ExpressionError: it is neither.
    """
    kind = value.__class__
    if kind is int:
        return value
    if kind is float:
        if value - value == 0:
            return value
        if value != value:  # noqa: PLR0124 - only NaN differs from itself
            return MISSING
        raise ExpressionError("an infinite number")
    if value is None or value is MISSING:
        return MISSING
    if kind is str:
        return _number_in(value)
    raise ExpressionError(f"expected a number, got {describe(value)}")


def _number_in(text: str) -> Any:
    if _NUMBER.fullmatch(text):
        return number_of(plain(float(text.replace(",", "."))))
    if text.strip().lower() in _NONE:
        return MISSING
    raise ExpressionError(f"expected a number, got {describe(text)}")


def as_number(get: Getter) -> Getter:
    """Make a getter of numbers."""

    def number(scope: Scope) -> Any:
        value = get(scope)
        return value if value.__class__ is int else number_of(value)

    return number


def linear(scale: float, add: float = 0) -> Callable[[Any], Any]:
    """Return the function `(number + add) * scale`.

    A scale such as 0.1 divides by 10 instead, which is exact where multiplying is not.
    """
    divisor = round(1 / scale) if 0 < abs(scale) < 1 else 0
    if divisor and abs(1 / divisor - scale) < abs(scale) * 1e-12:
        return lambda number: plain((number + add) / divisor)
    return lambda number: plain((number + add) * scale)


def scaled(get: Getter, scale: float) -> Getter:
    """Make a getter of numbers times a scale."""
    convert = linear(scale)

    def number(scope: Scope) -> Any:
        value = get(scope)
        if value.__class__ is not int:
            value = number_of(value)
        return value if value is MISSING else convert(value)

    return number
