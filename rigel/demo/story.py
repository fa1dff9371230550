"""What happens in the demonstration city: every frame and every status change, in order of time.

The same seed and the same first day give the same story, device by device: each draws its own
random numbers, so that a device more or less changes nothing for the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final
from zoneinfo import ZoneInfo

from rigel.demo import frames
from rigel.demo.city import TIME_ZONE, Bay, City, Evse, Meter, Probe
from rigel.demo.rhythms import RHYTHMS

PARKING_SENSOR: Final = "tps110"
SOIL_PROBE: Final = "dl-trs21"
WATER_METER: Final = "qalcosonic-w1"
_LOCAL: Final = ZoneInfo(TIME_ZONE)
_METER_INTERVAL: Final = timedelta(hours=1)
_PROBE_INTERVAL: Final = timedelta(hours=2)
_HEARTBEAT_HOUR: Final = 4
_ELECTRIC_SHARE: Final = 0.93
_MEDIAN_CHARGE: Final = 80.0
_BREAKS: Final = 0.2
_WATERING_HOUR: Final = 5
_WATERED_LITRES: Final = 900
_WET: Final = 8.0
_DRIEST: Final = 160.0


@dataclass(frozen=True, slots=True)
class Uplink:
    """A LoRaWAN frame as the network server received it.

    Attributes:
        profile: what the network server calls this kind of device.
    """

    at: datetime
    dev_eui: str
    profile: str
    f_cnt: int
    f_port: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class EvseChange:
    """A charging point changed its status; the words are OCPI's."""

    at: datetime
    evse: Evse
    status: str


Event = Uplink | EvseChange


@dataclass(frozen=True, slots=True)
class Stay:
    """A car stood in a bay; `end` is None when it still stood there at the end of the story."""

    bay: Bay
    start: datetime
    end: datetime | None


@dataclass(frozen=True, slots=True)
class Story:
    """What is replayed, and what must be known in the city afterwards.

    Attributes:
        start: the first instant, in UTC.
        end: the first instant after the story.
        events: all that is sent, oldest first.
        stays: what the parking sensors tell, for checking what the platform made of it.
    """

    start: datetime
    end: datetime
    events: tuple[Event, ...]
    stays: tuple[Stay, ...]


def tell(city: City, start: datetime, length: timedelta, *, seed: int) -> Story:
    """Let the city live for some time.

    Args:
        city: what stands where.
        start: the first instant, usually a local midnight; with its zone.
        length: how long, in hours as they pass.
        seed: another seed is another story.
    """
    start = start.astimezone(UTC)  # arithmetic on local times would bend on days of 23 or 25 hours
    end = start + length
    events: list[Event] = []
    stays: list[Stay] = []
    for bay in city.bays:
        random = _random_of(bay.dev_eui, seed)
        own = list(_stays(bay, start, end, random))
        stays += own
        events += _numbered(bay.dev_eui, PARKING_SENSOR, _bay_frames(own, bay, start, end, random))
        if bay.evse is not None:
            used = _charging(own, bay.evse, end, random)
            events += _interrupted(used, bay.evse, start, end, seed)
    for probe in city.probes:
        random = _random_of(probe.dev_eui, seed)
        events += _numbered(probe.dev_eui, SOIL_PROBE, _probe_frames(probe, start, end, random))
    for meter in city.meters:
        random = _random_of(meter.dev_eui, seed)
        events += _numbered(meter.dev_eui, WATER_METER, _meter_frames(meter, start, end, random))
    events.sort(key=_when)
    return Story(start, end, tuple(events), tuple(stays))


def first_midnight(now: datetime, length: timedelta) -> datetime:
    """Return the last local midnight from which a story of this length is over by now."""
    latest = (now - length).astimezone(_LOCAL)
    return latest.replace(hour=0, minute=0, second=0, microsecond=0)


def air_temperature(at: datetime) -> float:
    """Return the temperature in the shade, which is lowest at four in the morning."""
    return 15.0 - 6.0 * math.cos((_hour(at) - 4.0) / 12.0 * math.pi)


_Frame = tuple[datetime, tuple[int, bytes]]


def _stays(bay: Bay, start: datetime, end: datetime, random: Random) -> Iterator[Stay]:
    rhythm = RHYTHMS[bay.group.rhythm]
    at = start + timedelta(seconds=random.randrange(20, 300))
    if bay.evse is None and random.random() < rhythm.overnight:
        # Who parked overnight leaves in the morning.
        leaves = start + timedelta(hours=random.uniform(6.0, 9.0))
        yield Stay(bay, at, leaves)
        at = leaves
    while True:
        wait = timedelta(hours=rhythm.next_arrival(_hour(at), random))
        at = _second(at + max(wait, timedelta(seconds=90)))
        if at >= end:
            return
        leaves = _second(at + timedelta(minutes=rhythm.next_stay(random)))
        if leaves >= end:
            yield Stay(bay, at, None)
            return
        yield Stay(bay, at, leaves)
        at = leaves


