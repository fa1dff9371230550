"""The way of a measure through an agent: its device, its mapping, its entities, the spool.

A measure never fails into nothing. It ends in the spool, in the waiting room (nobody knows the
device, or no mapping fits it yet) or among the dead letters (the measure itself is wrong), and each
of these is on disk before its source hears of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from weakref import WeakKeyDictionary

from broker.core.timestamps import format_timestamp
from iot_agents.common.counters import Counters
from iot_agents.common.dead_letters import DeadLetter, DeadLetters
from iot_agents.common.making import Maker
from iot_agents.common.mapping import model
from iot_agents.common.mapping.codec import Codec, PayloadError
from iot_agents.common.mapping.provisioned import compile_mapping
from iot_agents.common.measure import Measure, Outcome, Ticket
from iot_agents.common.registry import Registry
from iot_agents.common.registry_rows import AmbiguousDevice, Known
from iot_agents.common.spool import Entry, Spool
from iot_agents.common.waiting_room import Waiting, WaitingRoom

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outlets:
    """Where measures can end."""

    spool: Spool
    waiting: WaitingRoom
    dead_letters: DeadLetters


@dataclass(frozen=True, slots=True)
class _Provisioned:
    """What is provisioned of a device, compiled."""

    mapping: model.Mapping
    codec: Codec | None


class _Unusable(Exception):
    """The measure is wrong, or cannot be read."""


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
        self._mappings = mappings
        self._maker = maker
        self._outlets = outlets
        self._counters = counters
        self._clock = clock
        self._compiled: WeakKeyDictionary[Known, _Provisioned] = WeakKeyDictionary()

    async def submit(self, measure: Measure, *, wait: bool = True) -> Ticket:
        """Take a measure; measures of a device keep the order of these calls.

        Args:
            wait: wait for room when the spool is full, instead of raising.

        Raises:
            SpoolFull: the measure was not taken.
        """
        if wait:
            await self._outlets.spool.room()
        try:
            known = await self._registry.find(measure.device_id.lower(), measure.apikey)
        except AmbiguousDevice as error:
            return self._keep_waiting(measure, str(error))
        if known is None:
            return self._keep_waiting(measure, "nobody has provisioned this device")
        try:
            return self._take(measure, known)
        except (_Unusable, model.MappingError, model.InvalidMapping, PayloadError) as error:
            tenant = known.device.service
            return self.reject(measure.device_id, measure.raw, str(error), tenant=tenant)

    def reject(self, device: str, raw: bytes, reason: str, *, tenant: str = "") -> Ticket:
        """Put a message that cannot be used among the dead letters."""
        self._counters.rejected += 1
        _log.warning("device %s: message rejected: %s", device or "unknown", reason)
        letter = DeadLetter(tenant, device, self._now(), "measure", reason, raw)
        return Ticket(Outcome.REJECTED, self._outlets.dead_letters.add(letter), reason)

    def _take(self, measure: Measure, known: Known) -> Ticket:
        if _is_provisioned(known):
            mapping, payload = self._by_provisioning(measure, known)
        else:
            found = self._by_file(measure, known)
            if found is None:
                return self._keep_waiting(measure, "no mapping accepts this payload")
            mapping, payload = found, measure.payload
        made = self._maker.make(mapping, payload, measure.device_id, _device_scope(known))
        if not made.entities:
            if made.refused:
                raise _Unusable("; ".join(made.refused))
            self._counters.ignored += 1
            return Ticket(Outcome.IGNORED, reason="the measure says nothing that is mapped")
        if made.refused:
            # Before the entry, so that it is on disk when the entry is.
            refused = "; ".join(made.refused)
            self.reject(measure.device_id, measure.raw, refused, tenant=known.device.service)
        stored = self._outlets.spool.put(
            Entry(
                known.device.service,
                measure.device_id,
                made.entities,
                key=measure.key,
                moment=measure.moment.timestamp(),
            )
        )
        return Ticket(Outcome.SPOOLED, stored)

    def _by_file(self, measure: Measure, known: Known) -> model.Mapping | None:
        name = known.device.internal("rigel").get("mapping")
        if name is None:
            return self._mappings.find(measure.source, measure.payload)
        mapping = self._mappings.get(str(name))
        if mapping is None:
            raise _Unusable(f"there is no mapping {name!r:.80}, which the device asks for")
        return mapping

    def _by_provisioning(
        self, measure: Measure, known: Known
    ) -> tuple[model.Mapping, Mapping[str, Any]]:
        compiled = self._compiled.get(known)
        if compiled is None:
            compiled = self._compiled[known] = self._compile(known)
        if compiled.codec is not None and measure.data is not None:
            members = compiled.codec.decode(measure.data, measure.port)
        else:
            members = dict(measure.members)
        if not members:
            raise _Unusable("neither the device's codec nor the network decoded its bytes")
        moment = format_timestamp(measure.moment)
        return compiled.mapping, {"TimeInstant": moment, **measure.network, **members}

    def _compile(self, known: Known) -> _Provisioned:
        mapping = compile_mapping(known.in_force, name=known.device.device_id)
        lorawan = known.device.internal("lorawan")
        name = lorawan.get("codec") or lorawan.get("data_model")
        if not isinstance(name, str) or name == "application_server":
            return _Provisioned(mapping, None)
        codec = self._mappings.codec(name)
        if codec is None:
            raise _Unusable(f"there is no codec {name!r:.80}, which the device asks for")
        return _Provisioned(mapping, codec)

    def _keep_waiting(self, measure: Measure, reason: str) -> Ticket:
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


def _is_provisioned(known: Known) -> bool:
    return bool(known.in_force["attributes"])


def _device_scope(known: Known) -> dict[str, Any]:
    """Return what mappings read under `device`: the provisioned members and constants by name."""
    in_force = known.in_force
    static = {element["name"]: element.get("value") for element in in_force["static_attributes"]}
    return {
        **static,
        "id": known.device.device_id,
        "type": in_force.get("entity_type"),
        "entity_name": in_force.get("entity_name"),
        "service": known.device.service,
        "subservice": known.device.service_path,
    }
