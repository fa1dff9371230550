"""The role `kpi`: the KPIs of the package and of the operator, and what can be read of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from subscribers.common.definitions import (
    Definition,
    InvalidDefinition,
    load_definitions,
    refuse_repeated_names,
)
from subscribers.common.role import Binding, Role
from subscribers.kpi import tables
from subscribers.kpi.engine import KpiEngine, source_key
from subscribers.kpi.model import Kpi, find_zone
from subscribers.settings import Settings


def packaged_kpis() -> Path:
    """Return the directory of the KPIs that come with the product."""
    return Path(str(files("subscribers.kpi"))) / "definitions"


def kpi_role(settings: Settings) -> Role:
    """Load the KPIs.

    Raises:
        InvalidDefinition: one of them is wrong, or the time zone they are to use.
    """
    packaged = (packaged_kpis(),) if settings.packaged else ()
    found = load_definitions((*packaged, *settings.kpi_dirs), Kpi)
    refuse_repeated_names(found)
    try:
        find_zone(settings.time_zone)
    except ValueError as error:
        raise InvalidDefinition(f"time_zone of the settings: {error}") from error
    return Role(
        name="kpi",
        bindings=_bindings(found),
        build=lambda connection: KpiEngine(connection, found, settings),
        migrations=tables.MIGRATIONS,
        reports={"/kpis": lambda connection, _: _list(connection, found)},
    )


def _bindings(found: Sequence[Definition[Kpi]]) -> list[Binding]:
    users: dict[str, list[Kpi]] = {}
    for definition in found:
        users.setdefault(source_key(definition.content.source), []).append(definition.content)
    bindings = []
    for key, kpis in users.items():
        source = kpis[0].source
        names = ", ".join(kpi.name for kpi in kpis)
        bindings.append(
            Binding(
                key,
                f"KPIs: {names}",
                source.type,
                source.attributes,
                (source.attribute,),
            )
        )
    return bindings


def _list(connection: sqlite3.Connection, found: Sequence[Definition[Kpi]]) -> list[dict[str, Any]]:
    return [
        {
            "kpi": kpi.content.name,
            "title": kpi.content.title,
            "file": kpi.file.name,
            "digest": kpi.digest,
            "values": tables.read_values(connection, kpi.content.name),
        }
        for kpi in found
    ]
