"""What the LoRaWAN agent needs of the agents' settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from iot_agents.settings import Settings


@dataclass(frozen=True, slots=True)
class LorawanSettings:
    """Settings of the LoRaWAN agent.

    Attributes:
        topics: MQTT topic filters of the network server's events.
        http_token: bearer token of its HTTP integration; empty closes that.
        max_body: largest message taken, in bytes.
    """

    topics: Sequence[str]
    http_token: str = ""
    max_body: int = 1_048_576

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Pick them out of the agents' settings."""
        return cls(settings.lorawan_topics, settings.lorawan_http_token, settings.max_body)
