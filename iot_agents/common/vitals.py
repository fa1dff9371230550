"""How devices get on: last seen, lag, last error, and an event when one is not heard in time.

What a measure costs here is a note in memory; the notes go to the registry's file every few
seconds. Of a device that says within how many seconds it should be heard
(`internal_attributes.rigel.expectedInterval`, of its own or of its group) it is noticed when it is
not, by `deviceState` of its Device entity: `noSignal`, and `ok` when it is heard again. With
`internal_attributes.rigel.deviceState` that entity is also told once a minute when the device was
heard last. The time in which no agent ran does not count against a device.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, NoReturn

import msgspec

from broker.core.timestamps import format_timestamp
from iot_agents.common import vital_rows as rows
from iot_agents.common.device import Device, hardware_name
from iot_agents.common.measure import Measure
from iot_agents.common.registry import Registry
from iot_agents.common.registry_rows import Known
from iot_agents.common.spool import Entry, Spool, SpoolFull
from iot_agents.common.vital_rows import Beat, Identity, Vital

NO_SIGNAL: Final = "noSignal"
OK: Final = "ok"

_log = logging.getLogger(__name__)
_AT_A_TIME: Final = 500
_MOST_NAMES: Final = 1000
_LARGEST_MEASURE: Final = 65_536
_LONGEST_ERROR: Final = 1000
_TELL_EVERY: Final = 60.0
_ALIVE_EVERY: Final = 30.0
_STOP_SECONDS: Final = 2.0
_NOBODY: Final = ("", "", "", "")


@dataclass(slots=True)
class _Note:
    """What was heard of a device and is not written yet; see `Beat`."""

    known: Known
    agent: str
    seen: float | None = None
    lag: float | None = None
    measures: int = 0
    errors: int = 0
    failed: float | None = None
    error: str = ""
    measure: bytes | None = None
    measured: float | None = None
    every: float | None = None

    def beat(self) -> Beat:
        """Return the note as it is written."""
        return Beat(
            self.known.device.identity,
            self.agent,
            self.seen,
            self.lag,
            self.measures,
            self.errors,
            self.failed,
            self.error,
            self.measure,
            self.measured,
            self.every,
        )

    def put_before(self, older: _Note) -> None:
        """Take in an older note of the same device."""
        self.measures += older.measures
        self.errors += older.errors
        if self.seen is None:
            self.agent, self.seen = older.agent, older.seen
            self.lag, self.every = older.lag, older.every
        if self.failed is None:
            self.failed, self.error = older.failed, older.error
        if self.measured is None:
            self.measure, self.measured = older.measure, older.measured


class Vitals:
    """What is known of the devices of a process's agents."""

    def __init__(
        self,
        registry: Registry,
        spools: Mapping[str, Spool],
        *,
        clock: Callable[[], datetime],
        interval: float,
    ) -> None:
        """Bind it to the registry and to the spools by which the broker hears, by agent.

        Args:
            interval: seconds between two writings.
        """
        self._registry = registry
        self._spools = spools
        self._clock = clock
        self._interval = interval
        self._notes: dict[Identity, _Note] = {}
        self._named: dict[str, Beat] = {}
        self._told: dict[Identity, float] = {}
        self._lock = asyncio.Lock()
        self._alive = float("-inf")

    def seen(self, agent: str, known: Known, measure: Measure) -> None:
        """Note that a device was heard."""
        now = self._now()
        note = self._note(agent, known)
        note.agent, note.seen = agent, now
        note.lag = max(0.0, now - measure.moment.timestamp())
        note.measures += 1
        note.every = expected_interval(known)
        if known.in_force.get("storeLastMeasure") is True:
            note.measure = rows.encoded(measure.members or measure.payload, _LARGEST_MEASURE)
            note.measured = now

    def failed(self, agent: str, known: Known, reason: str) -> None:
        """Note that a message of a device could not be used, or not wholly."""
        note = self._note(agent, known)
        note.errors += 1
        note.failed, note.error = self._now(), reason[:_LONGEST_ERROR]

    def failed_by_name(self, agent: str, device_id: str, reason: str) -> None:
        """Note the same of a device of which only the name is known, if it is a device at all."""
        name = hardware_name(device_id)
        if name in self._named or len(self._named) < _MOST_NAMES:
            count = self._named[name].errors if name in self._named else 0
            error = reason[:_LONGEST_ERROR]
            self._named[name] = Beat(
                _NOBODY, agent, errors=count + 1, failed=self._now(), error=error
            )

    def _note(self, agent: str, known: Known) -> _Note:
        identity = known.device.identity
        note = self._notes.get(identity)
        if note is None:
            note = self._notes[identity] = _Note(known, agent)
        note.known = known
        return note

    async def of(self, devices: Sequence[Device]) -> Sequence[Vital | None]:
        """Return how devices get on, up to now; None of those that were never heard."""
        await self.flush()
        identities = [device.identity for device in devices]
        return await self._registry.work(partial(rows.read, identities=identities))

    async def forget_measure(self, device: Device) -> None:
        """Forget the last measure of a device."""
        await self.flush()
        await self._registry.work(partial(rows.forget_measure, identity=device.identity))

    async def flush(self) -> None:
        """Write what was heard, and tell of devices that are heard again."""
        async with self._lock:
            named, self._named = self._named, {}
            notes, self._notes = self._notes, {}
            try:
                beats = [note.beat() for note in notes.values()] + await self._known_of(named)
                if beats:
                    await self._tell_of(notes)
                    await self._registry.work(partial(rows.write, beats=beats))
            except BaseException:
                self._take_back(notes)
                raise

    def _take_back(self, notes: Mapping[Identity, _Note]) -> None:
        for identity, note in notes.items():
            newer = self._notes.setdefault(identity, note)
            if newer is not note:
                newer.put_before(note)

    async def _known_of(self, named: Mapping[str, Beat]) -> list[Beat]:
        found = []
        for name, beat in named.items():
            identity = await self._registry.work(partial(rows.named, hardware_id=name))
            if identity is not None:
                found.append(replace(beat, identity=identity))
        return found

    async def _tell_of(self, notes: Mapping[Identity, _Note]) -> None:
        watched = [identity for identity, note in notes.items() if note.every is not None]
        silent = await self._registry.work(partial(rows.silent, identities=watched))
        now = self._now()
        for identity, note in notes.items():
            if note.seen is None:
                continue
            asked = note.known.internal("rigel").get("deviceState") is True
            last = self._told.get(identity, float("-inf"))
            if identity in silent or (asked and now - last >= _TELL_EVERY):
                await self._tell(note.agent, note.known, OK, note.seen, note.seen)
                if asked:
                    self._told[identity] = now

    async def check(self) -> int:
        """Tell of devices that were not heard in time and return how many there were."""
        count = 0
        for agent in self._spools:
            job = partial(rows.overdue, agent=agent, now=self._now(), limit=_AT_A_TIME)
            while found := await self._registry.work(job):
                for each in found:
                    await self._tell(agent, each.known, NO_SIGNAL, each.due, each.seen)
                await self._registry.work(partial(rows.note_silent, found=found))
                count += len(found)
        return count

    async def _tell(self, agent: str, known: Known, state: str, moment: float, seen: float) -> None:
        spool = self._spools.get(agent)
        if spool is None:
            return
        device = known.device
        entity = device_entity(known, state, moment, seen)
        await spool.put(Entry(device.service, device.device_id, (entity,)))

    async def resume(self) -> None:
        """Give devices the time again in which no agent ran."""
        for agent in self._spools:
            await self._registry.work(partial(rows.resume, agent=agent, now=self._now()))

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Write what is left at the end of the block."""
        await self.resume()
        try:
            yield
        finally:
            try:
                async with asyncio.timeout(_STOP_SECONDS):
                    await self.flush()
                    await self._say_alive()
            except (TimeoutError, SpoolFull, sqlite3.Error) as error:
                _log.warning("when devices were heard last could not be written: %s", error)

    async def run(self) -> NoReturn:
        """Write and look after devices until cancelled."""
        while True:
            try:
                await self.flush()
                await self.check()
                if self._now() - self._alive >= _ALIVE_EVERY:
                    await self._say_alive()
            except (SpoolFull, sqlite3.Error) as error:
                _log.warning("how devices get on waits to be written: %s", error)
            await asyncio.sleep(self._interval)

    async def _say_alive(self) -> None:
        self._alive = self._now()
        for agent in self._spools:
            await self._registry.work(partial(rows.alive, agent=agent, now=self._alive))

    def _now(self) -> float:
        return self._clock().timestamp()


@dataclass(frozen=True, slots=True)
class Pulse:
    """The vitals of one agent's devices."""

    vitals: Vitals
    agent: str

    def seen(self, known: Known, measure: Measure) -> None:
        """Note that a device was heard."""
        self.vitals.seen(self.agent, known, measure)

    def failed(self, device: Known | str, reason: str) -> None:
        """Note that a message of a device, or of one of this name, could not be used wholly."""
        if isinstance(device, Known):
            self.vitals.failed(self.agent, device, reason)
        elif device:
            self.vitals.failed_by_name(self.agent, device, reason)


