"""What a rule knows of the entities it looks at, and which of them belong together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from subscribers.common.instants import Instant
from subscribers.common.observations import value_of
from subscribers.rules.facts import Facts, Part

SUBJECT: Final = "subject"
LINKED: Final = "linked"


class Pair(NamedTuple):
    """What an alert is about; `linked` is empty where the rule has no linked entity."""

    subject: str
    linked: str


class Knowledge:
    """Facts by part and entity, and the links between them.

    Attributes:
        facts: by part, then by entity.
        touched: part and entity of what must be kept on disk, since it was last emptied.
    """

    def __init__(self, parts: dict[str, Part]) -> None:
        """Know nothing yet."""
        self._parts = parts
        self._users: dict[str, set[str]] = {}
        self.facts: dict[str, dict[str, Facts]] = {name: {} for name in parts}
        self.touched: set[tuple[str, str]] = set()

    def restore(self, part: str, entity_id: str, facts: Facts) -> None:
        """Take up what was kept on disk."""
        self.facts[part][entity_id] = facts
        for linked in facts.links:
            self._users.setdefault(linked, set()).add(entity_id)

    def held(self, part: str, entity_id: str) -> Facts:
        """Return what is known of an entity; it is taken to be changed."""
        facts = self.facts[part].get(entity_id)
        if facts is None:
            facts = self.facts[part][entity_id] = self._parts[part].no_facts()
        self.touched.add((part, entity_id))
        return facts

    def reading(
        self, part: str, entity_id: str, attribute: str
    ) -> tuple[Instant, dict[str, Any]] | None:
        """Return when an attribute was observed last, and as what."""
        facts = self.facts[part].get(entity_id)
        return None if facts is None else facts.readings.get(attribute)

    def connect(self, subject: str, links: tuple[str, ...]) -> set[Pair]:
        """Take where a subject's relationship leads; return the pairs that came or went."""
        before = set(self.pairs_of(SUBJECT, subject))
        known = self.facts[SUBJECT].get(subject)
        if links == (() if known is None else known.links):
            return set()
        for linked in known.links if known is not None else ():
            self._users[linked].discard(subject)
        self.held(SUBJECT, subject).links = links
        for linked in links:
            self._users.setdefault(linked, set()).add(subject)
        return before ^ set(self.pairs_of(SUBJECT, subject))

    def locate(self, part: str, entity_id: str, geometry: Any) -> None:
        """Take where an entity is."""
        known = self.facts[part].get(entity_id)
        if isinstance(geometry, dict) and (known is None or known.location != geometry):
            self.held(part, entity_id).location = geometry

    def forget(self, part: str, entity_id: str) -> set[Pair]:
        """Take that an entity is gone; return the pairs it was part of."""
        pairs = set(self.pairs_of(part, entity_id))
        if part == SUBJECT:
            self.connect(entity_id, ())
        if self.facts[part].pop(entity_id, None) is not None:
            self.touched.add((part, entity_id))
        return pairs

    def pairs(self) -> Iterator[Pair]:
        """Yield all pairs."""
        for subject in self.facts[SUBJECT]:
            yield from self.pairs_of(SUBJECT, subject)

    def pairs_of(self, part: str, entity_id: str) -> list[Pair]:
        """Return the pairs an entity is part of."""
        if part == LINKED:
            return [Pair(subject, entity_id) for subject in self._users.get(entity_id, ())]
        facts = self.facts[SUBJECT].get(entity_id)
        if facts is None:
            return []
        if LINKED not in self._parts:
            return [Pair(entity_id, "")]
        return [Pair(entity_id, linked) for linked in facts.links]

    def holds_since(self, pair: Pair) -> tuple[bool, Instant | None]:
        """Return whether the conditions of a pair can be answered, and since when all are true."""
        if pair not in self.pairs_of(SUBJECT, pair.subject):
            return True, None
        answers = [
            (False, None) if facts is None else self._parts[part].holds_since(facts)
            for part, _, facts in self._members(pair)
        ]
        times = [since for _, since in answers if since is not None]
        all_true = len(times) == len(answers)
        return all(known for known, _ in answers), max(times) if all_true else None

    def evidence(self, pair: Pair) -> dict[str, dict[str, Any]]:
        """Return the values the conditions looked at, by entity."""
        return {
            entity_id: {name: value_of(instance) for name, (_, instance) in facts.readings.items()}
            for _, entity_id, facts in self._members(pair)
            if facts is not None
        }

    def location(self, pair: Pair, part: str) -> dict[str, Any] | None:
        """Return where an entity of a pair is."""
        facts = self.facts[part].get(pair.subject if part == SUBJECT else pair.linked)
        return None if facts is None else facts.location

    def _members(self, pair: Pair) -> list[tuple[str, str, Facts | None]]:
        return [
            (part, entity_id, self.facts[part].get(entity_id))
            for part, entity_id in ((SUBJECT, pair.subject), (LINKED, pair.linked))
            if part in self._parts
        ]
