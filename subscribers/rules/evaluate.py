"""One rule over event time: from observations to alerts raised and cleared.

Observations wait until the rule's watermark (the time of the stream less the lateness the rule
allows) has passed them, and are then applied in the order in which they were made, timers between
them. So the outcome does not depend on the order in which they came in. One that comes in later
than allowed is applied at once, if nothing newer is known of its attribute. An attribute that does
not say when it was observed counts as observed now; links and locations need no waiting.

A rule is about pairs of a subject and, where it has one, a linked entity. An alert is raised when
all conditions of a pair have been true for as long as the rule says, and cleared when one of them
is no longer true, an entity is gone, or the link leads elsewhere. While a condition cannot be
answered an alert stays as it is.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from subscribers.common.instants import Duration, Instant
from subscribers.common.observations import Observation, objects, value_of
from subscribers.rules.facts import Part
from subscribers.rules.knowledge import Knowledge, Pair


class Slot(NamedTuple):
    """Place of one observation among those that wait; they sort by time."""

    at: Instant
    part: str
    entity_id: str
    attribute: str


@dataclass(frozen=True, slots=True)
class Raised:
    """The conditions, true since `since`, had been so for long enough at `at`.

    Attributes:
        evidence: the values that made them true, by entity.
    """

    at: Instant
    pair: Pair
    since: Instant
    evidence: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Cleared:
    """The conditions are no longer true, at `at`."""

    at: Instant
    pair: Pair
    since: Instant


@dataclass(frozen=True, slots=True)
class Failed:
    """A condition could not be asked about what was observed."""

    at: Instant
    entity_id: str
    detail: str


Event = Raised | Cleared | Failed


class Evaluation:
    """The state of one rule.

    Attributes:
        knowledge: of the entities.
        alerts: since when the conditions of each pair with an open alert have been true.
        waiting: the observations that the watermark has not reached.
        events: what has happened since it was last emptied.
        outcomes: what became of observations, counted.
        touched: the places of observations that began or ceased to wait, likewise.
    """

    def __init__(self, parts: dict[str, Part], lasts: Duration, lateness: Duration) -> None:
        """Start without any knowledge.

        Args:
            lasts: how long the conditions must be true.
        """
        self._parts = parts
        self._lasts = lasts
        self._lateness = lateness
        self._watermark: Instant | None = None
        self._order: list[Slot] = []
        self._due: dict[Pair, Instant] = {}
        self._wakes: list[tuple[Instant, Pair]] = []
        self.knowledge = Knowledge(parts)
        self.alerts: dict[Pair, Instant] = {}
        self.waiting: dict[Slot, dict[str, Any]] = {}
        self.events: list[Event] = []
        self.outcomes: Counter[str] = Counter()
        self.touched: set[Slot] = set()

    def restore(
        self, alerts: Mapping[Pair, Instant], waiting: Mapping[Slot, dict[str, Any]]
    ) -> None:
        """Take up what was kept on disk, once the knowledge is restored."""
        self.alerts.update(alerts)
        self.waiting.update(waiting)
        self._order = sorted(waiting)
        for pair in self.knowledge.pairs():
            self._schedule(pair)

    def observe(self, part: str, observation: Observation, now: Instant) -> None:
        """Take what an entity said; only what comes late is applied at once."""
        model = self._parts[part]
        entity_id = observation.entity_id
        for name, reading in observation.readings.items():
            if name == "location":
                self.knowledge.locate(part, entity_id, reading.value)
            if name == model.link:
                self._links_changed(self.knowledge.connect(entity_id, objects(reading.value)))
            if name in model.measured:
                at = now if reading.observed_at is None else reading.observed_at
                self._take(Slot(at, part, entity_id, name), reading.instance)

    def forget(self, part: str, entity_id: str, now: Instant) -> None:
        """Take that an entity is gone."""
        for slot in [s for s in self.waiting if (s.part, s.entity_id) == (part, entity_id)]:
            del self.waiting[slot]
            self.touched.add(slot)
        for pair in self.knowledge.forget(part, entity_id):
            self._due.pop(pair, None)
            if pair in self.alerts:
                self._clear(pair, now)

    def newest(self, part: str) -> Mapping[tuple[str, str], Instant]:
        """Return when each attribute of a part was observed last, by entity and attribute."""
        newest = {
            (entity_id, name): at
            for entity_id, facts in self.knowledge.facts[part].items()
            for name, (at, _) in facts.readings.items()
        }
        for slot in self.waiting:
            key = (slot.entity_id, slot.attribute)
            if slot.part == part:
                newest[key] = max(slot.at, newest.get(key, slot.at))
        return newest

    def advance(self, now: Instant) -> None:
        """Move the watermark on and do what has become due, in the order of event time."""
        watermark = Instant(now - self._lateness)
        while self._order and self._order[0].at <= watermark:
            slot = heapq.heappop(self._order)
            instance = self.waiting.pop(slot, None)
            if instance is not None:
                self.touched.add(slot)
                self._fire(slot.at)
                self._apply(slot, instance)
        self._fire(watermark)
        if self._watermark is None:
            # Links may have changed before anything could become due.
            for pair in list(self.alerts):
                self._settle(pair, watermark)
        self._watermark = max(watermark, self._watermark or watermark)

    def _take(self, slot: Slot, instance: dict[str, Any]) -> None:
        if self._is_known(slot, instance):
            self.outcomes["known"] += 1
        elif self._watermark is not None and slot.at <= self._watermark:
            # Without any lateness allowed, everything comes when the watermark has passed it.
            self.outcomes["late" if self._lateness else "taken"] += 1
            self._apply(slot, instance)
        else:
            self.outcomes["taken"] += 1
            if slot not in self.waiting:
                heapq.heappush(self._order, slot)
            self.waiting[slot] = instance
            self.touched.add(slot)

    def _is_known(self, slot: Slot, instance: dict[str, Any]) -> bool:
        value = value_of(instance)
        if slot in self.waiting:
            return bool(value_of(self.waiting[slot]) == value)
        known = self.knowledge.reading(slot.part, slot.entity_id, slot.attribute)
        return known is not None and (
            slot.at < known[0] or (slot.at == known[0] and value == value_of(known[1]))
        )

    def _apply(self, slot: Slot, instance: dict[str, Any]) -> None:
        known = self.knowledge.reading(slot.part, slot.entity_id, slot.attribute)
        if known is not None and known[0] > slot.at:
            return
        facts = self.knowledge.held(slot.part, slot.entity_id)
        part = self._parts[slot.part]
        errors = part.apply(slot.entity_id, facts, slot.attribute, slot.at, instance)
        self.events += [Failed(slot.at, slot.entity_id, error) for error in errors]
        for pair in self.knowledge.pairs_of(slot.part, slot.entity_id):
            self._settle(pair, slot.at)

    def _links_changed(self, pairs: Iterable[Pair]) -> None:
        for pair in pairs:
            if self._watermark is None:
                self._schedule(pair)
            else:
                self._settle(pair, self._watermark)

    def _fire(self, until: Instant) -> None:
        while self._wakes and self._wakes[0][0] <= until:
            due, pair = heapq.heappop(self._wakes)
            if self._due.get(pair) == due:
                del self._due[pair]
                self._settle(pair, due)

    def _settle(self, pair: Pair, at: Instant) -> None:
        """Raise or clear the alert of a pair as it stands at an instant, or set its timer."""
        known, since = self.knowledge.holds_since(pair)
        if pair in self.alerts:
            if known and (since is None or since > at):
                self._clear(pair, at)
        elif since is not None and since + self._lasts <= at:
            self._due.pop(pair, None)
            self.alerts[pair] = since
            due = Instant(since + self._lasts)
            self.events.append(Raised(due, pair, since, self.knowledge.evidence(pair)))
        else:
            self._schedule(pair)

    def _clear(self, pair: Pair, at: Instant) -> None:
        since = self.alerts.pop(pair)
        self.events.append(Cleared(max(at, since), pair, since))
        self._schedule(pair)

    def _schedule(self, pair: Pair) -> None:
        """Set or drop the timer of a pair without an open alert."""
        _, since = self.knowledge.holds_since(pair)
        if since is None or pair in self.alerts:
            self._due.pop(pair, None)
            return
        due = Instant(since + self._lasts)
        if self._due.get(pair) != due:
            self._due[pair] = due
            heapq.heappush(self._wakes, (due, pair))
