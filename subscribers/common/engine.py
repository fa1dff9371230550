"""What a role does with observations: in memory, without I/O, and in one place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from subscribers.common.instants import Instant
from subscribers.common.journal import Statement
from subscribers.common.observations import Observation
from subscribers.common.outbox import Write

Count = tuple[str, ...]
"""What is counted, and its labels: `("observations", "late")`."""


@dataclass(slots=True)
class Changes:
    """What an engine has changed and wants written, in one transaction.

    Attributes:
        counts: what happened, for the metrics.
    """

    statements: list[Statement] = field(default_factory=list)
    counts: Counter[Count] = field(default_factory=Counter)

    def write(self, write: Write) -> None:
        """Have something written to the broker."""
        self.statements.append(write.statement())


class Engine(Protocol):
    """Holds the state of a role; it can be thrown away and built again from the journal."""

    def observe(self, binding: str, observation: Observation, now: Instant) -> None:
        """Take what an entity said; nothing becomes due by this alone.

        Args:
            binding: which subscription brought it.
            now: the time of what does not say when it was observed.
        """

    def start(self, now: Instant | None) -> None:
        """Begin: the present state was told; `now` is None if nothing was observed yet."""

    def forget(self, binding: str, entity_id: str, now: Instant) -> None:
        """Take that an entity no longer exists; nothing may be known of it here."""

    def known(self, binding: str) -> Iterable[str]:
        """Return the entities of which something is held."""

    def newest(self, binding: str) -> Mapping[tuple[str, str], Instant]:
        """Return when each measured attribute was observed last, by entity and attribute."""

    def advance(self, now: Instant, wall: Instant) -> None:
        """Do what has become due."""

    def drain(self) -> Changes:
        """Hand over what has changed since the last time."""
