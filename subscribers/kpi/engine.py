"""All KPIs together: observations by source, and the windows of each KPI over them."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from subscribers.common.definitions import Definition
from subscribers.common.engine import Changes
from subscribers.common.instants import Duration, Instant
from subscribers.common.journal import read_digests, write_digest
from subscribers.common.observations import Observation, Reading, objects
from subscribers.kpi import tables
from subscribers.kpi.members import Members
from subscribers.kpi.model import Kpi, Source
from subscribers.kpi.progress import Progress
from subscribers.kpi.series import UNKNOWN
from subscribers.settings import Settings

_DIGITS: Final = 8
_LARGEST_INDEX: Final = 2**53  # up to here differences are exact


def source_key(source: Source) -> str:
    """Return what stands for all sources that look at the same states of the same entities."""
    told = msgspec.json.encode(
        (source.type, source.attribute, source.states or source.unit, source.group_by)
    )
    readable = re.sub(r"[^A-Za-z0-9-]+", "-", f"{source.type}-{source.attribute}")
    return f"{readable}-{hashlib.sha256(told).hexdigest()[:_DIGITS]}"


class _Observed:
    """One source with the KPIs over it."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.members = Members(source)
        self.kpis: list[Progress] = []
        self.pruned: Instant | None = None

    def horizon(self, now: Instant) -> Instant | None:
        """Return the instant before which no KPI needs an observation one by one any more."""
        horizons = [progress.horizon(now) for progress in self.kpis]
        known = [horizon for horizon in horizons if horizon is not None]
        return min(known) if len(known) == len(horizons) else None


class KpiEngine:
    """The state of all KPIs."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        definitions: Sequence[Definition[Kpi]],
        settings: Settings,
    ) -> None:
        """Take up what is on disk; what belongs to KPIs that are gone is dropped."""
        self._changes = Changes()
        self._outcomes: Counter[str] = Counter()
        self._sources: dict[str, _Observed] = {}
        self._running_interval = Duration.of_seconds(settings.running_interval)
        self._last_running = Instant(0)
        self._started = False
        for definition in definitions:
            source = definition.content.source
            self._sources.setdefault(source_key(source), _Observed(source))
        self._load_members(connection)
        lateness = Duration.of_seconds(settings.lateness)
        digests, kept = read_digests(connection), tables.read_progress(connection)
        for definition in definitions:
            kpi = definition.content
            observed = self._sources[source_key(kpi.source)]
            progress = Progress(kpi, observed.members, settings.time_zone, lateness)
            if digests.pop(kpi.name, None) != definition.digest:
                self._changes.statements += tables.drop_kpi(kpi.name)
                self._changes.statements.append(write_digest(kpi.name, definition.digest))
            elif kpi.name in kept:
                progress.restore(*kept[kpi.name])
            observed.kpis.append(progress)
        for name in digests:
            self._changes.statements += tables.drop_kpi(name)

    def observe(self, binding: str, observation: Observation, now: Instant) -> None:
        observed = self._sources[binding]
        source, members = observed.source, observed.members
        member = observation.entity_id
        if source.relationship is not None and source.relationship in observation.readings:
            before = members.groups_of(member)
            members.assign(member, objects(observation.readings[source.relationship].value))
            self._tell(observed, {*before, *members.groups_of(member)} - set(before), now)
        reading = observation.readings.get(source.attribute)
        if reading is None:
            return
        at = now if reading.observed_at is None else reading.observed_at
        state = _state(source, reading)
        outcome = members.observe(member, at, state)
        if outcome == "taken":
            horizon = observed.horizon(now)
            if horizon is not None and at < horizon:
                outcome = "late"
            if self._started:
                for progress in observed.kpis:
                    progress.begin(at)
            self._tell(observed, members.groups_of(member), at)
            if source.unit is not None and state == UNKNOWN:
                outcome = "unfit"
        self._outcomes[outcome] += 1

    def start(self, now: Instant | None) -> None:
        self._started = True
        if now is not None:
            for observed in self._sources.values():
                for progress in observed.kpis:
                    progress.begin(now)

    def forget(self, binding: str, entity_id: str, now: Instant) -> None:
        observed = self._sources[binding]
        if entity_id in observed.members.series:
            self._tell(observed, observed.members.groups_of(entity_id), now)
            observed.members.forget(entity_id, now)

    def known(self, binding: str) -> Iterable[str]:
        return self._sources[binding].members.present()

    def newest(self, binding: str) -> Mapping[tuple[str, str], Instant]:
        observed = self._sources[binding]
        attribute = observed.source.attribute
        return {
            (member, attribute): series.newest
            for member, series in observed.members.series.items()
            if series.newest is not None
        }

    def advance(self, now: Instant, wall: Instant) -> None:
        show = bool(self._running_interval) and wall - self._last_running >= self._running_interval
        for key, observed in self._sources.items():
            for progress in observed.kpis:
                self._write(progress, "closed", progress.advance(now))
                if show:
                    self._write(progress, "running", progress.running(now))
            self._prune(key, observed, now)
        if show:
            self._last_running = wall

    def drain(self) -> Changes:
        statements = self._changes.statements
        for key, observed in self._sources.items():
            members = observed.members
            for member in members.touched_members:
                groups, carry = members.groups_of(member), members.series[member].carry
                statements.append(tables.keep_member(key, member, groups, carry))
            for member, at in members.touched_observations:
                state = members.series[member].state_at(at)
                if state is not None:
                    statements.append(tables.keep_observation(key, member, at, state))
            members.touched_members.clear()
            members.touched_observations.clear()
            for progress in observed.kpis:
                statements += _kept(progress)
        for outcome, count in self._outcomes.items():
            self._changes.counts["observations", outcome] += count
        self._outcomes.clear()
        changes, self._changes = self._changes, Changes()
        return changes

    def _load_members(self, connection: sqlite3.Connection) -> None:
        for key in tables.read_sources(connection):
            observed = self._sources.get(key)
            if observed is None:
                self._changes.statements += tables.drop_source(key)
                continue
            for kept in tables.read_members(connection, key):
                observed.members.restore(*kept)

    def _tell(self, observed: _Observed, groups: Iterable[str], at: Instant) -> None:
        for progress in observed.kpis:
            progress.changed(groups, at)

    def _prune(self, key: str, observed: _Observed, now: Instant) -> None:
        horizon = observed.horizon(now)
        if horizon is None or horizon == observed.pruned:
            return
        observed.pruned = horizon
        for member in observed.members.prune(horizon):
            self._changes.statements.append(tables.drop_observations(key, member, horizon))

    def _write(self, progress: Progress, kind: str, writes: list[Any]) -> None:
        for write in writes:
            self._changes.write(write)
        if writes:
            self._changes.counts["kpi_values", progress.kpi.name, kind] += len(writes)


def _kept(progress: Progress) -> list[Any]:
    if not progress.moved or progress.open is None:
        return []
    progress.moved = False
    closed = None if progress.closed is None else progress.closed.start
    return list(
        tables.keep_progress(progress.kpi.name, progress.open.start, closed, progress.values)
    )


def _state(source: Source, reading: Reading) -> str:
    """Return the state that was read, or the index as text; unknown if the source does not fit."""
    value = reading.value
    if source.unit is None:
        state = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        return state if state in (source.states or ()) else UNKNOWN
    if not isinstance(value, int | float) or isinstance(value, bool) or abs(value) > _LARGEST_INDEX:
        return UNKNOWN
    return repr(value) if reading.instance.get("unitCode") == source.unit else UNKNOWN
