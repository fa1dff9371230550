"""Protocol vectors: read, and compared as their README says."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from tests.support.shared import SHARED

_TIMES = {"observedAt", "timestamp"}
_DATES = {"startDateTime", "endDateTime"}
_SETS = {"socketType"}


def vector(name: str) -> dict[str, Any]:
    """Return a vector file of `protocols/vectors`; cases that repeat another have its input."""
    path = SHARED / "protocols" / "vectors" / name
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    cases = document["cases"]
    for case in cases:
        if "repeat_of" in case["input"]:
            case["input"] = cases[case["input"]["repeat_of"]]["input"]
    return document


def differences(
    case: Mapping[str, Any],
    got: Sequence[Mapping[str, Any]],
    *,
    static: Iterable[str] = (),
) -> list[str]:
    """Return in words how what was sent differs from what the case expects.

    Args:
        static: attributes that may be missing, with an entity that then has none left.
    """
    partial = "expected_partial" in case
    expected = {e["id"]: e for e in case["expected_partial" if partial else "expected"]}
    sent: dict[str, dict[str, Any]] = {}
    for entity in got:
        sent[entity["id"]] = {**sent.get(entity["id"], {}), **entity}
    free = {*static, *case.get("allowed_extra", ())}
    found = [f"{i}: was sent" for i in sent if i not in expected and not partial]
    for entity_id, entity in expected.items():
        mine = sent.get(entity_id, {"id": entity_id, "type": entity["type"]})
        found += _entity_differences(entity, mine, free, partial=partial)
    found += [
        f"{entity['id']}: has {name}"
        for entity in got
        for name in case.get("must_not_contain", ())
        if name in entity
    ]
    return found


def _entity_differences(
    expected: Mapping[str, Any], got: Mapping[str, Any], free: set[str], *, partial: bool
) -> list[str]:
    found = []
    for name, value in expected.items():
        if name not in got:
            if name not in free:
                found.append(f"{expected['id']}: {name} is missing")
        elif not _same(name, _timeless(value) if name in free else value, got[name], name in free):
            found.append(f"{expected['id']}: {name} is {got[name]!r}, expected {value!r}")
    if not partial:
        extra = set(got) - set(expected) - free
        found += [f"{expected['id']}: {name} is there" for name in sorted(extra)]
    return found


def _timeless(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {name: inner for name, inner in value.items() if name != "observedAt"}


def _same(name: str, one: Any, other: Any, without_time: bool = False) -> bool:  # noqa: FBT001, FBT002
    if without_time:
        other = _timeless(other)
    if name in _SETS | _DATES and isinstance(one, Mapping):
        read: Callable[[Any], Any] = sorted if name in _SETS else _milliseconds
        return read(one["value"]) == read(other["value"]) and _same(
            "", {**one, "value": 0}, {**other, "value": 0}
        )
    if name in _TIMES:
        return _milliseconds(one) == _milliseconds(other)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(k, one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, [""] * len(one), one, other))
    if _is_number(one) and _is_number(other):
        return math.isclose(one, other, rel_tol=1e-9)
    return bool(one == other)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _milliseconds(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