def _bay_frames(
    stays: list[Stay], bay: Bay, start: datetime, end: datetime, random: Random
) -> list[_Frame]:
    switched_on = start + timedelta(seconds=bay.number)
    told = [(switched_on, frames.parking_startup(occupied=False))]
    for stay in stays:
        told.append((stay.start, frames.parking_state(occupied=True)))
        if stay.end is not None:
            told.append((stay.end, frames.parking_state(occupied=False)))
    beat = start + timedelta(hours=_HEARTBEAT_HOUR, seconds=random.randrange(3600))
    while beat < end:
        occupied = any(stay.start <= beat and (stay.end or end) > beat for stay in stays)
        celsius = round(air_temperature(beat))
        told.append((beat, frames.parking_heartbeat(occupied=occupied, celsius=celsius)))
        beat += timedelta(days=1)
    return told


def _charging(stays: list[Stay], evse: Evse, end: datetime, random: Random) -> Iterator[EvseChange]:
    for stay in stays:
        # Both are drawn for every stay, so that one car's choice does not move the next one's.
        electric = random.random() < _ELECTRIC_SHARE
        plugged = stay.start + timedelta(seconds=random.randrange(40, 150))
        minutes = random.lognormvariate(math.log(_MEDIAN_CHARGE), 0.5)
        unplugged = (stay.end or end) - timedelta(seconds=30)
        if not electric or plugged >= unplugged:
            continue
        yield EvseChange(plugged, evse, "CHARGING")
        full = min(_second(plugged + timedelta(minutes=minutes)), unplugged)
        if full < end - timedelta(minutes=1):
            yield EvseChange(full, evse, "AVAILABLE")


def _interrupted(
    changes: Iterable[EvseChange], evse: Evse, start: datetime, end: datetime, seed: int
) -> Iterator[EvseChange]:
    """Let some charging points be out of order for some hours, in which nothing else happens."""
    random = _random_of(f"{evse.location_id} {evse.uid}", seed)
    if random.random() >= _BREAKS:
        yield from changes
        return
    breaks = _second(start + random.uniform(0.1, 0.9) * (end - start))
    works = min(_second(breaks + timedelta(hours=random.uniform(2.0, 20.0))), end)
    told = [change for change in changes if not breaks <= change.at <= works]
    told.append(EvseChange(breaks, evse, "OUTOFORDER"))
    if works < end:
        told.append(EvseChange(works, evse, "AVAILABLE"))
    told.sort(key=_when)
    status = "AVAILABLE"
    for change in told:
        if change.status != status:
            yield change
        status = change.status


def _meter_frames(meter: Meter, start: datetime, end: datetime, random: Random) -> Iterator[_Frame]:
    litres = meter.index
    at = _second(start + timedelta(seconds=random.randrange(3600)))
    while at < end:
        waters = (at - start).days % 2 and 0.0 <= _hour(at) - _WATERING_HOUR < 2.0  # noqa: PLR2004 - hours
        litres += (
            round(_WATERED_LITRES * random.uniform(0.8, 1.2))
            if waters
            else random.choice((0, 0, 12))
        )
        yield at, frames.water_index(litres, at)
        at += _METER_INTERVAL


def _probe_frames(probe: Probe, start: datetime, end: datetime, random: Random) -> Iterator[_Frame]:
    tension = random.uniform(20.0, 45.0)
    watered_on = random.randrange(2)
    volts = 3.2
    at = start + timedelta(seconds=random.randrange(int(_PROBE_INTERVAL.total_seconds())))
    while at < end:
        warmth = air_temperature(at)
        tension = min(tension + probe.thirst * max(warmth - 6.0, 0.5) / 5.0, _DRIEST)
        day = (at - start).days
        if (day + watered_on) % 2 and 0.0 <= _hour(at) - _WATERING_HOUR < 2.0:  # noqa: PLR2004 - hours
            tension = _WET * probe.thirst
        volts -= 0.0002
        # The soil follows the air late and weakly.
        celsius = 15.0 + (air_temperature(at - timedelta(hours=4)) - 15.0) * 0.4
        yield (
            _second(at),
            frames.soil(
                probe.serial,
                tension=tension + random.uniform(-0.3, 0.3),
                celsius=celsius,
                volts=volts,
            ),
        )
        at += _PROBE_INTERVAL


def _numbered(dev_eui: str, profile: str, told: Iterable[_Frame]) -> Iterator[Uplink]:
    in_order = sorted(told, key=lambda frame: frame[0])
    for f_cnt, (at, (f_port, payload)) in enumerate(in_order):
        yield Uplink(at, dev_eui, profile, f_cnt, f_port, payload)


def _random_of(dev_eui: str, seed: int) -> Random:
    return Random(f"{seed} {dev_eui}")  # noqa: S311 - a story, not a secret


def _when(event: Event) -> datetime:
    return event.at


def _hour(at: datetime) -> float:
    local = at.astimezone(_LOCAL)
    return local.hour + local.minute / 60.0


def _second(at: datetime) -> datetime:
    return at.replace(microsecond=0)
