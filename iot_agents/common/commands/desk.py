"""The desk of one agent: takes commands in, has them sent, and follows them to their end.

At most once: that a command is about to leave is on disk before it leaves, and what became of it
afterwards. What was in between when the process ended is not sent again unless it is idempotent;
it fails with a text that says so, and an answer that comes all the same still counts.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, NoReturn, TypeVar

from broker.core.backoff import Backoff
from iot_agents.common.commands import reports, rows
from iot_agents.common.commands.model import (
    Command,
    CommandOutcome,
    Courier,
    Done,
    Failed,
    Fate,
    Held,
    Label,
    NetworkReport,
    NotNow,
    Sent,
    State,
    Unsure,
)
from iot_agents.common.commands.provisioned import find_command
from iot_agents.common.commands.showing import said, status_entry
from iot_agents.common.registry import Registry
from iot_agents.common.registry_rows import Known
from iot_agents.common.spool import Entry, Spool, SpoolFull

T = TypeVar("T")

_log = logging.getLogger(__name__)
_AT_A_TIME = 200
_LONGEST_SLEEP = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """How commands are treated unless they are provisioned otherwise.

    Attributes:
        expiry: seconds until a command is given up.
        timeout: seconds a transport has to send one.
        in_flight: commands sent at a time, each to another device.
        max_open: commands that may be unfinished; more are refused.
        keep: finished commands that can be looked at.
        keep_age: seconds for which they can, and a request is known again.
    """

    expiry: float = 86_400.0
    timeout: float = 10.0
    in_flight: int = 20
    max_open: int = 100_000
    keep: int = 10_000
    keep_age: float = 604_800.0
    backoff: Backoff = field(default_factory=Backoff)


@dataclass(frozen=True, slots=True)
class Asked:
    """A command that somebody asks for.

    Attributes:
        name: of the attribute, compact or expanded.
        key: the same for every delivery of the same request; empty when nothing can tell.
        expiry: seconds until it is given up; None is what is provisioned.
        at: when it was asked for; None is now.
        stored: whether the broker keeps what was asked for as the attribute's value.
    """

    tenant: str
    entity_id: str
    name: str
    value: Any
    key: str = ""
    expiry: float | None = None
    at: datetime | None = None
    stored: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a request.

    Attributes:
        ids: of the commands that had not come before.
        entities: of the devices that have the command, whether or not it had come before.
    """

    ids: Sequence[str] = ()
    entities: Collection[str] = ()


class TooManyCommands(Exception):
    """So many commands are unfinished that no more are taken."""


