"""The role `rules`: the rules of the package and of the operator, and what can be read of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from broker.core.errors import NgsiLdError
from subscribers.common.definitions import (
    Definition,
    InvalidDefinition,
    load_definitions,
    refuse_repeated_names,
)
from subscribers.common.instants import Duration
from subscribers.common.role import Role
from subscribers.rules import tables
from subscribers.rules.engine import CompiledRule, RulesEngine
from subscribers.rules.model import Rule
from subscribers.settings import Settings


def packaged_rules() -> Path:
    """Return the directory of the rules that come with the product."""
    return Path(str(files("subscribers.rules"))) / "definitions"


def rules_role(settings: Settings) -> Role:
    """Load the rules.

    Raises:
        InvalidDefinition: one of them is wrong.
    """
    packaged = (packaged_rules(),) if settings.packaged else ()
    found = load_definitions((*packaged, *settings.rules_dirs), Rule)
    refuse_repeated_names(found)
    rules = _compile(found, Duration.of_seconds(settings.lateness))
    return Role(
        name="rules",
        bindings=[binding for rule in rules for binding in rule.bindings()],
        build=lambda connection: RulesEngine(connection, rules),
        migrations=tables.MIGRATIONS,
        reports={
            "/rules": lambda connection, _: _list(connection, found),
            "/rules/{name}/runs": lambda connection, names: _runs(connection, found, names),
        },
    )


def _compile(found: Sequence[Definition[Rule]], lateness: Duration) -> list[CompiledRule]:
    rules: list[CompiledRule] = []
    mistakes: list[str] = []
    for definition in found:
        try:
            rules.append(CompiledRule.compile(definition, lateness))
        except NgsiLdError as error:
            mistakes.append(f"{definition.file}: {error.detail}")
    if mistakes:
        raise InvalidDefinition("\n".join(mistakes))
    return rules


def _list(
    connection: sqlite3.Connection, found: Sequence[Definition[Rule]]
) -> list[dict[str, Any]]:
    alerts = tables.read_alerts(connection)
    return [
        {
            "rule": rule.content.name,
            "title": rule.content.title,
            "file": rule.file.name,
            "digest": rule.digest,
            "openAlerts": len(alerts.get(rule.content.name, ())),
            "runs": tables.count_runs(connection, rule.content.name),
        }
        for rule in found
    ]


def _runs(
    connection: sqlite3.Connection, found: Sequence[Definition[Rule]], names: Mapping[str, str]
) -> list[dict[str, Any]] | None:
    if all(rule.content.name != names["name"] for rule in found):
        return None
    return tables.read_runs(connection, names["name"])
