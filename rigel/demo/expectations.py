"""What the broker must hold after the replay, and what of it is missing.

Nothing here trusts a counter: each thing that was told of is looked up over NGSI-LD and compared
with the last that was sent of it.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Final
from zoneinfo import ZoneInfo

from broker.client import Client
from broker.core.timestamps import format_timestamp
from rigel.demo import frames, names
from rigel.demo.city import TIME_ZONE, Bay, City, Evse, Meter, Probe, Station
from rigel.demo.facts import again
from rigel.demo.story import EvseChange, Story, Uplink

_LOCAL: Final = ZoneInfo(TIME_ZONE)
_DECIMALS: Final = 6


@dataclass(frozen=True, slots=True)
class Expected:
    """An attribute as it must be.

    Attributes:
        observed_at: None when only the value counts.
    """

    entity_id: str
    attribute: str
    value: Any
    observed_at: datetime | None

    def fault(self, entity: Mapping[str, Any] | None) -> str | None:
        """Return what is wrong with the entity, None when it is as it must be."""
        if entity is None:
            return f"{self.entity_id} is missing"
        found = entity.get(self.attribute)
        if not isinstance(found, Mapping):
            return f"{self.entity_id} has no {self.attribute}"
        wanted = {"value": self.value}
        if self.observed_at is not None:
            wanted["observedAt"] = format_timestamp(self.observed_at)
        wrong = [
            f"{member} is {found.get(member)!r} instead of {value!r}"
            for member, value in wanted.items()
            if not _same(found.get(member), value)
        ]
        return f"{self.entity_id}, {self.attribute}: {' and '.join(wrong)}" if wrong else None


def expectations(city: City, story: Story) -> Sequence[Expected]:
    """Return what follows from the last that every device and charging point said."""
    last_frames: dict[str, Uplink] = {}
    last_changes: dict[Evse, EvseChange] = {}
    for event in story.events:
        if isinstance(event, Uplink):
            last_frames[event.dev_eui] = event
        else:
            last_changes[event.evse] = event
    return [
        *(_of_bay(bay, last_frames[bay.dev_eui]) for bay in city.bays),
        *(_of_probe(probe, last_frames[probe.dev_eui]) for probe in city.probes),
        *_of_stations(city, last_changes, story.start),
        *_of_rotations(city, story),
        *(_of_availability(station, story) for station in city.stations),
        *(found for meter in city.meters for found in _of_meter(meter, story)),
    ]


async def missing(
    wanted: Sequence[Expected], client: Client, *, patience: float = 0.0
) -> Sequence[str]:
    """Return what is not as expected, in words; empty as soon as all is.

    Args:
        patience: seconds to go on looking while something is missing.
    """
    give_up = time.monotonic() + patience
    faults: Sequence[str] = ()
    async for _ in again():
        faults = await _faults(wanted, client)
        if not faults or time.monotonic() >= give_up:
            break
    return faults


async def _faults(wanted: Sequence[Expected], client: Client) -> Sequence[str]:
    entities: dict[str, Mapping[str, Any]] = {}
    for kind in sorted({names.type_of(expected.entity_id) for expected in wanted}):
        async for entity in client.query_entities(type=kind):
            entities[entity["id"]] = entity
    faults = (expected.fault(entities.get(expected.entity_id)) for expected in wanted)
    return [fault for fault in faults if fault is not None]


def _of_rotations(city: City, story: Story) -> Iterator[Expected]:
    """Yield the KPI that counts each single change of every bay, so that none can be missing.

    Its value is of the last day that is over, its running value of the day the story ends in.
    """
    today = story.end.astimezone(_LOCAL).date()
    for group in city.groups:
        days = Counter(
            stay.start.astimezone(_LOCAL).date() for stay in story.stays if stay.bay.group == group
        )
        yield Expected(names.rotations(group), "kpiValue", days[today - timedelta(days=1)], None)
        yield Expected(names.rotations(group), "runningValue", days[today], None)


def _of_availability(station: Station, story: Story) -> Expected:
    """Return the share of the last day that is over in which a station's points were in order."""
    start, end = _last_day(story)
    out = sum((_out_of_order(evse, story, start, end) for evse in station.evses), timedelta())
    share = 1 - out / ((end - start) * len(station.evses))
    return Expected(names.availability(station), "kpiValue", round(share, _DECIMALS), None)


def _out_of_order(evse: Evse, story: Story, start: datetime, end: datetime) -> timedelta:
    own = [e for e in story.events if isinstance(e, EvseChange) and e.evse == evse]
    ends = [*(change.at for change in own), story.end][1:]
    return sum(
        (
            max(min(until, end) - max(change.at, start), timedelta())
            for change, until in zip(own, ends, strict=True)
            if change.status == "OUTOFORDER"
        ),
        timedelta(),
    )


def _of_meter(meter: Meter, story: Story) -> Iterator[Expected]:
    """Yield a meter's last index, and what it counted on the last day and on the present one."""
    own = [e for e in story.events if isinstance(e, Uplink) and e.dev_eui == meter.dev_eui]
    read = [(frame.at, frames.litres_of(frame.payload)) for frame in own]
    yield Expected(names.water_meter(meter), "waterConsumption", read[-1][1], read[-1][0])
    start, end = _last_day(story)
    use = names.water_use(meter)
    yield Expected(use, "kpiValue", round(_grown(read, start, end), _DECIMALS), None)
    yield Expected(use, "runningValue", round(_grown(read, end, story.end), _DECIMALS), None)


def _grown(read: Sequence[tuple[datetime, int]], start: datetime, end: datetime) -> float:
    """Return by how much an index grew between two instants, evenly from reading to reading."""
    return sum(
        (after - before) * max((min(at, end) - max(since, start)) / (at - since), 0.0)
        for (since, before), (at, after) in pairwise(read)
    )


def _last_day(story: Story) -> tuple[datetime, datetime]:
    """Return what the story tells of the last local day that is over."""
    midnight = story.end.astimezone(_LOCAL).replace(hour=0, minute=0, second=0, microsecond=0)
    start = max((midnight - timedelta(days=1)).astimezone(UTC), story.start)
    return start, midnight.astimezone(UTC)


def _same(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, float) and isinstance(found, int | float):
        return math.isclose(found, wanted, rel_tol=1e-9)
    return bool(found == wanted)


def _of_bay(bay: Bay, last: Uplink) -> Expected:
    status = "occupied" if frames.says_occupied(last.f_port, last.payload) else "free"
    return Expected(names.parking_spot(bay), "status", status, last.at)


def _of_probe(probe: Probe, last: Uplink) -> Expected:
    tension = frames.tension_of(last.payload)
    return Expected(names.greenspace_record(probe), "soilMoisturePressure", tension, last.at)


def _of_stations(
    city: City, last: Mapping[Evse, EvseChange], start: datetime
) -> Iterator[Expected]:
    for station in city.stations:
        free = 0
        for evse in station.evses:
            change = last.get(evse)
            status = "AVAILABLE" if change is None else change.status
            free += status == "AVAILABLE"
            at = start if change is None else change.at
            yield Expected(names.charging_point(evse), "status", status, at)
        yield Expected(names.charging_station(station), "availableCapacity", free, None)
