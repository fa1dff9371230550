"""What the LoRaWAN agent needs of the agents' settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from iot_agents.lorawan.networks import named_filter
from iot_agents.settings import Settings


@dataclass(frozen=True, slots=True)
class LorawanSettings:
    """Settings of the LoRaWAN agent.

    Attributes:
        topics: networks and the MQTT topic filters of their events.
        http_token: token of the networks' HTTP integrations; empty closes them.
        max_body: largest message taken, in bytes.
    """

    topics: Sequence[tuple[str, str]]
    http_token: str = ""
    max_body: int = 1_048_576

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Pick them out of the agents' settings.

        Raises:
            ValueError: a topic names a network that there is not.
        """
        topics = [named_filter(topic) for topic in settings.lorawan_topics]
        return cls(topics, settings.lorawan_http_token, settings.max_body)

    @property
    def filters(self) -> Sequence[str]:
        """The topic filters alone, to subscribe to."""
        return [topic_filter for _, topic_filter in self.topics]
