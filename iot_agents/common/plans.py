"""What is provisioned of a device, compiled once: how its measures become entities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import msgspec

from iot_agents.common.codecs.catalogue import Codecs
from iot_agents.common.codecs.interface import BadCodec
from iot_agents.common.decoding import RADIO, DeviceCodec, NoSuchCodec
from iot_agents.common.mapping import model
from iot_agents.common.mapping.provisioned import READ, compile_mapping
from iot_agents.common.measure import Measure
from iot_agents.common.registry_rows import Known


class Unusable(Exception):
    """A measure cannot become entities; the text says why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How the measures of one device become entities.

    Attributes:
        mapping: of the provisioned attributes; None when a mapping file is to be found.
        remaining: lets members pass as they are, where there is no mapping file either.
        codec: what is known of the device's bytes.
        radio: makes attributes of the quality of the reception, beside a mapping file.
        file: name of the mapping file the device asks for; empty takes the one that fits.
        constants: makes the entity of the static attributes, which a mapping file does not.
        constant_names: what `mapping` makes of static attributes.
        device: what mappings read under `device`.
    """

    mapping: model.Mapping | None
    remaining: model.Mapping | None
    codec: DeviceCodec
    radio: model.Mapping | None
    file: str
    constants: model.Mapping | None
    constant_names: frozenset[str]
    device: Mapping[str, Any]


class Plans:
    """The plans of the devices that send."""

    def __init__(self, mappings: model.Mappings, codecs: Codecs) -> None:
        self._mappings = mappings
        self._codecs = codecs
        self._made: dict[bool, WeakKeyDictionary[Known, Plan]] = {
            chosen: WeakKeyDictionary() for chosen in (False, True)
        }
        self._compiled: WeakValueDictionary[bytes, model.Mapping] = WeakValueDictionary()

    def of(self, known: Known, *, chosen: bool) -> Plan:
        """Return the plan of a device.

        Args:
            chosen: see `Measure`.

        Raises:
            Unusable: the device asks for a codec that cannot be had.
            InvalidMapping: an expression does not parse.
        """
        plan = self._made[chosen].get(known)
        if plan is None:
            plan = self._made[chosen][known] = self._make(known, chosen=chosen)
        return plan

    def find(self, plan: Plan, measure: Measure) -> model.Mapping | None:
        """Return the mapping file for a measure, None when none accepts it.

        Raises:
            Unusable: the device asks for a file that is not there.
            MappingError: the condition of a mapping fails on the payload.
        """
        if not plan.file:
            return self._mappings.find(measure.source, measure.payload)
        mapping = self._mappings.get(plan.file)
        if mapping is None:
            raise Unusable(f"there is no mapping {plan.file!r:.80}, which the device asks for")
        return mapping

    def _make(self, known: Known, *, chosen: bool) -> Plan:
        # What a network server decodes has names nobody chose: only the provisioned ones count.
        in_force = {"explicitAttrs": not chosen, **known.in_force}
        name, static = known.device.device_id, in_force["static_attributes"]
        codec = self._codec(known)
        mapping = constants = remaining = radio = None
        names: frozenset[str] = frozenset()
        if in_force["attributes"]:
            more = RADIO if codec.radio else ()
            every = [*in_force["attributes"], *more]
            mapping = self._compile({**in_force, "attributes": every})
            active = {each.get("name") or each["object_id"] for each in in_force["attributes"]}
            names = frozenset(element["name"] for element in static) - active
        elif static:
            constants = self._compile(in_force)
        if mapping is None and codec.radio:
            only = {"attributes": RADIO, "static_attributes": (), "explicitAttrs": True}
            radio = self._compile({**in_force, **only})
        if mapping is None and chosen:
            remaining = self._compile({**in_force, "static_attributes": ()})
        return Plan(
            mapping,
            remaining,
            codec,
            radio,
            str(known.internal("rigel").get("mapping", "")),
            constants,
            names,
            {
                **known.in_force,
                "id": name,
                "type": in_force.get("entity_type"),
                "subservice": known.device.service_path,
            },
        )

    def _compile(self, in_force: Mapping[str, Any]) -> model.Mapping:
        """Return the mapping of provisioned attributes, one for all devices that have the same."""
        # The name of the device's entity is not compiled in, but read with what is known of it.
        read = {member: in_force.get(member) for member in READ if member != "entity_name"}
        key = msgspec.json.encode(read)
        mapping = self._compiled.get(key)
        if mapping is None:
            name = str(in_force.get("entity_type") or "device")
            mapping = self._compiled[key] = compile_mapping(read, name=name)
        return mapping

    def _codec(self, known: Known) -> DeviceCodec:
        try:
            return DeviceCodec.of(known, self._mappings, self._codecs)
        except (NoSuchCodec, BadCodec) as error:
            raise Unusable(str(error)) from error
