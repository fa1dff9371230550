"""All rules together: which observation belongs to which rule, and what is kept and written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from subscribers.common.definitions import Definition
from subscribers.common.engine import Changes
from subscribers.common.instants import Duration, Instant
from subscribers.common.journal import read_digests, write_digest
from subscribers.common.observations import Observation
from subscribers.common.role import Binding
from subscribers.rules import tables
from subscribers.rules.actions import close_alert, open_alert
from subscribers.rules.evaluate import Cleared, Evaluation, Event, Failed, Raised
from subscribers.rules.facts import Part, compile_parts
from subscribers.rules.knowledge import Pair
from subscribers.rules.model import Rule


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule ready to be evaluated.

    Attributes:
        lateness: of the rule, or more.
    """

    model: Rule
    digest: str
    parts: dict[str, Part]
    lateness: Duration

    @classmethod
    def compile(cls, definition: Definition[Rule], least_lateness: Duration) -> CompiledRule:
        """Compile a rule.

        Raises:
            BadRequestData: a `q` does not follow the grammar.
        """
        model = definition.content
        parts = compile_parts(model.subject, model.linked)
        return cls(model, definition.digest, parts, max(model.lateness, least_lateness))

    def bindings(self) -> list[Binding]:
        """Return the subscriptions the rule needs."""
        return [
            Binding(
                f"{self.model.name}.{name}",
                f"Rule {self.model.name}: {self.model.title}",
                part.type,
                part.watched,
                part.measured,
            )
            for name, part in self.parts.items()
        ]


@dataclass(frozen=True, slots=True)
class _Live:
    rule: CompiledRule
    evaluation: Evaluation


class RulesEngine:
    """The state of all rules."""

    def __init__(self, connection: sqlite3.Connection, rules: Sequence[CompiledRule]) -> None:
        """Take up what is on disk; what belongs to rules that are gone is cleared."""
        self._changes = Changes()
        self._wall = Instant(0)
        digests = read_digests(connection)
        alerts = tables.read_alerts(connection)
        self._live = {
            rule.model.name: self._load(
                connection,
                rule,
                alerts.pop(rule.model.name, {}),
                unchanged=digests.pop(rule.model.name, None) == rule.digest,
            )
            for rule in rules
        }
        self._gone = {name: alerts.get(name, {}) for name in {*digests, *alerts}}

    def observe(self, binding: str, observation: Observation, now: Instant) -> None:
        rule, _, part = binding.partition(".")
        self._live[rule].evaluation.observe(part, observation, now)

    def start(self, now: Instant | None) -> None:
        """Begin; rules need no preparation."""

    def forget(self, binding: str, entity_id: str, now: Instant) -> None:
        rule, _, part = binding.partition(".")
        self._live[rule].evaluation.forget(part, entity_id, now)

    def known(self, binding: str) -> Iterable[str]:
        rule, _, part = binding.partition(".")
        return self._live[rule].evaluation.knowledge.facts[part]

    def newest(self, binding: str) -> Mapping[tuple[str, str], Instant]:
        rule, _, part = binding.partition(".")
        return self._live[rule].evaluation.newest(part)

    def advance(self, now: Instant, wall: Instant) -> None:
        self._wall = wall
        for name, alerts in self._gone.items():
            self._clear_all(name, alerts, now)
        self._gone = {}
        for live in self._live.values():
            live.evaluation.advance(now)

    def drain(self) -> Changes:
        for name, live in self._live.items():
            self._keep(name, live.evaluation)
            self._act(live)
        changes, self._changes = self._changes, Changes()
        return changes

    def _load(
        self,
        connection: sqlite3.Connection,
        rule: CompiledRule,
        alerts: dict[Pair, Instant],
        *,
        unchanged: bool,
    ) -> _Live:
        name = rule.model.name
        evaluation = Evaluation(rule.parts, rule.model.for_, rule.lateness)
        for part, entity_id, facts in tables.read_facts(connection, name):
            if part not in rule.parts:
                self._changes.statements.append(tables.keep_facts(name, part, entity_id, None))
                continue
            if not unchanged:
                rule.parts[part].ask_again(entity_id, facts)
            evaluation.knowledge.restore(part, entity_id, facts)
        waiting = tables.read_waiting(connection, name)
        evaluation.restore(
            alerts, {slot: i for slot, i in waiting.items() if slot.part in rule.parts}
        )
        if not unchanged:
            self._changes.statements.append(write_digest(name, rule.digest))
        return _Live(rule, evaluation)

    def _clear_all(self, rule: str, alerts: dict[Pair, Instant], now: Instant) -> None:
        for pair, since in alerts.items():
            self._record(rule, Cleared(max(now, since), pair, since))
        self._changes.statements += tables.drop_state(rule)

    def _keep(self, name: str, evaluation: Evaluation) -> None:
        knowledge, statements = evaluation.knowledge, self._changes.statements
        for part, entity_id in knowledge.touched:
            facts = knowledge.facts[part].get(entity_id)
            statements.append(tables.keep_facts(name, part, entity_id, facts))
        for slot in evaluation.touched:
            statements.append(tables.keep_waiting(name, slot, evaluation.waiting.get(slot)))
        for outcome, count in evaluation.outcomes.items():
            self._changes.counts["observations", outcome] += count
        knowledge.touched.clear()
        evaluation.touched.clear()
        evaluation.outcomes.clear()

    def _act(self, live: _Live) -> None:
        model = live.rule.model
        for event in live.evaluation.events:
            if isinstance(event, Raised):
                location = live.evaluation.knowledge.location(event.pair, model.alert.source)
                self._changes.write(open_alert(model, event, location))
            self._record(model.name, event)
        if live.evaluation.events:
            self._changes.statements.append(tables.trim_runs(model.name))
        live.evaluation.events.clear()

    def _record(self, rule: str, event: Event) -> None:
        """Keep, log and count an event; an alert that is cleared is closed."""
        if isinstance(event, Cleared):
            self._changes.write(close_alert(rule, event))
        if not isinstance(event, Failed):
            self._changes.statements.append(tables.keep_alert(rule, event))
        self._changes.statements.append(tables.log_run(rule, event, self._wall))
        self._changes.counts["rule_runs", rule, tables.outcome_of(event)] += 1
