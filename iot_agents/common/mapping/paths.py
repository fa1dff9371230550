"""Paths into a payload, compiled: `a.b`, `a[0].b`, and `a[].b[]` for all items of arrays.

A path with `[]` gives an array: the items of the arrays it goes through, one after the other.
Names may hold anything but dots, brackets and blanks.
"""

from __future__ import annotations

import re
from typing import Any, Final

from smart_data_models.jexl.values import MISSING, ExpressionError, Getter, Scope

_STEP: Final = re.compile(r"(?P<name>[^.\[\]\s]+)|\[(?P<index>\d*)\]|\.")
_PATH: Final = re.compile(r"[^.\[\]\s]+(?:\[\d*\])*(?:\.[^.\[\]\s]+(?:\[\d*\])*)*")
_MAX_ITEMS: Final = 10_000
_EVERY: Final = -1


class InvalidPath(ValueError):
    """The text is not a path."""


def compile_path(text: str) -> Getter:
    """Compile a path; the getter gives MISSING where there is nothing.

    Raises:
        InvalidPath: the text is not a path.
    """
    if not _PATH.fullmatch(text):
        raise InvalidPath(f"{text!r:.80} is not a path such as a.b[0].c")
    steps: list[str | int] = []
    for match in _STEP.finditer(text):
        if match["name"] is not None:
            steps.append(match["name"])
        elif match["index"] is not None:
            steps.append(int(match["index"]) if match["index"] else _EVERY)
    if _EVERY in steps:
        return _flattened(steps)
    if all(isinstance(step, str) for step in steps) and len(steps) <= _UNROLLED:
        return (_one, _two, _three)[len(steps) - 1](*steps)
    first, rest = steps[0], steps[1:]
    return lambda scope: _follow(scope.get(first, MISSING), rest)


_UNROLLED: Final = 3


def _one(name: Any) -> Getter:
    return lambda scope: scope.get(name, MISSING)


def _two(first: Any, second: Any) -> Getter:
    def get(scope: Scope) -> Any:
        value = scope.get(first)
        return value.get(second, MISSING) if isinstance(value, dict) else MISSING

    return get


def _three(first: Any, second: Any, third: Any) -> Getter:
    def get(scope: Scope) -> Any:
        value = scope.get(first)
        if isinstance(value, dict):
            value = value.get(second)
            if isinstance(value, dict):
                return value.get(third, MISSING)
        return MISSING

    return get


def _follow(value: Any, steps: list[str | int]) -> Any:
    for step in steps:
        if isinstance(value, dict):
            value = value.get(step, MISSING)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return MISSING
    return value


def _flattened(steps: list[str | int]) -> Getter:
    parts: list[list[str | int]] = [[]]
    for step in steps:
        if step == _EVERY:
            parts.append([])
        else:
            parts[-1].append(step)
    first, *inner, last = parts
    head = first[0]

    def get(scope: Scope) -> Any:
        value = _follow(scope.get(head, MISSING), first[1:])
        if value is MISSING or value is None:
            return MISSING
        items = _items([value])
        for part in inner:
            items = _items([_follow(item, part) for item in items])
        return [v for item in items if (v := _follow(item, last)) is not MISSING]

    return get


def _items(arrays: list[Any]) -> list[Any]:
    items = [item for array in arrays if isinstance(array, list) for item in array]
    if len(items) > _MAX_ITEMS:
        raise ExpressionError(f"more than {_MAX_ITEMS} items")
    return items
