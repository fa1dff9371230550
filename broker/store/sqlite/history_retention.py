"""Find what history has been kept too long: a few entities at a time, in order of their numbers."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from broker.core import moments
from broker.core.identifiers import Iri, Tenant
from broker.store.sqlite.history import TYPE
from broker.store.sqlite.history_names import Names, decode_types
from broker.store.sqlite.history_window import series_of_entity
from broker.store.sqlite.index_terms import Terms
from broker.store.temporal import Retention

ENTITIES_AT_ONCE: Final = 500

_LIVING = "SELECT seq, tenant, body, modified FROM entity WHERE seq > ? ORDER BY seq LIMIT ?"
_PASSED = (
    "SELECT seq, tenant, type_set, ifnull(deleted, created) FROM evolution"
    " WHERE seq > ? ORDER BY seq LIMIT ?"
)
_FIRST = "SELECT min(at) FROM history WHERE entity = ? AND series = ?"
_LAST_BEFORE = "SELECT max(at) FROM history WHERE entity = ? AND series = ? AND at < ?"


class Overdue(NamedTuple):
    """Rows of a series that are before an instant."""

    seq: int
    series: int
    before: int


class Place(NamedTuple):
    """Where to go on: behind this entity, among the living or those that are history only."""

    is_past: bool = False
    after: int = 0


class Step(NamedTuple):
    """What a sweep has to do: rows to delete, entities of which nothing is left, where to go on."""

    overdue: Sequence[Overdue]
    ended: Sequence[int]
    following: Place


class Overdues:
    """What the policies mean, on one connection."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        terms: Terms,
        policies: Sequence[Retention],
        tenants: Mapping[int, Tenant],
        now: int,
    ) -> None:
        self._connection = connection
        self._names = Names(connection, terms)
        self._policies = policies
        self._tenants = tenants
        self._now = now

    def find(self, place: Place) -> Step:
        """Return what is overdue of the entities behind a place, and the place behind those."""
        sql = _PASSED if place.is_past else _LIVING
        rows = self._connection.execute(sql, (place.after, ENTITIES_AT_ONCE)).fetchall()
        found: list[Overdue] = []
        ended: list[int] = []
        for seq, tenant, typed, last in rows:
            types = (
                self._names.types(typed) if place.is_past else map(Iri, decode_types(typed).type)
            )
            keep = self._keep(self._tenants.get(tenant), frozenset(types))
            if keep is None:
                continue
            series = self._series(seq)
            found += self._of(seq, series, self._now - keep, is_past=place.is_past)
            if place.is_past and not series and moments.instant(last) < self._now - keep:
                ended.append(seq)
        is_last = len(rows) < ENTITIES_AT_ONCE
        following = Place(not place.is_past) if is_last else Place(place.is_past, rows[-1][0])
        return Step(found, ended, following)

    def _series(self, seq: int) -> list[int]:
        own = self._names.own_series(TYPE)
        return [series for series in series_of_entity(self._connection, seq) if series != own]

    def _keep(self, tenant: Tenant | None, types: frozenset[Iri]) -> int | None:
        kept = [
            (policy.type is None, policy.tenant is None, policy.keep)
            for policy in self._policies
            if policy.tenant in (None, tenant) and _means(policy.type, types)
        ]
        return min(kept)[2] if kept else None

    def _of(
        self, seq: int, all_series: Sequence[int], cutoff: int, *, is_past: bool
    ) -> list[Overdue]:
        found = []
        for series in all_series:
            (first,) = self._connection.execute(_FIRST, (seq, series)).fetchone()
            before = cutoff
            if not is_past and first < cutoff:
                values = (seq, series, cutoff)
                (before,) = self._connection.execute(_LAST_BEFORE, values).fetchone()
            if first < before:
                found.append(Overdue(seq, series, before))
        return found


def _means(name: str | None, types: frozenset[Iri]) -> bool:
    """Tell whether a policy's type is one of an entity's, or the last part of one."""
    if name is None or name in types:
        return True
    return ":" not in name and any(
        iri.rpartition("/")[2].rpartition("#")[2] == name for iri in types
    )