class Desk:
    """Commands of one agent."""

    def __init__(
        self,
        spool: Spool,
        registry: Registry,
        *,
        clock: Callable[[], datetime],
        manners: Manners | None = None,
    ) -> None:
        self._spool = spool
        self._registry = registry
        self._clock = clock
        self._manners = manners or Manners()
        self._couriers: list[Courier] = []
        self._wake = asyncio.Event()
        self._sending = 0
        self._attempts: dict[int, int] = {}

    def add_courier(self, courier: Courier) -> None:
        """Let a transport bring the commands of the devices it serves."""
        self._couriers.append(courier)

    def serves(self, in_force: Mapping[str, Any]) -> bool:
        """Tell whether a transport of this agent serves devices provisioned like this."""
        return self._courier(in_force) is not None

    async def ask(self, asked: Sequence[Asked]) -> Taken:
        """Take commands in, all or none; those of devices or names nobody knows are left out.

        Raises:
            TooManyCommands: nothing was taken.
            SpoolFull: likewise.
            sqlite3.Error: likewise.
        """
        new = [made for one in asked if (made := await self._new(one)) is not None]
        if not new:
            return Taken()
        if self._spool.full:
            raise SpoolFull("the spool is full")
        open_now = await self._spool.database.submit(rows.unfinished)
        if open_now + len(new) > self._manners.max_open:
            raise TooManyCommands(f"{open_now} commands are unfinished")
        ids = await self._spool.change(partial(rows.request, commands=new, now=self._now()))
        self._wake.set()
        return Taken(ids, {each.entity_id for each in new})

    async def answered(
        self, tenant: str, known: Known, name: str, result: Any, *, failed: bool = False
    ) -> str:
        """Note a device's answer; it need not answer a command that is known here.

        Returns:
            The id of the command that it finishes, or nothing.
        """
        entity_id, kind = entity_of(known)
        state = State.FAILED if failed else State.DONE
        now = self._now()
        shown = said(name, "ERROR" if failed else "OK", result, now)
        job = partial(
            rows.answered,
            tenant=tenant,
            entity_id=entity_id,
            name=name,
            state=state,
            info=result,
            now=now,
        )

        def finish(connection: sqlite3.Connection) -> tuple[str, Sequence[Any]]:
            command_id, entries = job(connection)
            if not command_id:
                device = known.device.device_id
                entries = (status_entry(tenant, device, entity_id, kind, shown),)
            return command_id, entries

        return await self._changed(finish)

    async def reported(self, report: NetworkReport) -> Sequence[str]:
        """Note what a network tells of commands; see `reports.reported`.

        Raises:
            sqlite3.Error: it could not be written.
        """
        if report.fate is Fate.QUEUED:
            return ()
        return await self._changed(partial(reports.reported, report=report, now=self._now()))

    async def hurry(self, address: str) -> None:
        """Try commands for a device again at once: its network can reach it, as it told.

        Raises:
            sqlite3.Error: it could not be written.
        """
        job = partial(reports.hurried, address=address)
        if await self._spool.database.submit(job):
            self._wake.set()

    async def _changed(self, job: Callable[[sqlite3.Connection], tuple[T, Sequence[Entry]]]) -> T:
        """Change the states of commands, for which another one may have been waiting."""
        result = await self._spool.change(job)
        self._wake.set()
        return result

    async def fetch(self, known: Known, limit: int = 100) -> Sequence[rows.Row]:
        """Return what a device that polls is to do now; it is delivered with that."""
        entity_id, _ = entity_of(known)
        tenant = known.device.service
        job = partial(rows.fetch, tenant=tenant, entity_id=entity_id, now=self._now(), limit=limit)
        return await self._spool.change(job)

    async def entities(self, tenant: str, kind: str, apikey: str, limit: int) -> Sequence[str]:
        """Return the entities of this agent's devices with commands, by type and apikey.

        Args:
            kind: the entities' type; empty is any. Likewise `apikey`.
        """
        found: list[str] = []
        after = 0
        while True:
            after, page = await self._registry.commanded(after, _AT_A_TIME)
            for known in page:
                entity_id, own_kind = entity_of(known)
                if (
                    known.device.service == tenant
                    and kind in ("", own_kind)
                    and apikey in ("", known.in_force.get("apikey", ""))
                    and self.serves(known.in_force)
                ):
                    found.append(entity_id)
            if not after or len(found) >= limit:
                return found[:limit]

    async def cancel(self, command_id: str) -> bool:
        """Give up a command that has not left; False when there is no such command."""
        job = partial(rows.cancel, command_id=command_id, now=self._now())
        return await self._changed(job)

    async def listed(self, selection: rows.Selection) -> Sequence[rows.Row]:
        """Return commands, the newest first."""
        return await self._spool.database.submit(partial(rows.listed, selection=selection))

    async def one(self, command_id: str) -> rows.Row | None:
        """Return a command."""
        return await self._spool.database.submit(partial(rows.one, command_id=command_id))

    async def run(self) -> NoReturn:
        """Send and expire until cancelled."""
        await self._recover()
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    await self._expire()
                    for row in await self._due():
                        self._sending += 1
                        group.create_task(self._send(row), name="command")
                    until = await self._spool.database.submit(
                        partial(rows.next_moment, now=self._now())
                    )
                except sqlite3.Error as error:
                    _log.warning("commands wait: %s", error)
                    until = None
                await self._sleep(until)

    async def _recover(self) -> None:
        doubtful = await self._spool.change(partial(rows.recover, now=self._now()))
        if doubtful:
            _log.warning("%d commands may have left before the last stop", doubtful)

    async def _due(self) -> Sequence[rows.Row]:
        room = self._manners.in_flight - self._sending
        if room <= 0:
            return ()
        return await self._spool.database.submit(partial(rows.claim, now=self._now(), limit=room))

    async def _expire(self) -> None:
        job = partial(rows.expire, now=self._now(), limit=_AT_A_TIME)
        while await self._spool.change(job) == _AT_A_TIME:
            job = partial(rows.expire, now=self._now(), limit=_AT_A_TIME)
        before = self._now() - self._manners.keep_age
        await self._spool.database.submit(
            partial(rows.forget, before=before, keep=self._manners.keep)
        )

    async def _sleep(self, until: float | None) -> None:
        wait = _LONGEST_SLEEP if until is None else min(until - self._now(), _LONGEST_SLEEP)
        try:
            async with asyncio.timeout(max(wait, 0.01)):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    async def _send(self, row: rows.Row) -> None:
        try:
            outcome = await self._outcome(row)
            await self._record(row, outcome)
        except sqlite3.Error as error:
            # It stays in `sending`, and the next start decides on it.
            _log.warning("command %s: what became of it cannot be written: %s", row.id, error)
        finally:
            self._sending -= 1
            self._wake.set()

    async def _outcome(self, row: rows.Row) -> CommandOutcome:
        known = await self._registry.by_entity(row.tenant, row.entity_id)
        if known is None:
            return Failed("the device is not provisioned any more")
        courier = self._courier(known.in_force)
        if courier is None:
            return Failed("no transport of this agent serves the device")
        command = Command(
            row.id,
            known,
            row.entity_id,
            row.name,
            row.value,
            datetime.fromtimestamp(row.expires, UTC),
            row.idempotent,
        )
        try:
            async with asyncio.timeout(self._manners.timeout):
                return await courier.send(command, partial(self._label, row.seq))
        except TimeoutError:
            return Unsure(f"it could not be sent within {self._manners.timeout:g} s")
        except Exception as error:  # noqa: BLE001 - one command must not stop the others
            _log.exception("command %s: unexpected error", row.id)
            return Unsure(f"unexpected error: {error!r}")

    async def _label(self, seq: int, label: Label) -> None:
        await self._spool.database.submit(partial(reports.label, seq=seq, label=label))

    async def _record(self, row: rows.Row, outcome: CommandOutcome) -> None:
        match outcome:
            case Sent(acknowledged, replaced):
                await self._move(row, State.ACKNOWLEDGED if acknowledged else State.SENT)
                if replaced:
                    job = partial(reports.replaced, seq=row.seq, now=self._now())
                    await self._changed(job)
            case Held():
                await self._move(row, State.HELD)
            case Done(result):
                await self._move(row, State.DONE, result)
            case Failed(reason):
                _log.warning("command %s of %s failed: %s", row.name, row.device_id, reason)
                await self._move(row, State.FAILED, reason)
            case NotNow(reason):
                await self._postpone(row, reason)
            case Unsure(reason) if row.idempotent:
                await self._postpone(row, reason)
            case Unsure(reason):
                _log.warning("command %s of %s is in doubt: %s", row.name, row.device_id, reason)
                doubt = f"{reason}; the device may have got it or not"
                await self._move(row, State.FAILED, doubt)

    async def _move(self, row: rows.Row, state: State, info: Any = "") -> None:
        self._attempts.pop(row.seq, None)
        job = partial(rows.move, seq=row.seq, state=state, now=self._now(), info=info)
        await self._spool.change(job)

    async def _postpone(self, row: rows.Row, reason: str) -> None:
        attempts = self._attempts[row.seq] = self._attempts.get(row.seq, 0) + 1
        not_before = self._now() + self._manners.backoff.delay(attempts)
        await self._spool.database.submit(
            partial(rows.postpone, seq=row.seq, not_before=not_before, reason=reason)
        )

    async def _new(self, asked: Asked) -> rows.NewCommand | None:
        known = await self._registry.by_entity(asked.tenant, asked.entity_id)
        if known is None or not self.serves(known.in_force):
            return None
        found = find_command(known.in_force, asked.name)
        if found is None:
            return None
        entity_id, kind = entity_of(known)
        expiry = next(
            each for each in (asked.expiry, found.expiry, self._manners.expiry) if each is not None
        )
        at = self._now() if asked.at is None else asked.at.timestamp()
        return rows.NewCommand(
            id=uuid.uuid4().hex,
            key=asked.key,
            tenant=asked.tenant,
            entity_id=entity_id,
            entity_type=kind,
            device_id=known.device.device_id,
            name=found.name,
            value=asked.value,
            idempotent=found.idempotent,
            alone=found.alone,
            at=at,
            expires=at + expiry,
            stored=asked.stored,
        )

    def _courier(self, in_force: Mapping[str, Any]) -> Courier | None:
        return next((each for each in self._couriers if each.serves(in_force)), None)

    def _now(self) -> float:
        return self._clock().timestamp()


def entity_of(known: Known) -> tuple[str, str]:
    """Return id and type of the entity that stands for a device."""
    return str(known.in_force.get("entity_name", "")), str(known.in_force.get("entity_type", ""))
