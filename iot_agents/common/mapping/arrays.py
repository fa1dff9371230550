"""The array words of a mapping: count, distinct, all, first, last, min, max, sum.

Each looks at the items `of:` a path, keeps those `where:` an expression holds, and takes something
of each with `take:`. Inside, names are those of the item; an item that is no object is `item`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from iot_agents.common.mapping.enums import Unmapped
from iot_agents.common.mapping.numbers import number_of
from smart_data_models.jexl.values import MISSING, Getter, Scope, plain, truthy

Fold: TypeAlias = Callable[[list[Any]], Any]


@dataclass(frozen=True, slots=True)
class Items:
    """What an array word looks at.

    Attributes:
        of: the array.
        where: keeps an item when it is truthy.
        take: what is taken of an item; None takes the item itself.
    """

    of: Getter
    where: Getter | None = None
    take: Getter | None = None


def folded(items: Items, fold: Fold) -> Getter:
    """Make a getter that folds the items into one value, MISSING where there is no array."""
    of, where, take = items.of, items.where, items.take

    def get(scope: Scope) -> Any:
        array = of(scope)
        if not isinstance(array, list):
            return MISSING
        if where is None and take is None:
            return fold(array)
        values = []
        for item in array:
            inner = item if isinstance(item, dict) else {"item": item}
            if where is not None and not truthy(where(inner)):
                continue
            value = item if take is None else _taken(take, inner)
            if value is not MISSING and value is not None:
                values.append(value)
        return fold(values)

    return get


def _taken(take: Getter, scope: Scope) -> Any:
    try:
        return take(scope)
    except Unmapped:
        return MISSING


def _numbers(values: list[Any]) -> list[Any]:
    return [number for value in values if (number := number_of(value)) is not MISSING]


def _distinct(values: list[Any]) -> list[Any]:
    kept: list[Any] = []
    for value in values:
        if value not in kept:
            kept.append(value)
    return kept


FOLDS: Final[dict[str, Fold]] = {
    "count": len,
    "distinct": _distinct,
    "all": list,
    "first": lambda values: values[0] if values else MISSING,
    "last": lambda values: values[-1] if values else MISSING,
    "min": lambda values: min(_numbers(values), default=MISSING),
    "max": lambda values: max(_numbers(values), default=MISSING),
    "sum": lambda values: plain(sum(_numbers(values))),
}
