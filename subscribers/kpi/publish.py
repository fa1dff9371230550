"""KPI values as entities of the Smart Data Model KeyPerformanceIndicator.

There is one entity for each KPI and group. `kpiValue` is that of the newest window that has ended,
observed at its end; the history is the broker's. `runningValue` is that of the window which is
still open, up to when it was observed.
"""

from __future__ import annotations

from typing import Any, Final

from subscribers.common.instants import Instant, date_time, to_text
from subscribers.common.outbox import Operation, Write
from subscribers.kpi.model import Kpi, WindowKind
from subscribers.kpi.windows import Window

EVERYTHING: Final = ""
"""The group of all members, where a KPI does not group them."""

_FREQUENCIES: Final[dict[WindowKind, str]] = {
    "hour": "hourly",
    "day": "daily",
    "week": "weekly",
    "month": "monthly",
}


def entity_id(kpi: str, group: str) -> str:
    """Return the id of the entity of a KPI and a group."""
    scope = group.removeprefix("urn:ngsi-ld:") or "all"
    return f"urn:ngsi-ld:KeyPerformanceIndicator:{kpi}:{scope}"


def closed_value(kpi: Kpi, group: str, window: Window, value: float) -> Write:
    """Return the value of a window that has ended."""
    entity = {
        **_described(kpi, group),
        "kpiValue": _measured(kpi, value, window.end),
        "calculationPeriod": _property(
            {"from": window.first.isoformat(), "to": window.last.isoformat()}
        ),
        "periodStart": _property(date_time(window.start)),
        "periodEnd": _property(date_time(window.end)),
    }
    key = f"{kpi.name} {window.start} {group}"
    return Write(key, Operation.UPSERT, entity)


def running_value(kpi: Kpi, group: str, value: float, at: Instant) -> Write:
    """Return the value so far of a window that is still open."""
    entity = {**_described(kpi, group), "runningValue": _measured(kpi, value, at)}
    return Write(f"{kpi.name} running {group}", Operation.UPSERT, entity)


def _described(kpi: Kpi, group: str) -> dict[str, Any]:
    entity = {
        "id": entity_id(kpi.name, group),
        "type": "KeyPerformanceIndicator",
        "name": _property(kpi.title),
        "calculationFrequency": _property(_FREQUENCIES[kpi.window]),
        "calculationMethod": _property("automatic"),
        "calculationFormula": _property(kpi.formula),
        "aggregatedData": _property(
            [{"entityType": kpi.source.type, "attrs": [kpi.source.attribute]}]
        ),
        "category": _property(["quantitative", "process"]),
        "process": _property(kpi.process),
    }
    if kpi.description:
        entity["description"] = _property(kpi.description)
    if group != EVERYTHING:
        entity["refEntity"] = {"type": "Relationship", "object": group}
    return entity


def _measured(kpi: Kpi, value: float, at: Instant) -> dict[str, Any]:
    return {**_property(value), "unitCode": kpi.unit, "observedAt": to_text(at)}


def _property(value: Any) -> dict[str, Any]:
    return {"type": "Property", "value": value}
