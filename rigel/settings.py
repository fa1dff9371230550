"""All settings: a section per package, and what they share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from broker.settings import Settings as BrokerSettings
from iot_agents.settings import Settings as AgentSettings
from subscribers.settings import Settings as SubscriberSettings


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the command; what a section leaves open it takes from here."""

    data_dir: Path = field(
        default=Path("rigel-data"), metadata={"doc": "Directory of all data, for every section."}
    )
    host: str = field(
        default="127.0.0.1",
        metadata={"doc": "Address to listen on, for every section; `0.0.0.0` is all addresses."},
    )
    log_level: Literal["debug", "info", "warning", "error"] = field(
        default="info", metadata={"doc": "The least important log lines to write."}
    )
    broker: BrokerSettings = field(default_factory=BrokerSettings)
    agents: AgentSettings = field(default_factory=AgentSettings)
    subscribers: SubscriberSettings = field(default_factory=SubscriberSettings)
