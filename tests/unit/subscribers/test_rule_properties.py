"""Alerts of random stories equal those found by looking at every minute."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from tests.support.rule_lab import BLOCKED, RuleLab

POINTS = ("urn:ngsi-ld:EVChargingPoint:1", "urn:ngsi-ld:EVChargingPoint:2")
BAYS = ("urn:ngsi-ld:ParkingSpot:1", "urn:ngsi-ld:ParkingSpot:2")
LASTS = 15
LATENESS = 20
END = 240
STATES = {"subject": ("available", "charging", "blocked"), "linked": ("free", "occupied")}


@dataclass(frozen=True, slots=True)
class Told:
    """One observation: made at a minute, arriving after a delay, maybe twice."""

    at: int
    part: str
    entity_id: str
    state: str
    delay: int
    again_after: int


@st.composite
def stories(draw: st.DrawFn) -> list[Told]:
    entities = [("subject", point) for point in POINTS] + [("linked", bay) for bay in BAYS]
    told = []
    for part, entity_id in entities:
        # Known from the start, so that each minute has an answer.
        times = draw(st.sets(st.integers(1, END - 1), max_size=8)) | {0}
        for at in sorted(times):
            state = draw(st.sampled_from(STATES[part]))
            delay = draw(st.integers(0, LATENESS - 1))
            again_after = draw(st.sampled_from((0, 0, 1, 30)))
            told.append(Told(at, part, entity_id, state, delay, again_after))
    return told


def arrivals(story: list[Told]) -> list[tuple[int, Told]]:
    """Return when each observation comes in, second deliveries after first ones."""
    first = [(told.at + told.delay, told) for told in story]
    again = [(at + told.again_after, told) for at, told in first if told.again_after]
    return sorted(first + again, key=lambda arrival: arrival[0])


def expected(story: list[Told]) -> set[tuple[str, int, str]]:
    """Look at every minute of every pair."""
    alerts = set()
    for point, bay in zip(POINTS, BAYS, strict=True):
        minutes = [
            state_at(story, point, now) != "charging" and state_at(story, bay, now) == "occupied"
            for now in range(END)
        ]
        start = 0
        for holds, run in groupby(minutes):
            length = len(list(run))
            if holds and (length >= LASTS):
                alerts.add(("raised", start + LASTS, f"{point} {bay}"))
                if start + length < END:
                    alerts.add(("cleared", start + length, f"{point} {bay} since {start}"))
            start += length
    return alerts


def state_at(story: list[Told], entity_id: str, now: int) -> str:
    return max((t for t in story if t.entity_id == entity_id and t.at <= now), key=_at).state


def _at(told: Told) -> int:
    return told.at


@given(stories(), st.sets(st.integers(0, 60)))
def test_alerts_do_not_depend_on_the_order_of_arrival_nor_on_restarts(
    story: list[Told], restarts: set[int]
) -> None:
    lab = RuleLab(BLOCKED, lateness=f"{LATENESS}min")
    for point, bay in zip(POINTS, BAYS, strict=True):
        lab.link(point, bay)
    happened = []

    newest = 0
    for number, (_, told) in enumerate(arrivals(story)):
        lab.tell(told.part, told.entity_id, told.at, status=told.state)
        newest = max(newest, told.at)
        happened += lab.pass_to(newest)
        if number in restarts:
            lab.restart()
    happened += lab.pass_to(END + LATENESS)

    assert len(happened) == len(set(happened))
    assert set(happened) == expected(story)
