"""Values as JavaScript sees them, because JEXL expressions are written with that in mind.

Deviating on purpose: `null` is not 0, empty text is not 0, and nothing yields NaN or Infinity. What
JavaScript would turn into one of them is MISSING when an operand was missing or null, and an
ExpressionError otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final, TypeAlias, final


@final
class Missing:
    """The type of MISSING."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "missing"


MISSING: Final = Missing()
"""Nothing was there to read; unlike None, which a document may hold."""

Scope: TypeAlias = dict[Any, Any]
"""The names an expression can read."""

Getter: TypeAlias = Callable[[Scope], Any]
"""Reads a scope; returns MISSING when there is nothing to read."""

MAX_TEXT: Final = 100_000
"""The longest text an expression may build."""
_EXPONENT_FROM = 1e21
_SMALLEST_PLAIN = 1e-6


class ExpressionError(ValueError):
    """An expression met a value it cannot work with."""


def truthy(value: Any) -> bool:
    """Tell whether a value passes a test: all but false, 0, "", null and missing."""
    return bool(value) or isinstance(value, list | dict)


def to_number(value: Any) -> int | float | None:
    """Return a value as a number, None when it is none."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        return value if is_finite(value) else None
    if isinstance(value, str):
        return _number_in(value.strip())
    return None


def is_finite(number: float) -> bool:
    """Tell whether a number is one that JSON and a double can hold."""
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


def _number_in(text: str) -> int | float | None:
    try:
        if text[:2] in ("0x", "0X"):
            return int(text, 16)
        # Python reads 1_000, Infinity and NaN as numbers; JavaScript and JSON do not.
        if not text or text[-1] not in "0123456789." or "_" in text:
            return None
        number = float(text)
    except ValueError:
        return None
    if not math.isfinite(number):
        return None
    return plain(number)


def plain(number: float) -> int | float:
    """Return a whole number as an int, so that it is written without a fraction."""
    if isinstance(number, float) and number.is_integer() and abs(number) < _EXPONENT_FROM:
        return int(number)
    return number


def to_text(value: Any) -> str:
    """Return a value as JavaScript's String() does."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return _number_text(value)
    if isinstance(value, list):
        return ",".join("" if item is None else to_text(item) for item in value)
    raise ExpressionError(f"expected a text, got {describe(value)}")


def _number_text(number: float) -> str:
    number = plain(number)
    if isinstance(number, int) and abs(number) < _EXPONENT_FROM:
        return str(number)
    text = repr(float(number))
    if "e" not in text:
        return text
    if _SMALLEST_PLAIN <= abs(number) < 1:
        return format(Decimal(text), "f")
    mantissa, exponent = text.split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent):+d}"


def describe(value: Any) -> str:
    """Return a short wording of a value for an error message."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    return repr(value) if not isinstance(value, str) else f"{value[:40]!r}"


def equal(left: Any, right: Any) -> bool:
    """Compare like JavaScript's `==`: null equals missing, "5" equals 5."""
    if left is None or left is MISSING:
        return right is None or right is MISSING
    if isinstance(left, str) != isinstance(right, str):
        left, right = to_number(left), to_number(right)
        return left is not None and left == right
    if isinstance(left, list | dict):
        return left is right
    return bool(left == right)


def same(left: Any, right: Any) -> bool:
    """Compare like JavaScript's `===`: no conversion between kinds."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, list | dict):
        return left is right
    return bool(left == right)


def contains(item: Any, whole: Any) -> bool:
    """Tell whether a text holds another or an array an item, as the operator `in` does."""
    if isinstance(whole, str):
        return to_text(item) in whole
    return isinstance(whole, list) and any(equal(each, item) for each in whole)


def limited(text: str) -> str:
    """Return the text.

    Raises:
        ExpressionError: it is longer than an expression may build.
    """
    if len(text) > MAX_TEXT:
        raise ExpressionError(f"a text longer than {MAX_TEXT} characters")
    return text
