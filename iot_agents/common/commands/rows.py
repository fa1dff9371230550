"""Commands as rows of an agent's spool file, and the entities that show their state.

Each function runs in the file's writer thread, within one transaction. Those that change a state
return the entries by which the broker will hear of it, so that both are durable together.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from iot_agents.common.commands.model import OPEN, STATUS, State
from iot_agents.common.commands.provisioned import UNASKED
from iot_agents.common.commands.showing import moment, said, status_entry
from iot_agents.common.spool import Entry

_COLUMNS: Final = (
    "seq, id, tenant, entity_id, entity_type, device_id, name, value, state, idempotent, info,"
    " at, changed, expires, confirmed"
)
_ANSWERABLE: Final = (State.SENDING, State.SENT, State.ACKNOWLEDGED, State.HELD)
LATE: Final = (State.EXPIRED, State.FAILED)
_OVER: Final = (*LATE, State.DONE)
_UNFINISHED: Final = (*OPEN, State.SENDING)


@dataclass(frozen=True, slots=True)
class NewCommand:
    """A command as it is asked for.

    Attributes:
        key: the same for every delivery of the same request; empty when nothing can tell.
        alone: whether it waits until the one of its name before it is finished.
        at: when it was asked for, in seconds since 1970; `expires` likewise.
        stored: whether the broker keeps what was asked for as the attribute's value.
    """

    id: str
    key: str
    tenant: str
    entity_id: str
    entity_type: str
    device_id: str
    name: str
    value: Any
    idempotent: bool
    alone: bool
    at: float
    expires: float
    stored: bool


@dataclass(frozen=True, slots=True)
class Row:
    """A command as it is kept; moments are in seconds since 1970."""

    seq: int
    id: str
    tenant: str
    entity_id: str
    entity_type: str
    device_id: str
    name: str
    value: Any
    state: State
    idempotent: bool
    info: Any
    at: float
    changed: float
    expires: float
    confirmed: bool

    def document(self) -> dict[str, Any]:
        """Return the JSON form that operators see."""
        return {
            "id": self.id,
            "tenant": self.tenant,
            "entity": self.entity_id,
            "type": self.entity_type,
            "device_id": self.device_id,
            "command": self.name,
            "value": self.value,
            "state": self.state,
            "status": STATUS.get(self.state, STATUS[State.REQUESTED]),
            "info": self.info,
            "idempotent": self.idempotent,
            "requestedAt": moment(self.at),
            "changedAt": moment(self.changed),
            "expiresAt": moment(self.expires),
        }


@dataclass(frozen=True, slots=True)
class Selection:
    """Which commands to list; empty members match all."""

    tenant: str | None = None
    entity_id: str = ""
    device_id: str = ""
    state: str = ""
    limit: int = 100


def request(
    connection: sqlite3.Connection, *, commands: Sequence[NewCommand], now: float
) -> tuple[Sequence[str], Sequence[Entry]]:
    """Add commands and return the ids of those that had not come before."""
    added: list[str] = []
    entries: list[Entry] = []
    for new in commands:
        cursor = connection.execute(
            "INSERT OR IGNORE INTO command (id, key, tenant, entity_id, entity_type, device_id,"
            " name, value, state, idempotent, alone, handle, info, at, changed, expires,"
            " not_before) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', '\"\"', ?, ?, ?, 0)",
            (
                new.id,
                new.key or None,
                new.tenant,
                new.entity_id,
                new.entity_type,
                new.device_id,
                new.name,
                msgspec.json.encode(new.value),
                State.REQUESTED.value,
                new.idempotent,
                new.alone,
                new.at,
                now,
                new.expires,
            ),
        )
        if cursor.rowcount:
            added.append(new.id)
            entries.append(_pending(new, now))
    return added, entries


def claim(connection: sqlite3.Connection, *, now: float, limit: int) -> Sequence[Row]:
    """Record what is about to be sent: of each entity the first that was not sent yet.

    One that goes alone, and with it all after it, waits for those of its name that were sent.
    """
    found = connection.execute(
        f"SELECT {_COLUMNS} FROM command WHERE state = 'requested' AND not_before <= ?"
        " AND expires > ? AND NOT EXISTS ("
        "  SELECT 1 FROM command AS earlier WHERE earlier.tenant = command.tenant"
        "  AND earlier.entity_id = command.entity_id"
        "  AND (earlier.state IN ('requested', 'sending') OR (command.alone"
        "   AND earlier.name = command.name AND earlier.state IN ('held', 'sent', 'acknowledged')))"
        "  AND earlier.seq < command.seq)"
        " ORDER BY seq LIMIT ?",
        (now, now, limit),
    )
    rows = [_row(row) for row in found]
    connection.executemany(
        "UPDATE command SET state = 'sending', changed = ? WHERE seq = ?",
        [(now, row.seq) for row in rows],
    )
    return rows


def next_moment(connection: sqlite3.Connection, *, now: float) -> float | None:
    """Return when something will become due or expire next, None when nothing will."""
    (expiry,) = connection.execute(
        f"SELECT min(expires) FROM command WHERE state IN ({marks(OPEN)})", OPEN
    ).fetchone()
    (retry,) = connection.execute(
        "SELECT min(not_before) FROM command WHERE state = 'requested' AND not_before > ?", (now,)
    ).fetchone()
    return min((at for at in (expiry, retry) if at is not None), default=None)


def postpone(connection: sqlite3.Connection, *, seq: int, not_before: float, reason: str) -> None:
    """Put a command back that did not leave."""
    connection.execute(
        "UPDATE command SET state = 'requested', not_before = ?, info = ?"
        " WHERE seq = ? AND state = 'sending'",
        (not_before, msgspec.json.encode(reason), seq),
    )


def move(
    connection: sqlite3.Connection,
    *,
    seq: int,
    state: State,
    now: float,
    info: Any = "",
) -> tuple[bool, Sequence[Entry]]:
    """Put a command that is being sent into another state."""
    found = select(connection, "seq = ? AND state = 'sending'", (seq,))
    if not found:
        return False, ()
    entry = put_into(connection, found[0], state, now, info)
    # What is held is as pending to the one who asked as it was before.
    return True, () if state is State.HELD else (entry,)


def answered(
    connection: sqlite3.Connection,
    *,
    tenant: str,
    entity_id: str,
    name: str,
    state: State,
    info: Any,
    now: float,
) -> tuple[str, Sequence[Entry]]:
    """Finish the oldest command of a name that waits for its answer.

    Without one, the last takes it if it was given up: the answer came late.

    Returns:
        The command's id; empty when there is none, and then nothing was changed.
    """
    where = "tenant = ? AND entity_id = ? AND name = ? AND state IN"
    named = (tenant, entity_id, name)
    found = select(
        connection, f"{where} ({marks(_ANSWERABLE)}) ORDER BY seq", (*named, *_ANSWERABLE)
    ) or select(connection, f"{where} ({marks(_OVER)}) ORDER BY seq DESC", (*named, *_OVER))
    if not found or found[0].state is State.DONE:
        # What is done already was answered: this is its answer again, or nobody asked for it.
        return "", ()
    return found[0].id, [put_into(connection, found[0], state, now, info)]


def fetch(
    connection: sqlite3.Connection, *, tenant: str, entity_id: str, now: float, limit: int
) -> tuple[Sequence[Row], Sequence[Entry]]:
    """Hand over what is held for a device, the first command of each name."""
    held = select(
        connection,
        "tenant = ? AND entity_id = ? AND state = 'held' AND expires > ?"
        " GROUP BY name HAVING seq = min(seq) ORDER BY seq",
        (tenant, entity_id, now),
        limit,
    )
    return held, [put_into(connection, row, State.ACKNOWLEDGED, now, "") for row in held]


def expire(
    connection: sqlite3.Connection, *, now: float, limit: int
) -> tuple[int, Sequence[Entry]]:
    """Give up what is too old and return how much that was."""
    found = select(connection, f"state IN ({marks(OPEN)}) AND expires <= ?", (*OPEN, now), limit)
    entries = [put_into(connection, row, State.EXPIRED, now, _late(row)) for row in found]
    return len(found), entries


def recover(connection: sqlite3.Connection, *, now: float) -> tuple[int, Sequence[Entry]]:
    """Decide on what was being sent when the process ended, and return how much is in doubt."""
    connection.execute(
        "UPDATE command SET state = 'requested' WHERE state = 'sending' AND idempotent"
    )
    doubtful = select(connection, "state = 'sending'", (), -1)
    reason = "the agent stopped while sending: the device may have got it or not"
    return len(doubtful), [put_into(connection, row, State.FAILED, now, reason) for row in doubtful]


def cancel(
    connection: sqlite3.Connection, *, command_id: str, now: float
) -> tuple[bool, Sequence[Entry]]:
    """Give up a command that has not left; False when there is no such command."""
    found = select(connection, "id = ? AND state IN ('requested', 'held')", (command_id,))
    if not found:
        return False, ()
    return True, [put_into(connection, found[0], State.FAILED, now, "cancelled")]


def forget(connection: sqlite3.Connection, *, before: float, keep: int) -> int:
    """Remove finished commands that are too old or too many, and return how many."""
    finished = f"state NOT IN ({marks(_UNFINISHED)})"
    removed = connection.execute(
        f"DELETE FROM command WHERE {finished} AND changed < ?", (*_UNFINISHED, before)
    ).rowcount
    return removed + (
        connection.execute(
            f"DELETE FROM command WHERE {finished} AND seq <="
            f" (SELECT seq FROM command WHERE {finished} ORDER BY seq DESC LIMIT 1 OFFSET ?)",
            (*_UNFINISHED, *_UNFINISHED, keep),
        ).rowcount
    )


def unfinished(connection: sqlite3.Connection) -> int:
    """Count the commands that are not finished."""
    (count,) = connection.execute(
        f"SELECT count(*) FROM command WHERE state IN ({marks(_UNFINISHED)})", _UNFINISHED
    ).fetchone()
    return int(count)


def listed(connection: sqlite3.Connection, *, selection: Selection) -> Sequence[Row]:
    """Return commands, the newest first."""
    conditions: Mapping[str, str | None] = {
        "tenant": selection.tenant,
        "entity_id": selection.entity_id or None,
        "device_id": selection.device_id or None,
        "state": selection.state or None,
    }
    given = {name: value for name, value in conditions.items() if value is not None}
    where = " AND ".join(f"{name} = ?" for name in given) or "1"
    return select(connection, f"{where} ORDER BY seq DESC", tuple(given.values()), selection.limit)


def one(connection: sqlite3.Connection, *, command_id: str) -> Row | None:
    """Return a command."""
    found = select(connection, "id = ?", (command_id,))
    return found[0] if found else None


def _pending(new: NewCommand, now: float) -> Entry:
    shown = said(new.name, STATUS[State.REQUESTED], None, now, new.id)
    if new.stored:
        # To a broker the same value again would be no change, and the same command never come.
        shown[new.name] = {"type": "Property", "value": UNASKED}
    return status_entry(new.tenant, new.device_id, new.entity_id, new.entity_type, shown)


def _late(row: Row) -> str:
    seconds = round(row.expires - row.at, 3)
    what = "never left" if row.state in (State.REQUESTED, State.HELD) else "was not answered"
    return f"it {what} within {seconds:g} s"


def put_into(
    connection: sqlite3.Connection,
    row: Row,
    state: State,
    now: float,
    info: Any,
) -> Entry:
    """Put a command into a state and return the entry that tells the broker."""
    connection.execute(
        "UPDATE command SET state = ?, changed = ?, info = ? WHERE seq = ?",
        (state.value, now, msgspec.json.encode(info), row.seq),
    )
    finished = state not in _UNFINISHED
    shown = said(row.name, STATUS[state], info if finished else None, now, row.id)
    return status_entry(row.tenant, row.device_id, row.entity_id, row.entity_type, shown)


def select(
    connection: sqlite3.Connection, where: str, values: Sequence[Any], limit: int = 1
) -> list[Row]:
    """Return the commands for which a condition holds."""
    query = f"SELECT {_COLUMNS} FROM command WHERE {where} LIMIT ?"
    return [_row(row) for row in connection.execute(query, (*values, limit))]


def marks(values: Sequence[str]) -> str:
    """Return as many question marks as there are values."""
    return ", ".join("?" * len(values))


def _row(row: tuple[Any, ...]) -> Row:
    seq, command_id, tenant, entity_id, kind, device_id, name, value, state, *rest = row
    idempotent, info, at, changed, expires, confirmed = rest
    return Row(
        seq,
        command_id,
        tenant,
        entity_id,
        kind,
        device_id,
        name,
        msgspec.json.decode(value),
        State(state),
        bool(idempotent),
        msgspec.json.decode(info),
        at,
        changed,
        expires,
        bool(confirmed),
    )
