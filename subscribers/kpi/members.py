"""The members of one source: what was observed of each, and which groups each belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from subscribers.common.instants import Instant
from subscribers.kpi import model
from subscribers.kpi.publish import EVERYTHING
from subscribers.kpi.series import UNKNOWN, Carry, Series


class Members:
    """Series and groups, by member.

    Attributes:
        series: the observations of each member.
        touched_members: whose groups or carry must be kept on disk, since it was last emptied.
        touched_observations: member and instant of observations to keep, likewise.
    """

    def __init__(self, source: model.Source) -> None:
        """Start without members."""
        self._source = source
        self._groups: dict[str, tuple[str, ...]] = {}
        self._of_group: dict[str, set[str]] = {}
        self.series: dict[str, Series] = {}
        self.touched_members: set[str] = set()
        self.touched_observations: set[tuple[str, Instant]] = set()

    def restore(
        self,
        member: str,
        groups: tuple[str, ...],
        carry: Carry | None,
        observations: Iterable[tuple[Instant, str]],
    ) -> None:
        """Take up what was kept on disk."""
        series = self.series[member] = Series(carry)
        for at, state in observations:
            series.insert(at, state)
        self._put(member, groups)

    def groups(self) -> Iterable[str]:
        """Return the groups that have members."""
        return [group for group, members in self._of_group.items() if members]

    def groups_of(self, member: str) -> tuple[str, ...]:
        """Return the groups of a member."""
        return self._groups.get(member, ())

    def of_group(self, group: str) -> Iterator[Series]:
        """Yield the series of the members of a group."""
        for member in self._of_group.get(group, ()):
            yield self.series[member]

    @property
    def newest(self) -> Instant | None:
        """When the last observation of any member was made."""
        times = [series.newest for series in self.series.values()]
        return max((at for at in times if at is not None), default=None)

    def assign(self, member: str, groups: tuple[str, ...]) -> None:
        """Take which groups a member belongs to."""
        self._ensure(member)
        if self._groups[member] != groups:
            self._put(member, groups)
            self.touched_members.add(member)

    def observe(self, member: str, at: Instant, state: str) -> str:
        """Take an observation and return what became of it: `taken`, `known` or `late`."""
        series = self._ensure(member)
        if series.state_at(at) == state:
            return "known"
        if not series.insert(at, state):
            carry = series.carry
            known = carry is not None and (carry.at, carry.state) == (at, state)
            return "known" if known else "late"
        self.touched_observations.add((member, at))
        return "taken"

    def present(self) -> Iterable[str]:
        """Return the members of which something is known at the moment."""
        return [name for name, series in self.series.items() if series.newest_state != UNKNOWN]

    def forget(self, member: str, now: Instant) -> None:
        """Take that a member is gone: from now on nothing is known of it."""
        self.observe(member, now, UNKNOWN)

    def prune(self, before: Instant) -> list[str]:
        """Fold what is older than an instant; return the members that had such observations."""
        pruned = [member for member, series in self.series.items() if series.prune(before)]
        self.touched_members.update(pruned)
        return pruned

    def _ensure(self, member: str) -> Series:
        series = self.series.get(member)
        if series is None:
            series = self.series[member] = Series()
            self._put(member, self._first_groups(member))
            self.touched_members.add(member)
        return series

    def _first_groups(self, member: str) -> tuple[str, ...]:
        match self._source.group_by:
            case None:
                return (EVERYTHING,)
            case model.EACH:
                return (member,)
            case _:
                return ()

    def _put(self, member: str, groups: tuple[str, ...]) -> None:
        for group in self._groups.get(member, ()):
            self._of_group[group].discard(member)
        self._groups[member] = groups
        for group in groups:
            self._of_group.setdefault(group, set()).add(member)
