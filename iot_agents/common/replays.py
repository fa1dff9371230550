"""What waited of a device goes on when the device becomes known: before anything new of it.

Nothing is lost when the process is killed in between: a measure leaves the waiting room after it
is in the spool, and until then it has a key of its own, by which the spool knows it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from iot_agents.common.measure import Measure, Outcome, Ticket
from iot_agents.common.registry_rows import Known
from iot_agents.common.spool import SpoolFull
from iot_agents.common.waiting_room import WaitingRoom, WaitingRow, Who

Reread = Callable[[Measure, Known], Sequence[Measure]]
"""Reads a message that waited again, now that its device is known; raises no errors."""

Take = Callable[[Measure, Known], Awaitable[Ticket]]
"""Takes a measure of a known device."""


@dataclass(slots=True)
class _Turn:
    """Who replays a device, and how many want to."""

    lock: asyncio.Lock
    wanted: int = 0


def as_it_was(measure: Measure, _: Known) -> Sequence[Measure]:
    """Return a measure whose transport need not know the device to read it."""
    return (measure,)


class Replays:
    """Lets measures out of a waiting room."""

    def __init__(self, waiting: WaitingRoom, take: Take) -> None:
        self._waiting = waiting
        self._take = take
        self._turns: dict[Who, _Turn] = {}
        self.reread: Reread = as_it_was
        """How messages are read again; a transport that needs the device for it says how."""

    async def let_out(self, who: Who, known: Known, *, unknown_only: bool = True) -> int:
        """Let what waits of a device go on, in the order it came, and return how much did.

        Args:
            unknown_only: leave what waits for a mapping.

        Raises:
            SpoolFull: the rest waits on.
            NotDurable: likewise.
            sqlite3.Error: likewise.
        """
        turn = self._turns.setdefault(who, _Turn(asyncio.Lock()))
        turn.wanted += 1
        try:
            async with turn.lock:
                return await self._let_out(who, known, unknown_only=unknown_only)
        finally:
            turn.wanted -= 1
            if not turn.wanted:
                self._turns.pop(who, None)

    async def _let_out(self, who: Who, known: Known, *, unknown_only: bool) -> int:
        last = moved = 0
        while rows := await self._waiting.rows(who, after=last, unknown_only=unknown_only):
            last = rows[-1].seq
            taken, full = await self._take_rows(rows, known)
            gone, stay = [], {}
            for seq, tickets in taken:
                reasons = [ticket.reason for ticket in tickets if await _waits(ticket)]
                if reasons:
                    stay[seq] = reasons[0]
                else:
                    gone.append(seq)
            await self._waiting.release(gone, stay)
            moved += len(gone)
            if full is not None:
                raise full
        return moved

    async def _take_rows(
        self, rows: Sequence[WaitingRow], known: Known
    ) -> tuple[Sequence[tuple[int, Sequence[Ticket]]], SpoolFull | None]:
        taken = []
        for row in rows:
            try:
                taken.append((row.seq, await self._all_of(row, known)))
            except SpoolFull as error:
                return taken, error
        return taken, None

    async def _all_of(self, row: WaitingRow, known: Known) -> Sequence[Ticket]:
        if row.measure is None:
            return (_UNREADABLE,)
        return [
            await self._take(_waited(measure, f"waiting/{row.seq}/{number}"), known)
            for number, measure in enumerate(self.reread(row.measure, known))
        ]


_UNREADABLE = Ticket(Outcome.WAITING, reason="a former version kept nothing but its payload")


async def _waits(ticket: Ticket) -> bool:
    return await ticket.durable() is Outcome.WAITING


def _waited(measure: Measure, key: str) -> Measure:
    return replace(measure, key=measure.key or key, waited=True)
