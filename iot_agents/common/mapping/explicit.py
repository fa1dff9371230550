"""`explicitAttrs`: which attributes of a measure are written.

False or unset lets all measures pass; true only what is provisioned; an expression gives one of
these, or the list of the names to keep (an empty one keeps nothing).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from smart_data_models.jexl.values import ExpressionError, Getter, Scope


def explicit(
    setting: Any,
    names: Mapping[str, str],
    compile_text: Callable[[str, str], Getter],
) -> tuple[Getter | None, Getter]:
    """Return what gives the names to keep (None keeps all), and whether unnamed measures pass.

    Args:
        setting: what is provisioned.
        names: the attributes' names by their object_id.
        compile_text: compiles an expression that stands at a place.
    """
    if not isinstance(setting, str):
        return None, lambda _: not setting
    get = compile_text(setting, "explicitAttrs")

    def result(scope: Scope) -> Any:
        try:
            return get(scope)
        except ExpressionError:
            return False

    def keep(scope: Scope) -> Any:
        found = result(scope)
        return frozenset(_kept(found, names)) if isinstance(found, list) else None

    return keep, lambda scope: result(scope) is not True


def _kept(items: list[Any], names: Mapping[str, str]) -> list[str]:
    kept = []
    for item in items:
        if isinstance(item, dict):
            object_id = str(item.get("object_id"))
            kept.append(names.get(object_id, object_id))
        else:
            kept.append(str(item))
    return kept
