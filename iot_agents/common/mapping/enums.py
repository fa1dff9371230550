"""Vendor words to the words of a model: `enum:` with `else:`, and tables kept in files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smart_data_models.jexl.values import MISSING, Getter, Scope, describe, to_text


class Unmapped(Exception):
    """A word that an `enum:` without `else:` does not know: the attribute is left out and noted."""


def translated(get: Getter, table: Mapping[Any, Any], otherwise: Any = MISSING) -> Getter:
    """Make a getter that looks values up by their text; `0`, `0.0` and "0" are the same.

    The getter raises Unmapped for a value that is not in the table, unless `otherwise` is given.
    """
    words = {key if isinstance(key, str) else to_text(key): word for key, word in table.items()}

    def look_up(scope: Scope) -> Any:
        value = get(scope)
        if value is MISSING or value is None:
            return MISSING
        word = words.get(value if isinstance(value, str) else to_text(value), otherwise)
        if word is MISSING:
            raise Unmapped(f"no word for {describe(value)}")
        return word

    return look_up
