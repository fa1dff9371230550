"""What a KPI file says.

    kpi: parking-occupancy-rate           # name, also in the id of its entities
    title: Occupancy rate
    source:
      type: ParkingSpot
      attribute: status
      states: [free, occupied]            # all others mean: not known
      groupBy: refParkingGroup            # one value for each entity this leads to
      silentAfter: 50h                    # not heard of for that long: not known
    measure: {shareOfTime: occupied}
    window: day                           # hour, day, week, month of the local calendar
    lateness: 1d                          # how long after its end a window is still corrected
    unit: C62
    formula: occupied time / observed time
    process: Parking

Measures: `shareOfTime: STATE`, or a list of states, is the time in them by the time observed, over
all members; `changes: {from: STATE, to: STATE}` counts changes from one state to another; `stays:
{state: STATE, take: shortest|longest|mean}` measures the stays in a state that end in the window,
in the unit SEC, MIN or HUR.

A source with `unit` in place of `states` is a counter, such as the index of a meter, given in that
unit; a reading in another unit is not known. Its measure is `increase: true`: by how much the index
grew, over all members, evenly between one reading and the next; so the first reading after the end
of a window corrects it. An index that falls (the meter was exchanged, or began again) begins a new
count.

`groupBy` is a relationship of the members, or `id`: each member is a group of its own.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from subscribers.common.definitions import Name
from subscribers.common.instants import Duration

Text = Annotated[str, msgspec.Meta(min_length=1)]
WindowKind = Literal["hour", "day", "week", "month"]
Take = Literal["shortest", "longest", "mean"]
States = Annotated[tuple[Text, ...], msgspec.Meta(min_length=1)]

NOMINAL: Final[dict[WindowKind, Duration]] = {
    "hour": Duration.read("1h"),
    "day": Duration.read("1d"),
    "week": Duration.read("7d"),
    "month": Duration.read("28d"),
}
"""How long a window is, nearly."""

EACH: Final = "id"
"""What a source is grouped by if each member is a group."""

SECONDS_IN: Final = {"SEC": 1, "MIN": 60, "HUR": 3600}
"""The units a duration can be given in."""


class Source(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Whose state or index is looked at, and how it is grouped; equal sources are observed once."""

    type: Text
    attribute: Text
    states: States | None = None
    unit: Text | None = None
    group_by: Text | None = None
    silent_after: Duration | None = None

    def __post_init__(self) -> None:
        """Refuse what is neither a state nor a counter, and what is both."""
        if (self.states is None) == (self.unit is None):
            raise ValueError("expected either states, or the unit of a counter")

    @property
    def relationship(self) -> str | None:
        """The attribute that leads to the groups, where there is one."""
        return None if self.group_by == EACH else self.group_by

    @property
    def attributes(self) -> tuple[str, ...]:
        """What must be known of the members."""
        return (self.attribute, *(() if self.relationship is None else (self.relationship,)))


class ChangeOf(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A change of state."""

    from_: Text = msgspec.field(name="from")
    to: Text


class StaysIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Stays in a state, and which of them is the value."""

    state: Text
    take: Take


class MeasureModel(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """What is measured: exactly one of these."""

    share_of_time: Text | States | None = None
    changes: ChangeOf | None = None
    stays: StaysIn | None = None
    increase: bool = False

    def __post_init__(self) -> None:
        """Refuse none and several."""
        if sum(map(bool, (self.share_of_time, self.changes, self.stays, self.increase))) != 1:
            raise ValueError("expected one of shareOfTime, changes, stays, increase")

    def states(self) -> tuple[str, ...]:
        """Return the states it names."""
        if self.changes is not None:
            return self.changes.from_, self.changes.to
        if self.stays is not None:
            return (self.stays.state,)
        share = self.share_of_time or ()
        return (share,) if isinstance(share, str) else share


class Kpi(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """One KPI."""

    kpi: Name
    title: Text
    source: Source
    measure: MeasureModel
    window: WindowKind
    unit: Text
    formula: Text
    process: Text
    lateness: Duration = Duration(0)
    time_zone: str | None = None
    description: str = ""

    def __post_init__(self) -> None:
        """Refuse what could never give a right value."""
        unknown = [s for s in self.measure.states() if s not in (self.source.states or ())]
        if unknown:
            raise ValueError(f"measure: {unknown[0]} is not among source.states")
        if self.measure.increase and self.source.unit != self.unit:
            raise ValueError(f"source.unit: expected {self.unit}, as the KPI's, for increase")
        if self.lateness > NOMINAL[self.window]:
            raise ValueError("lateness: a window is corrected until the next one ends at most")
        if self.measure.stays is not None and self.unit not in SECONDS_IN:
            raise ValueError(f"unit: expected one of {', '.join(SECONDS_IN)} for stays")
        if self.time_zone is not None:
            find_zone(self.time_zone)

    @property
    def name(self) -> str:
        """The KPI's name."""
        return self.kpi


def find_zone(name: str) -> ZoneInfo:
    """Return a time zone.

    Raises:
        ValueError: there is none of this name.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name!r:.60} is no time zone") from error
