"""Choose one language of a languageMap by preference (clause 4.15, RFC 3282, RFC 4647).

    filter = range [";" "q=" weight] *("," range [";" "q=" weight])

A range fits a tag when one of them is the beginning of the other, as `nl-BE` and `nl`; the longest
common part wins. When nothing fits, the default language `@none` is taken, or else the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

_ANY: Final = "*"
_DEFAULT: Final = "@none"


def choose(language_map: Mapping[str, Any], preference: str) -> tuple[str, Any]:
    """Return the tag and the text that fit a language filter best."""
    tags = list(language_map)
    for wanted in _ranges(preference):
        if wanted == _ANY:
            break
        found = _look_up(wanted, tags)
        if found is not None:
            return found, language_map[found]
    tag = _DEFAULT if _DEFAULT in language_map else tags[0]
    return tag, language_map[tag]


@lru_cache(maxsize=256)
def _ranges(preference: str) -> tuple[str, ...]:
    """Return the language ranges of a filter, in lower case, the best first."""
    weighted = [_weighted(item) for item in preference.split(",")]
    accepted = [(wanted, weight) for wanted, weight in weighted if wanted and weight > 0]
    return tuple(wanted for wanted, _ in sorted(accepted, key=lambda pair: -pair[1]))


def _weighted(item: str) -> tuple[str, float]:
    wanted, *parameters = (part.strip() for part in item.split(";"))
    weight = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                weight = float(value)
            except ValueError:
                weight = 0.0
    return wanted.lower(), weight


def _look_up(wanted: str, tags: Sequence[str]) -> str | None:
    """Find the tag for a range: itself, then shorter tags, then longer ones."""
    by_lower = {tag.lower(): tag for tag in tags}
    shortened = wanted
    while shortened:
        if shortened in by_lower:
            return by_lower[shortened]
        shortened = shortened.rpartition("-")[0]
    longer = [tag for lower, tag in by_lower.items() if lower.startswith(wanted + "-")]
    return longer[0] if longer else None
