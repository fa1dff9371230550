"""What all agents of a process share: mappings, codecs, models, the registry, and ways out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from broker.client import Client
from broker.egress import Egress
from iot_agents.common.agent import Agent, Clock
from iot_agents.common.codecs.catalogue import Codecs
from iot_agents.common.codecs.sandbox import Sandbox
from iot_agents.common.counters import Counters
from iot_agents.common.making import Maker
from iot_agents.common.mapping.loader import load_mappings, packaged_mappings
from iot_agents.common.mapping.model import Mappings
from iot_agents.common.pipeline import Pipeline
from iot_agents.common.registry import Registry
from iot_agents.common.vitals import Pulse, Vitals
from iot_agents.settings import Settings
from smart_data_models.catalogue import Catalogue
from smart_data_models.validator import Mode, Validator

ClientOf = Callable[[str], Client]
"""Returns the client of a tenant."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What all agents of a process share."""

    settings: Settings
    mappings: Mappings
    codecs: Codecs
    validator: Validator
    clock: Clock
    registry: Registry
    client_of: ClientOf
    egress: Egress

    @classmethod
    def of(
        cls,
        settings: Settings,
        clock: Clock,
        sandbox: Sandbox,
        registry: Registry,
        client_of: ClientOf,
        egress: Egress,
    ) -> Self:
        """Make them of the settings.

        Raises:
            InvalidMapping: a mapping file is wrong.
            ValueError: a setting is wrong.
        """
        codecs = Codecs(sandbox, settings.codecs)
        modes = dict(_mode_of(text) for text in settings.validation_of)
        return cls(
            settings,
            load_mappings(*settings.mappings, packaged_mappings(), codecs=codecs),
            codecs,
            Validator(Catalogue.packaged(), modes, Mode(settings.validation)),
            clock,
            registry,
            client_of,
            egress,
        )

    def maker(self, counters: Counters) -> Maker:
        """Return what makes entities, and checks them."""
        return Maker(self.validator, counters)

    def pipeline(self, agent: Agent, vitals: Vitals) -> Pipeline:
        """Return the way of an agent's measures."""
        return Pipeline(
            self.registry,
            self.mappings,
            self.maker(agent.counters),
            agent.outlets,
            counters=agent.counters,
            clock=self.clock,
            codecs=self.codecs,
            pulse=Pulse(vitals, agent.name),
        )


def _mode_of(text: str) -> tuple[str, Mode]:
    entity_type, separator, mode = text.partition("=")
    if not separator:
        raise ValueError(f"validation_of: expected Type=mode, got {text!r:.80}")
    return entity_type.strip(), Mode(mode.strip())
