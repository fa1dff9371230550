"""The way of a measure through an agent: its device, its mapping, its entities, the spool.

A measure never fails into nothing. It ends in the spool, in the waiting room (nobody knows the
device, or no mapping fits it yet) or among the dead letters (the measure itself is wrong), and each
of these is on disk before its source hears of it.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from broker.core.timestamps import format_timestamp
from iot_agents.common.codecs.catalogue import Codecs
from iot_agents.common.codecs.interface import PayloadError
from iot_agents.common.codecs.script import ScriptCodec
from iot_agents.common.constants import Constants, without
from iot_agents.common.counters import Counters
from iot_agents.common.dead_letters import DeadLetter, DeadLetters
from iot_agents.common.decoding import Decoder
from iot_agents.common.making import Made, Maker, merged
from iot_agents.common.mapping import model
from iot_agents.common.measure import Measure, NotDurable, Outcome, Ticket
from iot_agents.common.plans import Plan, Plans, Unusable
from iot_agents.common.provisioning_errors import DeviceNotFound, GroupNotFound
from iot_agents.common.recognition import Caller
from iot_agents.common.registry import Registry
from iot_agents.common.registry_rows import AmbiguousDevice, Known
from iot_agents.common.replays import Replays
from iot_agents.common.spool import Entry, Spool, SpoolFull
from iot_agents.common.vitals import Pulse
from iot_agents.common.waiting_room import Kind, Waiting, WaitingRoom, Who

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outlets:
    """Where measures can end."""

    spool: Spool
    waiting: WaitingRoom
    dead_letters: DeadLetters


class Pipeline:
    """Takes the measures of one agent."""

    def __init__(
        self,
        registry: Registry,
        mappings: model.Mappings,
        maker: Maker,
        outlets: Outlets,
        *,
        counters: Counters,
        clock: Callable[[], datetime],
        codecs: Codecs | None = None,
        pulse: Pulse | None = None,
    ) -> None:
        self._registry = registry
        self._plans = Plans(mappings, codecs or Codecs())
        self._decoder = Decoder(lambda: clock().timestamp())
        self._constants = Constants(clock)
        self._maker = maker
        self._outlets = outlets
        self._counters = counters
        self._clock = clock
        self._pulse = pulse
        self.replays = Replays(outlets.waiting, self._find_way)
        """What lets measures out of the waiting room."""

    async def submit(
        self, measure: Measure, *, known: Known | None = None, wait: bool = True
    ) -> Ticket:
        """Take a measure; measures of a device keep the order of these calls.

        What waits of a device that became known goes before.

        Args:
            known: the device, where it has been recognized already.
            wait: wait for room when the spool is full, instead of raising.

        Raises:
            SpoolFull: the measure was not taken.
            NotDurable: likewise, because the disk fails.
        """
        while True:
            if wait:
                await self._outlets.spool.room()
            try:
                if known is None:
                    known = await self._registry.recognize(measure.caller)
                if self._outlets.waiting.holds(who := Who.of(measure)):
                    await self.replays.let_out(who, known)
                return await self._find_way(measure, known)
            except (DeviceNotFound, GroupNotFound, AmbiguousDevice) as error:
                return self.keep_waiting(measure, str(error))
            except sqlite3.Error as error:
                raise NotDurable(f"the registry cannot be read: {error}") from error
            except SpoolFull:
                # Another source may have taken the room meanwhile.
                if not wait:
                    raise

    async def _find_way(self, measure: Measure, known: Known) -> Ticket:
        if self._pulse is not None and not measure.waited:
            self._pulse.seen(known, measure)
        try:
            return await self._take(measure, known)
        except SpoolFull:
            raise
        except (Unusable, model.MappingError, model.InvalidMapping, PayloadError) as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - one measure must not stop the others
            _log.exception("device %s: unexpected error", measure.device_id)
            reason = f"unexpected error: {error!r}"
        return self.reject(measure.device_id, measure.raw, reason, known=known)

    async def resume(self) -> None:
        """Let out what waits of devices that were provisioned while the process was down."""
        for who in self._outlets.waiting.unknown:
            try:
                await self.let_out(who)
            except (DeviceNotFound, AmbiguousDevice):
                continue
            except (SpoolFull, NotDurable, sqlite3.Error) as error:
                _log.warning("device %s: its measures wait on: %s", who.device_id, error)

    async def let_out(self, who: Who, *, unknown_only: bool = True) -> int:
        """Let what waits of a provisioned device go on, see `Replays.let_out`.

        Raises:
            DeviceNotFound: nobody has provisioned it.
            AmbiguousDevice: several devices could be meant.
            SpoolFull: some of it waits on.
            NotDurable: likewise.
            sqlite3.Error: likewise.
        """
        known = await self._registry.recognize(Caller(who.device_id, who.apikey))
        return await self.replays.let_out(who, known, unknown_only=unknown_only)

    def reject(self, device: str, raw: bytes, reason: str, *, known: Known | None = None) -> Ticket:
        """Put a message that cannot be used among the dead letters.

        Args:
            device: what it calls itself, as far as the message tells.
            known: the device, where it has been recognized.
        """
        if self._pulse is not None:
            self._pulse.failed(known or device, reason)
        tenant = "" if known is None else known.device.service
        self._counters.rejected += 1
        _log.warning("device %s: message rejected: %s", device or "unknown", reason)
        letter = DeadLetter(tenant, device, self._now(), "measure", reason, raw)
        return Ticket(Outcome.REJECTED, self._outlets.dead_letters.add(letter), reason)

    async def _take(self, measure: Measure, known: Known) -> Ticket:
        plan = self._plans.of(known, chosen=measure.chosen)
        if measure.event and plan.mapping is None:
            return self._ignore(f"{measure.event}: no attribute of the device asks for it")
        mapping = plan.mapping or self._plans.find(plan, measure) or plan.remaining
        if mapping is None:
            return self._keep_unmapped(measure)
        provisioned = mapping is plan.mapping or mapping is plan.remaining
        if provisioned:
            payload, decoded = await self._members(plan, measure), None
        else:
            payload = {"TimeInstant": format_timestamp(measure.moment), **measure.payload}
            decoded = await self._decoded(mapping, plan, measure)
        made = self._maker.make(mapping, payload, measure.device_id, plan.device, decoded)
        return self._put(measure, known, plan, made)

    async def _decoded(
        self, mapping: model.Mapping, plan: Plan, measure: Measure
    ) -> Mapping[str, Any] | None:
        """Return what a mapping file's script makes of the bytes; other codecs it calls itself."""
        decoding = mapping.decoding
        if decoding is None or not isinstance(decoding.codec, ScriptCodec):
            return None
        frame = decoding.frame(dict(measure.payload))
        if frame is None:
            return None
        return await self._decoder.decode(decoding.codec, frame, measure, plan.codec.variables)

    async def _members(self, plan: Plan, measure: Measure) -> Mapping[str, Any]:
        """Return what the attributes of a device can ask for, by its names."""
        members, codec = measure.members, plan.codec.codec
        if codec is not None and measure.data is not None:
            frame = measure.data, measure.port
            members = await self._decoder.decode(codec, frame, measure, plan.codec.variables)
        elif not members and not measure.chosen:
            raise Unusable("neither the device's codec nor the network decoded its bytes")
        moment = format_timestamp(measure.moment)
        return {"TimeInstant": moment, **measure.network, **plan.codec.renamed(members)}

    def _put(self, measure: Measure, known: Known, plan: Plan, made: Made) -> Ticket:
        who, tenant = measure.device_id, known.device.service
        if made.left_out and self._pulse is not None:
            self._pulse.failed(known, "; ".join(made.left_out))
        due = self._constants.due(known)
        entities = self._with_radio(made.entities, plan, measure)
        entities = self._with_constants(entities, plan, measure, due=due)
        refused = "; ".join(made.refused)
        if refused:
            # Before the entry, so that it is on disk when the entry is.
            rejection = self.reject(who, measure.raw, refused, known=known)
            if not entities:
                return rejection
        if not entities:
            return self._ignore("the measure says nothing that is mapped")
        moment = measure.moment.timestamp()
        entry = Entry(
            tenant, who, entities, key=measure.key, moment=moment, delivery=measure.delivery
        )
        stored = self._outlets.spool.put(entry)
        if due:
            stored.add_done_callback(partial(self._constants.sent, known))
        return Ticket(Outcome.SPOOLED, stored)

    def _with_constants(
        self, entities: Sequence[model.Entity], plan: Plan, measure: Measure, *, due: bool
    ) -> Sequence[model.Entity]:
        """Return entities with their static attributes when these are due, and without if not."""
        if not due:
            return without(entities, plan.constant_names, str(plan.device.get("entity_name")))
        if plan.constants is None or not entities:
            return entities
        moment = {"TimeInstant": format_timestamp(measure.moment)}
        constants = self._maker.make(plan.constants, moment, measure.device_id, plan.device)
        return merged((*constants.entities, *entities))

    def _with_radio(
        self, entities: Sequence[model.Entity], plan: Plan, measure: Measure
    ) -> Sequence[model.Entity]:
        """Return entities with the quality of the reception, where a device asks for it."""
        if plan.radio is None or not entities:
            return entities
        told = {"TimeInstant": format_timestamp(measure.moment), **measure.network}
        radio = self._maker.make(plan.radio, told, measure.device_id, plan.device)
        return merged((*entities, *radio.entities))

    def _ignore(self, reason: str) -> Ticket:
        self._counters.ignored += 1
        return Ticket(Outcome.IGNORED, reason=reason)

    def keep_waiting(self, measure: Measure, reason: str) -> Ticket:
        """Put a measure of an unknown device into the waiting room."""
        waiting = Waiting(measure, self._now(), reason)
        return Ticket(Outcome.WAITING, self._outlets.waiting.add(waiting), reason)

    def _keep_unmapped(self, measure: Measure) -> Ticket:
        reason = "no mapping accepts this payload"
        if measure.waited:
            return Ticket(Outcome.WAITING, reason=reason)
        waiting = Waiting(measure, self._now(), reason, Kind.UNMAPPED)
        return Ticket(Outcome.WAITING, self._outlets.waiting.add(waiting), reason)

    def _now(self) -> str:
        return format_timestamp(self._clock())
