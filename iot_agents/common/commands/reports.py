"""What networks report of commands they were given, in the rows of an agent's spool file.

As in `rows`, each function runs in the file's writer thread, within one transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from iot_agents.common.commands.model import Fate, Label, NetworkReport, State
from iot_agents.common.commands.rows import LATE, Row, marks, put_into, select
from iot_agents.common.spool import Entry

_NOT_SENT: Final[Sequence[State]] = (State.SENDING, State.SENT)
_IN_NETWORK: Final[Sequence[State]] = (*_NOT_SENT, State.ACKNOWLEDGED)
_UNCONFIRMED: Final = "sent; the device was not asked to confirm it"
_CONFIRMED: Final = "the device confirmed it"
_MOST_HANDLES: Final = 100


def label(connection: sqlite3.Connection, *, seq: int, label: Label) -> None:
    """Note by what a network will mean a command that is being sent."""
    connection.execute(
        "UPDATE command SET address = ?, handle = ?, confirmed = ? WHERE seq = ?",
        (label.address, label.handle, label.confirmed, seq),
    )


def hurried(connection: sqlite3.Connection, *, address: str) -> int:
    """Let what waits for another try to reach a device go at once, and return how much that is."""
    return connection.execute(
        "UPDATE command SET not_before = 0 WHERE address = ? AND state = 'requested'", (address,)
    ).rowcount


def reported(
    connection: sqlite3.Connection, *, report: NetworkReport, now: float
) -> tuple[Sequence[str], Sequence[Entry]]:
    """Note what a network tells of a command it was given, or of several.

    A command that was sent is done where the device was not asked to confirm it. One that was given
    up is done all the same when its own handle says so.

    Returns:
        The ids of the commands of which it tells something new.
    """
    told: list[str] = []
    entries: list[Entry] = []
    for row in _meant(connection, report):
        state, info = _state_of(row, report)
        if state is row.state or (row.state in LATE and state is not State.DONE):
            continue
        told.append(row.id)
        entries.append(put_into(connection, row, state, now, info))
    return told, entries


def _meant(connection: sqlite3.Connection, report: NetworkReport) -> Sequence[Row]:
    if report.handles is None:
        # Its queue is a queue: what was put in first is sent first, and confirmed first.
        states = _NOT_SENT if report.fate is Fate.SENT else _IN_NETWORK
        where = f"address = ? AND state IN ({marks(states)}) AND (confirmed OR ?)"
        any_one = report.fate is not Fate.ACKNOWLEDGED
        return select(connection, f"{where} ORDER BY seq", (report.address, *states, any_one))
    # Whoever may speak for a device may not speak for another one's commands.
    states = (*_IN_NETWORK, *LATE)
    handles = report.handles[:_MOST_HANDLES]
    where = f"address = ? AND handle IN ({marks(handles)}) AND state IN ({marks(states)})"
    return select(connection, where, (report.address, *handles, *states), _MOST_HANDLES)


def _state_of(row: Row, report: NetworkReport) -> tuple[State, str]:
    if report.fate is Fate.SENT:
        return (State.ACKNOWLEDGED, "") if row.confirmed else (State.DONE, _UNCONFIRMED)
    if report.fate is Fate.ACKNOWLEDGED:
        return State.DONE, _CONFIRMED
    return State.FAILED, report.reason


def replaced(
    connection: sqlite3.Connection, *, seq: int, now: float
) -> tuple[int, Sequence[Entry]]:
    """Give up what waited in a network's queue when a command took its place; return how much."""
    same = "address = (SELECT address FROM command WHERE seq = ?)"
    found = select(connection, f"{same} AND state = 'sent' AND seq < ?", (seq, seq), -1)
    reason = "another command took its place in the network's queue"
    return len(found), [put_into(connection, row, State.FAILED, now, reason) for row in found]
