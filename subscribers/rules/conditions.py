"""Conditions as functions of a value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from subscribers.rules.model import Condition

Check = Callable[[Any], bool]

_COMPARISONS: Final[dict[str, Callable[[float, float], bool]]] = {
    "above": lambda value, limit: value > limit,
    "below": lambda value, limit: value < limit,
    "at_least": lambda value, limit: value >= limit,
    "at_most": lambda value, limit: value <= limit,
}


class Unfit(ValueError):
    """The value is of a kind the condition cannot be asked about."""


def compile_check(condition: Condition) -> Check:
    """Return what tells whether the condition is true of a value.

    The function raises `Unfit` when an order is asked of something that is no number. A condition
    with `silentFor` is true of no value: time decides.
    """
    if condition.is_ is not None:
        return _one_of(condition.is_)
    if condition.not_ is not None:
        differs = _one_of(condition.not_)
        return lambda value: not differs(value)
    for name, compare in _COMPARISONS.items():
        limit = getattr(condition, name)
        if limit is not None:
            return _compared(condition.attribute, compare, limit)
    return lambda _: False


def _one_of(wanted: Any) -> Check:
    # 1 and true are equal in Python, and are different values in JSON.
    choices = {
        (isinstance(v, bool), v) for v in (wanted if isinstance(wanted, tuple) else [wanted])
    }

    def check(value: Any) -> bool:
        if isinstance(value, list):
            return any(check(item) for item in value)
        return isinstance(value, str | int | float) and (isinstance(value, bool), value) in choices

    return check


def _compared(attribute: str, compare: Callable[[float, float], bool], limit: float) -> Check:
    def check(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Unfit(f"{attribute}: expected a number, got {value!r:.80}")
        return compare(value, limit)

    return check
