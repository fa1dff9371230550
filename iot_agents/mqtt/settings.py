"""What the agent for JSON and UltraLight needs of the agents' settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from iot_agents.mqtt.topics import filters
from iot_agents.settings import Settings


@dataclass(frozen=True, slots=True)
class MqttSettings:
    """Settings of the agent.

    Attributes:
        unprefixed: whether topics that do not begin with `json` or `ul` are taken too.
        leading_slash: whether topics to devices begin with a slash.
        qos: of messages to devices, unless a command says otherwise; likewise `retain`.
        default_keys: apikeys of devices that are provisioned without one, JSON's first and
            UltraLight's last.
        default_transport: of devices that are provisioned without one.
        max_body: largest message taken, in bytes.
    """

    unprefixed: bool = False
    leading_slash: bool = True
    qos: int = 1
    retain: bool = False
    default_keys: Sequence[str] = ()
    default_transport: str = "MQTT"
    max_body: int = 1_048_576

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Pick them out of the agents' settings."""
        return cls(
            unprefixed=settings.mqtt_unprefixed,
            leading_slash=settings.mqtt_leading_slash,
            qos=settings.command_qos,
            retain=settings.command_retain,
            default_keys=settings.default_keys,
            default_transport=settings.default_transport,
            max_body=settings.max_body,
        )

    @property
    def topics(self) -> Sequence[str]:
        """The MQTT topic filters to listen to."""
        return filters(unprefixed=self.unprefixed)
