"""The last changes that subscriptions could have been notified of, kept for whoever asks why not.

The matcher notes them in the writer's thread, at the cost of appending to a list; what a change was
stopped by is found out when somebody asks. Nothing here is durable, and a write that was rolled
back and made again stands here twice: a reader takes the later of two with the same version.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from broker.core.events import EntityChanged
from broker.core.identifiers import Iri
from broker.subscriptions.compiled import CompiledSubscription

DEPTH: Final = 20
"""Changes kept of a subscription, and of those with the same key in the index."""

MOST_RINGS: Final = 5000
"""Subscriptions of which changes are kept; the one that was noted first is forgotten for more."""

_SLACK: Final = 2 * DEPTH


@dataclass(frozen=True, slots=True)
class Candidate:
    """A change, and what the matcher made of it.

    Attributes:
        notification: the id of the notification it made, if it made one.
        problem: why the broker could not tell whether it was to make one.
    """

    event: EntityChanged
    notification: Iri | None = None
    problem: str | None = None


class Ring:
    """The last few of what is appended; one thread appends, any may read."""

    __slots__ = ("_items",)

    def __init__(self) -> None:
        self._items: list[tuple[EntityChanged, Iri | None, str | None]] = []

    def append(
        self, event: EntityChanged, notification: Iri | None = None, problem: str | None = None
    ) -> None:
        """Add at the end; now and then forget what is too old."""
        items = self._items
        items.append((event, notification, problem))
        if len(items) > _SLACK:
            del items[:-DEPTH]

    def last(self) -> list[Candidate]:
        """Return what is kept, oldest first."""
        # One slice is one step to other threads.
        return [Candidate(*item) for item in self._items[-DEPTH:]]


class Candidates:
    """The rings of the subscriptions that the matcher looked at."""

    def __init__(self, most: int = MOST_RINGS) -> None:
        self._most = most
        self._rings: OrderedDict[CompiledSubscription, Ring] = OrderedDict()

    def note(
        self,
        compiled: CompiledSubscription,
        event: EntityChanged,
        notification: Iri | None,
        problem: str | None = None,
    ) -> None:
        """Keep a change that the index led to a subscription with."""
        ring = self._rings.get(compiled)
        if ring is None:
            if len(self._rings) >= self._most:
                self._rings.popitem(last=False)
            ring = self._rings[compiled] = Ring()
        ring.append(event, notification, problem)

    def of(self, compiled: CompiledSubscription) -> list[Candidate]:
        """Return what is kept of a subscription, oldest first."""
        ring = self._rings.get(compiled)
        return [] if ring is None else ring.last()

    def forget(self, compiled: CompiledSubscription) -> None:
        """Keep no more of a subscription that is gone or has changed."""
        self._rings.pop(compiled, None)


def merged(*rings: list[Candidate]) -> list[Candidate]:
    """Return the candidates of several rings without repetition, newest first.

    Of two with the same version of an entity, the one that made a notification counts.
    """
    found: dict[tuple[str, int], Candidate] = {}
    for ring in rings:
        for candidate in ring:
            key = (candidate.event.entity_id, candidate.event.version)
            known = found.get(key)
            if known is None or candidate.notification is not None:
                found[key] = candidate
    newest = sorted(found.values(), key=lambda one: (one.event.at, one.event.version), reverse=True)
    return newest[:DEPTH]
