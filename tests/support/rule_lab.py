"""One rule in memory: tell it what was observed, move its time, see what it did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from subscribers.common.definitions import decode_own_type
from subscribers.common.instants import Duration, Instant
from subscribers.common.observations import Observation, Reading
from subscribers.rules.evaluate import Cleared, Evaluation, Event, Failed
from subscribers.rules.facts import compile_parts
from subscribers.rules.model import Rule

MINUTE = 60_000_000

BLOCKED: Mapping[str, Any] = {
    "rule": "blocked",
    "title": "Blocked",
    "subject": {"type": "EVChargingPoint", "where": [{"attribute": "status", "not": "charging"}]},
    "linked": {
        "type": "ParkingSpot",
        "by": "refParkingSpot",
        "where": [{"attribute": "status", "is": "occupied"}],
    },
    "for": "15min",
    "alert": {
        "source": "linked",
        "category": "traffic",
        "subCategory": "carStopped",
        "severity": "medium",
        "description": "{linked} blocked since {since} at {subject}",
    },
}
"""A rule about pairs."""


def rule_of(document: Mapping[str, Any], **changes: Any) -> Rule:
    """Make a rule of what would stand in a file."""
    return msgspec.convert({**document, **changes}, Rule, dec_hook=decode_own_type)


def minute(number: float) -> Instant:
    """Return an instant on the lab's clock."""
    return Instant(1_000_000 * MINUTE + round(number * MINUTE))


class RuleLab:
    """A rule, and times in minutes."""

    def __init__(self, document: Mapping[str, Any] = BLOCKED, **changes: Any) -> None:
        self.rule = rule_of(document, **changes)
        self.parts = compile_parts(self.rule.subject, self.rule.linked)
        self.evaluation = self._new()

    def tell(self, part: str, entity_id: str, at: float | None, **values: Any) -> None:
        """Tell values of an entity, observed at a minute; None leaves the time out."""
        observed_at = None if at is None else minute(at)
        readings = {name: Reading(observed_at, _instance(value)) for name, value in values.items()}
        self.evaluation.observe(part, Observation(entity_id, readings), minute(at or 0))

    def link(self, subject: str, *linked: str) -> None:
        """Tell where the subject's relationship leads."""
        relationship = {"type": "Relationship", "object": list(linked)}
        readings = {"refParkingSpot": Reading(None, relationship)}
        self.evaluation.observe("subject", Observation(subject, readings), minute(0))

    def forget(self, part: str, entity_id: str, at: float) -> None:
        """Tell that an entity is gone."""
        self.evaluation.forget(part, entity_id, minute(at))

    def pass_to(self, at: float) -> list[tuple[str, float, str]]:
        """Let the time come to a minute; return what happened: word, minute, subject or problem."""
        self.evaluation.advance(minute(at))
        return self.happened()

    def happened(self) -> list[tuple[str, float, str]]:
        """Return what has happened since the last time."""
        events, self.evaluation.events = self.evaluation.events, []
        return [_told(event) for event in events]

    def restart(self) -> None:
        """Go on with what was kept on disk."""
        old = self.evaluation
        new = self._new()
        for part, entities in old.knowledge.facts.items():
            for entity_id, facts in entities.items():
                kept = msgspec.json.decode(msgspec.json.encode(facts), type=type(facts))
                new.knowledge.restore(part, entity_id, kept)
        new.restore(old.alerts, old.waiting)
        new.events = old.events
        self.evaluation = new

    def _new(self) -> Evaluation:
        lateness = Duration(self.rule.lateness)
        return Evaluation(self.parts, Duration(self.rule.for_), lateness)


def _instance(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return {"type": "GeoProperty", "value": value}
    return {"type": "Property", "value": value}


def _told(event: Event) -> tuple[str, float, str]:
    at = (event.at - minute(0)) / MINUTE
    word = type(event).__name__.lower()
    if isinstance(event, Failed):
        return word, at, event.detail
    since = (event.since - minute(0)) / MINUTE
    about = " ".join(filter(None, event.pair))
    return word, at, f"{about} since {since:g}" if isinstance(event, Cleared) else about
