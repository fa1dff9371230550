"""What is known of one entity, and since when each condition has been true of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from broker.core.entity import expand_fragment
from broker.core.errors import NgsiLdError
from broker.core.identifiers import ExpandedEntity
from broker.core.ld_context import CORE
from broker.core.query import evaluate, q
from broker.core.query.entity_query import EntityQuery
from subscribers.common.instants import Duration, Instant
from subscribers.common.observations import value_of
from subscribers.rules.conditions import Unfit, compile_check
from subscribers.rules.model import Condition, Linked, Subject

_LOCATION: Final = "location"


class Facts(msgspec.Struct):
    """One entity in one part of a rule.

    Attributes:
        readings: per attribute when it was observed last, and the attribute as it came.
        since: per condition since when it has been true without a break, None while it is not. A
            silence begins to be true at an instant which may lie ahead.
        links: where the rule's relationship leads.
        location: the geometry, to be told with an alert.
    """

    readings: dict[str, tuple[Instant, dict[str, Any]]]
    since: list[Instant | None]
    links: tuple[str, ...] = ()
    location: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Test:
    """A condition ready to be asked.

    Attributes:
        attributes: what it looks at.
        holds: asked with the entity's id and all its attributes that were observed.
        silent_for: set where time decides instead.
    """

    attributes: frozenset[str]
    holds: Callable[[str, Mapping[str, Any]], bool]
    silent_for: Duration | None = None


class Part:
    """Subject or linked entity of a rule, compiled.

    Attributes:
        measured: the attributes that conditions look at.
        link: the relationship that leads to the linked entity, if this part has it.
    """

    def __init__(self, model: Subject, link: str | None) -> None:
        """Compile the conditions.

        Raises:
            BadRequestData: `q` does not follow the grammar.
        """
        self.type = model.type
        self.link = link
        self.tests = [_value_test(condition) for condition in model.where]
        if model.q is not None:
            self.tests.append(_query_test(model.q))
        self.measured = tuple(sorted({name for test in self.tests for name in test.attributes}))

    @property
    def watched(self) -> tuple[str, ...]:
        """The attributes to subscribe to."""
        link = () if self.link is None else (self.link,)
        return tuple(dict.fromkeys((*self.measured, *link, _LOCATION)))

    def no_facts(self) -> Facts:
        """Return what is known of an entity nothing was heard of."""
        return Facts({}, [None] * len(self.tests))

    def apply(
        self, entity_id: str, facts: Facts, attribute: str, at: Instant, instance: dict[str, Any]
    ) -> list[str]:
        """Take what an attribute has become and return the errors of conditions about it."""
        facts.readings[attribute] = (at, instance)
        errors: list[str] = []
        for index, test in enumerate(self.tests):
            if attribute in test.attributes:
                facts.since[index], error = _since(test, entity_id, facts, at, facts.since[index])
                errors += [] if error is None else [error]
        return errors

    def ask_again(self, entity_id: str, facts: Facts) -> None:
        """Ask conditions that are new; what is true has been so since it was observed, at least."""
        facts.since = []
        for test in self.tests:
            times = [at for name, (at, _) in facts.readings.items() if name in test.attributes]
            since = _since(test, entity_id, facts, max(times), None) if times else (None, None)
            facts.since.append(since[0])

    def holds_since(self, facts: Facts) -> tuple[bool, Instant | None]:
        """Return whether all conditions can be answered, and since when all are true."""
        known = all(test.attributes & facts.readings.keys() for test in self.tests)
        latest: Instant | None = None
        for since in facts.since:
            if since is None:
                return known, None
            latest = since if latest is None else max(latest, since)
        return known, latest


def _since(
    test: Test, entity_id: str, facts: Facts, at: Instant, before: Instant | None
) -> tuple[Instant | None, str | None]:
    """Return since when a condition is true after an observation, and what error it made."""
    if test.silent_for is not None:
        return Instant(at + test.silent_for), None
    document = {name: instance for name, (_, instance) in facts.readings.items()}
    try:
        holds = test.holds(entity_id, document)
    except Unfit as error:
        return None, str(error)
    if not holds:
        return None, None
    return at if before is None else before, None


def compile_parts(subject: Subject, linked: Linked | None) -> dict[str, Part]:
    """Compile the parts of a rule, by name; raises like `Part`."""
    parts = {"subject": Part(subject, None if linked is None else linked.by)}
    if linked is not None:
        parts["linked"] = Part(linked, None)
    return parts


def _value_test(condition: Condition) -> Test:
    check = compile_check(condition)
    name = condition.attribute

    def holds(_: str, document: Mapping[str, Any]) -> bool:
        return check(value_of(document[name]))

    return Test(frozenset({name}), holds, condition.silent_for)


def _query_test(text: str) -> Test:
    """Compile a query; it and the entity are expanded by the same @context, whichever that is."""
    node = q.parse(text, CORE.expand)
    names = frozenset(CORE.compact(iri) for iri in q.attributes(node))
    matches = evaluate.compile(EntityQuery(q=node))

    def holds(entity_id: str, document: Mapping[str, Any]) -> bool:
        asked = {name: document[name] for name in names & document.keys()}
        try:
            return matches(ExpandedEntity(expand_fragment({"id": entity_id, **asked}, CORE)))
        except NgsiLdError as error:
            raise Unfit(str(error)) from error

    return Test(names, holds)
