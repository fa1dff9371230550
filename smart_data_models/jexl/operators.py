"""The operators of JEXL. A missing or null operand of arithmetic gives MISSING."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from smart_data_models.jexl import values
from smart_data_models.jexl.values import MISSING, ExpressionError, describe, to_text

_NUMBERS = (int, float)


def add(left: Any, right: Any) -> Any:
    """Add numbers; join texts when either side is one."""
    if left is None or right is None or left is MISSING or right is MISSING:
        return MISSING
    if isinstance(left, str) or isinstance(right, str):
        return values.limited(to_text(left) + to_text(right))
    return _finite(_number(left) + _number(right))


def subtract(left: Any, right: Any) -> Any:
    """Subtract numbers."""
    if left is None or right is None or left is MISSING or right is MISSING:
        return MISSING
    return _finite(_number(left) - _number(right))


def multiply(left: Any, right: Any) -> Any:
    """Multiply numbers."""
    if left is None or right is None or left is MISSING or right is MISSING:
        return MISSING
    return _finite(_number(left) * _number(right))


def divide(left: Any, right: Any) -> Any:
    """Divide numbers; a whole result is an int."""
    if left is None or right is None or left is MISSING or right is MISSING:
        return MISSING
    return values.plain(_guarded(lambda a, b: a / b, left, right))


def floor_divide(left: Any, right: Any) -> Any:
    """Divide numbers and round down."""
    if left is None or right is None or left is MISSING or right is MISSING:
        return MISSING
    return _guarded(lambda a, b: math.floor(a / b), left, right)


def remainder(left: Any, right: Any) -> Any:
    """Return the rest of a division, with the sign of the dividend."""
    if left is None or right is None or left is MISSING or right is MISSING:
        return MISSING
    return values.plain(_guarded(math.fmod, left, right))


def power(left: Any, right: Any) -> Any:
    """Raise to a power."""
    if left is None or right is None or left is MISSING or right is MISSING:
        return MISSING
    return values.plain(_guarded(math.pow, left, right))


def negate(operand: Any) -> Any:
    """Change a number's sign."""
    return multiply(-1, operand)


def _number(value: Any) -> Any:
    if value.__class__ in _NUMBERS:
        return value
    number = values.to_number(value)
    if number is None:
        raise ExpressionError(f"expected a number, got {describe(value)}")
    return number


def _finite(number: Any) -> Any:
    if not values.is_finite(number):
        raise ExpressionError("a number too large")
    return number


def _guarded(operation: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
    try:
        return _finite(operation(_number(left), _number(right)))
    except ZeroDivisionError as error:
        raise ExpressionError("division by zero") from error
    except (OverflowError, ValueError) as error:
        raise ExpressionError(str(error)) from error


def _comparison(operation: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def compare(left: Any, right: Any) -> bool:
        if isinstance(left, str) and isinstance(right, str):
            return operation(left, right)
        left, right = values.to_number(left), values.to_number(right)
        return left is not None and right is not None and operation(left, right)

    return compare


ARITHMETIC: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "+": add,
    "-": subtract,
    "*": multiply,
    "/": divide,
    "//": floor_divide,
    "%": remainder,
    "^": power,
}
COMPARISONS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "==": values.equal,
    "!=": lambda left, right: not values.equal(left, right),
    ">": _comparison(lambda left, right: left > right),
    ">=": _comparison(lambda left, right: left >= right),
    "<": _comparison(lambda left, right: left < right),
    "<=": _comparison(lambda left, right: left <= right),
    "in": values.contains,
}