def expected_interval(known: Known) -> float | None:
    """Return the seconds within which a device should be heard, None when nobody said."""
    seconds = known.internal("rigel").get("expectedInterval")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds <= 0:
        return None
    return float(seconds)


def device_entity(known: Known, state: str, moment: float, seen: float) -> dict[str, Any]:
    """Return the Device entity that tells of a device.

    It is the device's own entity where that is a Device, the one that
    `internal_attributes.rigel.deviceEntity` names, or `urn:ngsi-ld:Device:<name in the network>`,
    which is what the mappings that come with Rigel write to.
    """
    own = str(known.in_force.get("entity_name", ""))
    is_own = known.in_force.get("entity_type") == "Device" and own
    chosen = known.internal("rigel").get("deviceEntity")
    usual = own if is_own else f"urn:ngsi-ld:Device:{known.device.hardware_id}"
    entity: dict[str, Any] = {
        "id": chosen if isinstance(chosen, str) and chosen else usual,
        "type": "Device",
        "deviceState": {"type": "Property", "value": state, "observedAt": _text(moment)},
        "dateLastValueReported": {"type": "Property", "value": _text(seen)},
    }
    if own and entity["id"] != own:
        entity["controlledAsset"] = {"type": "Property", "value": [own]}
    return entity


def shown(vital: Vital | None) -> dict[str, Any]:
    """Return how a device gets on as clients see it; empty when it was never heard."""
    if vital is None:
        return {}
    state: dict[str, Any] = {
        "lastSeen": _text(vital.seen),
        "lag": None if vital.lag is None else round(vital.lag, 3),
        "measures": vital.measures,
        "errors": vital.errors,
        "due": _text(vital.due),
        "silent": bool(vital.silent),
    }
    if vital.failed is not None:
        state["lastError"] = {"at": _text(vital.failed), "message": vital.error}
    said = {name: value for name, value in state.items() if value is not None}
    if vital.measure is None:
        return {"state": said}
    measure = {"timestamp": _text(vital.measured), "measure": msgspec.json.decode(vital.measure)}
    return {"state": said, "lastMeasure": measure}


def _text(moment: float | None) -> str | None:
    return None if moment is None else format_timestamp(datetime.fromtimestamp(moment, UTC))
