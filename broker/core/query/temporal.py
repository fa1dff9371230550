"""The Temporal Query Language (clause 4.11), with what else narrows a history.

`before` excludes its bound, `after` includes it, `between` includes the first and excludes the
second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from broker.core import moments
from broker.core.errors import BadRequestData
from broker.core.query.aggregation import Aggregation
from broker.core.timestamps import check_timestamp

PROPERTIES: Final = ("observedAt", "createdAt", "modifiedAt", "deletedAt")
_RELATIONS: Final = ("before", "after", "between")


@dataclass(frozen=True, slots=True)
class TemporalQuery:
    """Which instances of a history are asked for.

    Attributes:
        timeproperty: the Temporal Property that is looked at.
        relation: `before`, `after` or `between`; None is any time.
        start: the first instant, in microseconds since the epoch; None is from the beginning.
        end: the instant after the last; None is to the end.
        is_strict: an instance has to have the Temporal Property; otherwise one without
            `observedAt` is taken by the time when it was written, and only what is deleted is not.
        last_n: of each series only this many, the last ones.
        aggregation: what is asked for instead of the instances.
    """

    timeproperty: str = "observedAt"
    relation: str | None = None
    start: int | None = None
    end: int | None = None
    is_strict: bool = False
    last_n: int | None = None
    aggregation: Aggregation | None = None

    @property
    def backwards(self) -> bool:
        """Whether what is nearest to the end is wanted first (clause 6.3.10)."""
        return self.last_n is not None


def parse(
    params: Mapping[str, str], *, last_n: int | None, aggregation: Aggregation | None
) -> TemporalQuery:
    """Read `timerel`, `timeAt`, `endTimeAt` and `timeproperty`.

    Raises:
        BadRequestData: one of them is wrong, or missing beside another.
    """
    name = params.get("timeproperty", "observedAt")
    if name not in PROPERTIES:
        raise BadRequestData(
            f"timeproperty: expected one of {', '.join(PROPERTIES)}, got {name!r:.80}"
        )
    relation = params.get("timerel")
    start, end = _bounds(relation, params)
    return TemporalQuery(
        timeproperty=name,
        relation=relation,
        start=start,
        end=end,
        is_strict=relation is not None or "timeproperty" in params,
        last_n=last_n,
        aggregation=aggregation,
    )


def _bounds(relation: str | None, params: Mapping[str, str]) -> tuple[int | None, int | None]:
    if relation is None:
        for name in ("timeAt", "endTimeAt"):
            if name in params:
                raise BadRequestData(f"{name}: only together with timerel")
        return None, None
    if relation not in _RELATIONS:
        raise BadRequestData(
            f"timerel: expected one of {', '.join(_RELATIONS)}, got {relation!r:.80}"
        )
    time_at = _instant(params, "timeAt", relation)
    if relation != "between":
        if "endTimeAt" in params:
            raise BadRequestData("endTimeAt: only together with timerel=between")
        return (None, time_at) if relation == "before" else (time_at, None)
    end = _instant(params, "endTimeAt", relation)
    if end < time_at:
        raise BadRequestData("endTimeAt: stands before timeAt")
    return time_at, end


def _instant(params: Mapping[str, str], name: str, relation: str) -> int:
    if not params.get(name):
        raise BadRequestData(f"{name}: expected beside timerel={relation}")
    return moments.instant(check_timestamp(params[name], name))
