"""How deep documents of strangers are nested: what is too deep must not reach recursive code."""

from __future__ import annotations

from typing import Any, Final

MAX_DEPTH: Final = 32
"""How deep the members of a device's message may be nested."""


def deeper_than(levels: int, document: Any) -> bool:
    """Tell whether objects and arrays are nested deeper than so many levels."""
    layer = [document]
    for _ in range(levels):
        layer = [
            inner
            for outer in layer
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not layer:
            return False
    return True
