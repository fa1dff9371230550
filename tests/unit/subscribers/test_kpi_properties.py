"""KPIs of random event series equal those found by looking at every minute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from subscribers.common.instants import to_instant
from tests.support.engine_bench import EngineBench
from tests.support.kpi_bench import LONGEST, OCCUPANCY, ROTATIONS, SOURCE, binding_of, kpi_bench

PARIS = ZoneInfo("Europe/Paris")
# The second of these days has 23 hours.
START = datetime(2026, 3, 28, tzinfo=PARIS).astimezone(UTC)
DAYS = [datetime(2026, 3, day, tzinfo=PARIS).astimezone(UTC) for day in (28, 29, 30, 31)]
MINUTES = round((DAYS[-1] - START).total_seconds() / 60)
LATENESS = 12 * 60
SILENT_AFTER = 20 * 60
GROUPS = {
    "urn:ngsi-ld:ParkingSpot:1": "urn:ngsi-ld:ParkingGroup:a",
    "urn:ngsi-ld:ParkingSpot:2": "urn:ngsi-ld:ParkingGroup:a",
    "urn:ngsi-ld:ParkingSpot:3": "urn:ngsi-ld:ParkingGroup:b",
}
QUIET = {**SOURCE, "silentAfter": f"{SILENT_AFTER}min"}
KPIS = [{**document, "source": QUIET} for document in (OCCUPANCY, ROTATIONS, LONGEST)]


@dataclass(frozen=True, slots=True)
class Told:
    """One observation, made at a minute and arriving after a delay, maybe twice."""

    at: int
    spot: str
    state: str
    delay: int
    again_after: int


@st.composite
def stories(draw: st.DrawFn) -> list[Told]:
    told = []
    for spot in GROUPS:
        for at in draw(st.sets(st.integers(0, MINUTES - 1), max_size=12)):
            state = draw(st.sampled_from(("free", "occupied", "occupied", "free", "unknown")))
            delay = draw(st.one_of(st.just(0), st.integers(0, LATENESS - 1)))
            again_after = draw(st.sampled_from((0, 0, 5, 2000)))
            told.append(Told(at, spot, state, delay, again_after))
    return told


def minute(number: int) -> datetime:
    return START + timedelta(minutes=number)


def known_at(story: list[Told], spot: str, now: int) -> str:
    """Return the state that is known at a minute, the empty text for none."""
    last = max((t for t in story if t.spot == spot and t.at <= now), key=_at, default=None)
    if last is None or last.state == "unknown" or now - last.at >= SILENT_AFTER:
        return ""
    return last.state


def _at(told: Told) -> int:
    return told.at


def recomputed(story: list[Told]) -> dict[tuple[str, str, datetime], float]:
    """Compute all KPIs of all days from what was observed."""
    values: dict[tuple[str, str, datetime], float] = {}
    for group in sorted(set(GROUPS.values())):
        spots = [spot for spot, its_group in GROUPS.items() if its_group == group]
        for start, end in pairwise(DAYS):
            window = range(_minutes(start), _minutes(end))
            states = [known_at(story, spot, now) for spot in spots for now in window]
            observed = sum(state != "" for state in states)
            if observed:
                values["occupancy", group, end] = round(states.count("occupied") / observed, 6)
                values["rotations", group, end] = sum(
                    _arrivals(story, spot, window) for spot in spots
                )
            stays = [length for spot in spots for length in _stays(story, spot, window)]
            if stays:
                values["longest", group, end] = max(stays)
    return values


def _minutes(moment: datetime) -> int:
    return round((moment - START).total_seconds() / 60)


def _known(story: list[Told], spot: str) -> list[Told]:
    return sorted((t for t in story if t.spot == spot and t.state != "unknown"), key=_at)


def _arrivals(story: list[Told], spot: str, window: range) -> int:
    known = _known(story, spot)
    return sum(
        (before.state, after.state) == ("free", "occupied") and after.at in window
        for before, after in pairwise(known)
    )


def _stays(story: list[Told], spot: str, window: range) -> list[int]:
    """Return the lengths of the stays with a known beginning that end in a window."""
    lengths = []
    since = None
    known = _known(story, spot)
    for before, after in pairwise(known):
        if (before.state, after.state) == ("free", "occupied"):
            since = after.at
        if (before.state, after.state) == ("occupied", "free") and since is not None:
            if after.at in window:
                lengths.append(after.at - since)
            since = None
    return lengths


def collect(
    written: list[Mapping[str, Any]], values: dict[tuple[str, str, datetime], float]
) -> None:
    """Keep the last value of each KPI, group and window."""
    for entity in written:
        kpi = entity["id"].split(":")[3]
        end = datetime.fromisoformat(entity["kpiValue"]["observedAt"])
        values[kpi, entity["refEntity"]["object"], end] = entity["kpiValue"]["value"]


def replay(bench: EngineBench, story: list[Told], restarts: set[int]) -> dict[Any, float]:
    """Deliver a story and return the last values written."""
    values: dict[tuple[str, str, datetime], float] = {}
    binding = binding_of(KPIS[0])
    # Before the first observation the bench is told where the days begin.
    bench.engine.start(to_instant(START))
    first = [(told.at + told.delay, told) for told in story]
    again = [(at + told.again_after, told) for at, told in first if told.again_after]
    newest = START
    for number, (_, told) in enumerate(sorted(first + again, key=lambda arrival: arrival[0])):
        at = minute(told.at)
        newest = max(newest, at)
        group = GROUPS[told.spot]
        bench.tell(binding, told.spot, newest, at, status=told.state, refParkingGroup=group)
        collect(bench.advance(newest), values)
        if number in restarts:
            bench.restart()
    collect(bench.advance(minute(MINUTES)), values)
    return values


@given(stories(), st.sets(st.integers(0, 50)))
def test_values_do_not_depend_on_the_order_of_arrival_nor_on_restarts(
    story: list[Told], restarts: set[int]
) -> None:
    with kpi_bench(*KPIS) as bench:
        values = replay(bench, story, restarts)

    assert values == recomputed(story)
