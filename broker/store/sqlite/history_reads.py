"""Read evolutions: the instances of a window, as many as may be served, or their aggregation.

All instances of an answer are sought in order of time, forwards, or backwards for `lastN`; when
one series has more than may be served, the answer ends at one moment for all (clause 6.3.10).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final, NamedTuple

from broker.core.evolution import Evolution
from broker.core.identifiers import DEFAULT_INSTANCE, Iri
from broker.store.sqlite.history import SCOPE, TYPE, numbers_of, read_instance, read_value
from broker.store.sqlite.history_aggregates import Aggregates
from broker.store.sqlite.history_names import Names, Past
from broker.store.sqlite.history_window import Row, Window, series_of_entity
from broker.store.temporal import EvolutionPage, TemporalSelection

MOST_INSTANCES: Final = 100_000
"""Instances that one answer may have."""


class _Found(NamedTuple):
    """A row of the answer: its time, which entity and series it is of, and the row."""

    time: int
    place: int
    series: int
    row: Row


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
        last_n = selection.window.last_n
        self._limit = min(selection.instances + 1, last_n or selection.instances + 1)
        self._found: list[_Found] = []
        self._seen: list[list[int]] = []
        self._until: int | None = None

    def page(self, *, more: bool = False) -> EvolutionPage:
        """Return the page of the entities."""
        if self._selection.window.aggregation is not None:
            return EvolutionPage([self._aggregated(past) for past in self._entities], more)
        for place, past in enumerate(self._entities):
            self._gather(place, past)
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

    def _gather(self, place: int, past: Past) -> None:
        all_series = series_of_entity(self._connection, past.seq)
        scopes = self._names.own_series(SCOPE)
        self._seen.append(all_series)
        wanted = [number for number, _, _ in self._wanted(all_series)]
        if self._selection.scopes and scopes in all_series:
            wanted.append(scopes)
        for series in wanted:
            rows = self._rows(past.seq, series)
            self._found += [_Found(row[0], place, series, row[1:]) for row in rows]
            if len(self._found) > 2 * MOST_INSTANCES:
                self._prune()

    def _rows(self, entity: int, series: int) -> list[Row]:
        """Return what may be served of a series; if that is not all, the answer ends there."""
        rows = self._read(entity, series, self._limit)
        if len(rows) <= self._selection.instances:
            return rows
        last, beyond = rows[-2][0], rows[-1][0]
        if last == beyond:
            # All of one moment belong together: the next answer begins behind it.
            rows = self._read(entity, series, self._selection.window.last_n or MOST_INSTANCES)
            beyond = rows[-1][0]
        if last != beyond:
            self._until = last
        return rows

    def _read(self, entity: int, series: int, most: int) -> list[Row]:
        return self._window.rows(
            self._connection,
            entity,
            series,
            most=most,
            backwards=self._backwards,
            until=self._until,
        )

    def _prune(self) -> None:
        """Keep what may be served, and seek no further than to the time where that ends."""
        if len(self._found) > MOST_INSTANCES:
            self._found.sort(key=lambda found: found.time, reverse=self._backwards)
            self._until = self._found[MOST_INSTANCES - 1].time
        until = self._until
        if until is None:
            return
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
        evolutions = [
            self._frame(past, series)
            for past, series in zip(self._entities, self._seen, strict=True)
        ]
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
        if self._until is not None:
            for past, series, evolution in zip(self._entities, self._seen, evolutions, strict=True):
                evolution["beyond"] = self._beyond(past.seq, series, evolution["attributes"])
        return evolutions

    def _beyond(self, seq: int, series: Sequence[int], served: Collection[Iri]) -> dict[Iri, str]:
        """Return the attributes whose instances in the window are all cut off, with their kinds."""
        beyond = {}
        for number, attribute, _ in self._wanted(series):
            if attribute not in served:
                content = self._window.first_value(self._connection, seq, number)
                if content is not None:
                    beyond[attribute] = read_value(content)[0]
        return beyond

    def _frame(self, past: Past, series: Sequence[int]) -> Evolution:
        types = past.types
        if self._names.own_series(TYPE) in series:
            types = self._names.all_types(past)
        evolution: dict[str, Any] = {
            "id": past.id,
            "type": list(types),
            "createdAt": past.created,
            "modifiedAt": past.modified or past.deleted or past.created,
            "attributes": {},
        }
        if past.deleted is not None:
            evolution["deletedAt"] = past.deleted
        return Evolution(evolution)

    def _aggregated(self, past: Past) -> Evolution:
        series = series_of_entity(self._connection, past.seq)
        evolution = self._frame(past, series)
        aggregates = Aggregates(self._connection, self._window, self._selection.window)
        for number, attribute, dataset in self._wanted(series):
            found = aggregates.of(past.seq, number, attribute)
            if found is not None:
                evolution["attributes"].setdefault(attribute, []).append((dataset, *found))
        return evolution
