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
from iot_agents.common.constants import Constants, without
from iot_agents.common.counters import Counters
from iot_agents.common.dead_letters import DeadLetter, DeadLetters
from iot_agents.common.making import Made, Maker, merged
from iot_agents.common.mapping import model
from iot_agents.common.mapping.codec import PayloadError
from iot_agents.common.measure import Measure, NotDurable, Outcome, Ticket
from iot_agents.common.plans import Plan, Plans, Unusable
from iot_agents.common.provisioning_errors import DeviceNotFound, GroupNotFound
from iot_agents.common.registry import Registry
from iot_agents.common.registry_rows import AmbiguousDevice, Known
from iot_agents.common.spool import Entry, Spool, SpoolFull
from iot_agents.common.waiting_room import Waiting, WaitingRoom

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
    ) -> None:
        self._registry = registry
        self._plans = Plans(mappings)
        self._constants = Constants(clock)
        self._maker = maker
        self._outlets = outlets
        self._counters = counters
        self._clock = clock

    async def submit(
        self, measure: Measure, *, known: Known | None = None, wait: bool = True
    ) -> Ticket:
        """Take a measure; measures of a device keep the order of these calls.

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
                return self._find_way(measure, known)
            except (DeviceNotFound, GroupNotFound, AmbiguousDevice) as error:
                return self.keep_waiting(measure, str(error))
            except sqlite3.Error as error:
                raise NotDurable(f"the registry cannot be read: {error}") from error
            except SpoolFull:
                # Another source may have taken the room meanwhile.
                if not wait:
                    raise

    def _find_way(self, measure: Measure, known: Known) -> Ticket:
        try:
            return self._take(measure, known)
        except SpoolFull:
            raise
        except (Unusable, model.MappingError, model.InvalidMapping, PayloadError) as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - one measure must not stop the others
            _log.exception("device %s: unexpected error", measure.device_id)
            reason = f"unexpected error: {error!r}"
        tenant = known.device.service
        return self.reject(measure.device_id, measure.raw, reason, tenant=tenant)

    def reject(self, device: str, raw: bytes, reason: str, *, tenant: str = "") -> Ticket:
        """Put a message that cannot be used among the dead letters."""
        self._counters.rejected += 1
        _log.warning("device %s: message rejected: %s", device or "unknown", reason)
        letter = DeadLetter(tenant, device, self._now(), "measure", reason, raw)
        return Ticket(Outcome.REJECTED, self._outlets.dead_letters.add(letter), reason)

    def _take(self, measure: Measure, known: Known) -> Ticket:
        plan = self._plans.of(known, chosen=measure.chosen)
        mapping = plan.mapping or self._plans.find(plan, measure) or plan.remaining
        if mapping is None:
            return self.keep_waiting(measure, "no mapping accepts this payload")
        provisioned = mapping is plan.mapping or mapping is plan.remaining
        payload = _members(plan, measure) if provisioned else measure.payload
        made = self._maker.make(mapping, payload, measure.device_id, plan.device)
        return self._put(measure, known, plan, made)

    def _put(self, measure: Measure, known: Known, plan: Plan, made: Made) -> Ticket:
        who, tenant = measure.device_id, known.device.service
        due = self._constants.due(known)
        entities = self._with_constants(made.entities, plan, measure, due=due)
        refused = "; ".join(made.refused)
        if refused:
            # Before the entry, so that it is on disk when the entry is.
            rejection = self.reject(who, measure.raw, refused, tenant=tenant)
            if not entities:
                return rejection
        if not entities:
            self._counters.ignored += 1
            return Ticket(Outcome.IGNORED, reason="the measure says nothing that is mapped")
        moment = measure.moment.timestamp()
        entry = Entry(tenant, who, entities, key=measure.key, moment=moment)
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

    def keep_waiting(self, measure: Measure, reason: str) -> Ticket:
        """Put a measure into the waiting room."""
        waiting = Waiting(
            measure.source.protocol,
            measure.device_id,
            self._now(),
            measure.source.topic,
            reason,
            measure.raw,
        )
        return Ticket(Outcome.WAITING, self._outlets.waiting.add(waiting), reason)

    def _now(self) -> str:
        return format_timestamp(self._clock())


def _members(plan: Plan, measure: Measure) -> Mapping[str, Any]:
    members = measure.members
    if plan.codec is not None and measure.data is not None:
        members = plan.codec.decode(measure.data, measure.port)
    if not members and not measure.chosen:
        raise Unusable("neither the device's codec nor the network decoded its bytes")
    moment = format_timestamp(measure.moment)
    return {"TimeInstant": moment, **measure.network, **members}
