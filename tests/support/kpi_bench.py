"""The KPI engine on the bench, with parking KPIs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from subscribers.common.definitions import Definition, decode_own_type
from subscribers.kpi.engine import KpiEngine, source_key
from subscribers.kpi.model import Kpi
from subscribers.kpi.tables import MIGRATIONS
from subscribers.settings import Settings
from tests.support.engine_bench import EngineBench

SOURCE: Mapping[str, Any] = {
    "type": "ParkingSpot",
    "attribute": "status",
    "states": ["free", "occupied"],
    "groupBy": "refParkingGroup",
}
OCCUPANCY: Mapping[str, Any] = {
    "kpi": "occupancy",
    "title": "Occupancy rate",
    "source": SOURCE,
    "measure": {"shareOfTime": "occupied"},
    "window": "day",
    "lateness": "12h",
    "unit": "C62",
    "formula": "occupied time / observed time",
    "process": "Parking",
}
ROTATIONS: Mapping[str, Any] = {
    **OCCUPANCY,
    "kpi": "rotations",
    "title": "Rotations",
    "measure": {"changes": {"from": "free", "to": "occupied"}},
}
LONGEST: Mapping[str, Any] = {
    **OCCUPANCY,
    "kpi": "longest",
    "title": "Longest stay",
    "measure": {"stays": {"state": "occupied", "take": "longest"}},
    "unit": "MIN",
}

USE: Mapping[str, Any] = {
    **OCCUPANCY,
    "kpi": "use",
    "title": "Water use",
    "source": {
        "type": "WaterConsumptionObserved",
        "attribute": "waterConsumption",
        "unit": "LTR",
        "groupBy": "id",
    },
    "measure": {"increase": True},
    "unit": "LTR",
}


def kpi_of(document: Mapping[str, Any], **changes: Any) -> Kpi:
    """Make a KPI of what would stand in a file."""
    return msgspec.convert({**document, **changes}, Kpi, dec_hook=decode_own_type)


def defined(*kpis: Kpi) -> Sequence[Definition[Kpi]]:
    """Make definitions whose digests tell their content."""
    return [Definition(Path(f"{kpi.name}.yaml"), str(hash(kpi)), kpi) for kpi in kpis]


def kpi_bench(*documents: Mapping[str, Any], **settings: Any) -> EngineBench:
    """Put KPIs on the bench; running values are off unless a setting says otherwise."""
    kpis = defined(*(kpi_of(document) for document in documents))
    chosen = Settings(**{"running_interval": 0.0, **settings})
    return EngineBench(MIGRATIONS, lambda connection: KpiEngine(connection, kpis, chosen))


def binding_of(document: Mapping[str, Any] = OCCUPANCY) -> str:
    """Return the name of a KPI's subscription."""
    return source_key(kpi_of(document).source)
