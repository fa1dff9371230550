"""Read evolutions: the instances of a window, as many as may be served, or their aggregation.

All instances of an answer are sought in order of time, forwards, or backwards for `lastN`; when
there are more than may be served, the answer ends at one moment for all of them (clause 6.3.10).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from broker.core.evolution import Evolution
from broker.core.identifiers import DEFAULT_INSTANCE, Iri
from broker.store.sqlite.history import SCOPE, TYPE, numbers_of, read_instance
from broker.store.sqlite.history_aggregates import Aggregates
from broker.store.sqlite.history_names import Names, Past
from broker.store.sqlite.history_window import Row, Window, series_of_entity
from broker.store.temporal import EvolutionPage, TemporalSelection

MOST_INSTANCES: Final = 100_000
"""Instances that one answer may have."""

MOST_FILTERED: Final = 200_000
"""Instances of one series that may be looked at one by one."""

Keeps = Callable[[Iri, str, dict[str, Any]], bool]
"""Tells of an attribute, its datasetId and an instance whether a query means that instance."""


class _Found(NamedTuple):
    """A row of the answer: its time, which entity and series it is of, and the row."""

    time: int
    place: int
    series: int
    row: Row


class Filter(NamedTuple):
    """Which instances a query means, of the attributes that it looks at."""

    attributes: frozenset[Iri]
    keeps: Keeps


class Answer:
    """One answer on one connection, gathered entity by entity."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        names: Names,
        selection: TemporalSelection,
        entities: Sequence[Past],
    ) -> None:
        self._connection = connection
        self._names = names
        self._selection = selection
        self._entities = entities
        self._window = Window(selection.window)
        self._backwards = selection.window.last_n is not None
        self._most = min(selection.instances * max(1, len(entities)), MOST_INSTANCES)
        self._found: list[_Found] = []
        self._seen: list[list[int]] = []
        self._until: int | None = None

    def page(self, *, more: bool = False, filters: Sequence[Filter | None] = ()) -> EvolutionPage:
        """Return the page of the entities.

        Args:
            filters: for each entity, which instances the query means.
        """
        all_filters = filters or [None] * len(self._entities)
        if self._selection.window.aggregation is not None:
            pairs = zip(self._entities, all_filters, strict=True)
            return EvolutionPage([self._aggregated(past, one) for past, one in pairs], more)
        for place, (past, one) in enumerate(zip(self._entities, all_filters, strict=True)):
            self._gather(place, past, one)
        if len(self._found) > self._most:
            self._prune()
        return EvolutionPage(self._evolutions(), more, self._cut())

    def _wanted(self, series: Iterable[int]) -> Iterable[tuple[int, Iri, str]]:
        selection = self._selection
        for number, attribute, dataset in self._names.attributes(series):
            if selection.attributes is not None and attribute not in selection.attributes:
                continue
            if attribute in selection.omitted:
                continue
            if selection.dataset_ids is None or dataset in selection.dataset_ids:
                yield number, attribute, dataset

    def _gather(self, place: int, past: Past, one: Filter | None) -> None:
        all_series = series_of_entity(self._connection, past.seq)
        scopes = self._names.own_series(SCOPE)
        self._seen.append(all_series)
        wanted = [(number, one, attribute) for number, attribute, _ in self._wanted(all_series)]
        if scopes in all_series:
            wanted.append((scopes, None, Iri(SCOPE)))
        for series, meant, attribute in wanted:
            if meant is not None and attribute in meant.attributes:
                rows = self._filtered(past.seq, series, meant)
            else:
                rows = self._rows(past.seq, series, self._limit())
            self._found += [_Found(row[0], place, series, row[1:]) for row in rows]
            if len(self._found) > 2 * self._most:
                self._prune()

    def _limit(self) -> int:
        last_n = self._selection.window.last_n
        return min(self._most + 1, last_n or self._most + 1)

    def _rows(self, seq: int, series: int, most: int) -> list[Row]:
        return self._window.rows(
            self._connection,
            seq,
            series,
            most=most,
            backwards=self._backwards,
            until=self._until,
        )

    def _filtered(self, seq: int, series: int, meant: Filter) -> list[Row]:
        attribute, dataset = self._names.series(series)
        rows = []
        for row in self._rows(seq, series, MOST_FILTERED):
            if meant.keeps(attribute, dataset, read_instance(seq, series, row[1:])):
                rows.append(row)
                if len(rows) == self._limit():
                    break
        return rows

    def _prune(self) -> None:
        """Keep what may be served, and seek no further than to the time where that ends."""
        self._found.sort(key=lambda found: found.time, reverse=self._backwards)
        if len(self._found) <= self._most:
            return
        until = self._found[self._most - 1].time
        self._until = until
        if self._backwards:
            self._found = [found for found in self._found if found.time >= until]
        else:
            self._found = [found for found in self._found if found.time <= until]

    def _cut(self) -> tuple[int, int] | None:
        if self._until is None:
            return None
        window = self._selection.window
        times = [found.time for found in self._found]
        if self._backwards:
            return max(times) if window.end is None else window.end, self._until
        return min(times) if window.start is None else window.start, self._until

    def _evolutions(self) -> list[Evolution]:
        self._found.sort(key=lambda found: (found.time, found.row[1]))
        scope = self._names.number(SCOPE)
        evolutions = []
        for past, series in zip(self._entities, self._seen, strict=True):
            evolution = self._frame(past, series)
            if self._until is not None:
                evolution["attributes"] = self._cut_off(past.seq, series)
            evolutions.append(evolution)
        for _, place, number, row in self._found:
            evolution = evolutions[place]
            instance = read_instance(self._entities[place].seq, number, row)
            if numbers_of(number)[0] == scope:
                evolution.setdefault("scope", []).append(instance)
                continue
            attribute, dataset = self._names.series(number)
            if dataset != DEFAULT_INSTANCE:
                instance["datasetId"] = dataset
            evolution["attributes"].setdefault(attribute, []).append(instance)
        return evolutions

    def _cut_off(self, seq: int, series: Sequence[int]) -> dict[Iri, list[Any]]:
        """Return the attributes that have instances in the window, be they served or not."""
        return {
            attribute: []
            for number, attribute, _ in self._wanted(series)
            if self._window.has(self._connection, seq, number)
        }

    def _frame(self, past: Past, series: Sequence[int]) -> Evolution:
        types = list(past.types)
        type_series = self._names.own_series(TYPE)
        if type_series in series:
            rows = self._connection.execute(
                "SELECT value FROM history WHERE entity = ? AND series = ? AND value IS NOT NULL",
                (past.seq, type_series),
            )
            for (type_set,) in rows.fetchmany(1000):
                types += self._names.types(type_set)
        evolution: dict[str, Any] = {
            "id": past.id,
            "type": list(dict.fromkeys(types)),
            "createdAt": past.created,
            "modifiedAt": past.modified or past.deleted or past.created,
            "attributes": {},
        }
        if past.deleted is not None:
            evolution["deletedAt"] = past.deleted
        return Evolution(evolution)

    def _aggregated(self, past: Past, one: Filter | None) -> Evolution:
        series = series_of_entity(self._connection, past.seq)
        evolution = self._frame(past, series)
        aggregates = Aggregates(self._connection, self._window, self._selection.window)
        for number, attribute, dataset in self._wanted(series):
            keeps: Callable[[dict[str, Any]], bool] | None = None
            if one is not None and attribute in one.attributes:
                keeps = _kept(one, attribute, dataset)
            found = aggregates.of(past.seq, number, attribute, keeps)
            if found is not None:
                evolution["attributes"].setdefault(attribute, []).append((dataset, *found))
        return evolution


def _kept(one: Filter, attribute: Iri, dataset: str) -> Callable[[dict[str, Any]], bool]:
    return lambda instance: one.keeps(attribute, dataset, instance)
