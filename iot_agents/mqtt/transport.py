"""Messages of devices over MQTT."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from iot_agents.common.counters import Counters
from iot_agents.common.deliveries import Delivery
from iot_agents.common.measure import Outcome, Ticket
from iot_agents.mqtt.reception import Message, Reception
from iot_agents.mqtt.topics import Kind, read_topic

AskConfiguration = Callable[[Message], bool]
"""Queues a device's request to be told values; False when there is no room for it."""


class MqttTransport:
    """Hands what devices publish to the reception."""

    def __init__(
        self, reception: Reception, ask_configuration: AskConfiguration, counters: Counters
    ) -> None:
        self._reception = reception
        self._ask_configuration = ask_configuration
        self._counters = counters

    @property
    def topics(self) -> Sequence[str]:
        """The MQTT topic filters to listen to."""
        return self._reception.settings.topics

    async def accept(self, topic: str, payload: bytes, delivery: Delivery | None) -> Ticket | None:
        """Take an MQTT message; None for those on other topics than ours."""
        read = read_topic(topic, unprefixed=self._reception.settings.unprefixed)
        if read is None:
            return None
        message = Message(
            read.apikey,
            read.device,
            read.kind,
            payload,
            topic,
            language=read.language,
            attribute=read.attribute,
            delivery=delivery,
        )
        if read.kind is Kind.CONFIGURATION:
            self._counters.received += 1
            if not self._ask_configuration(message):
                self._counters.dropped += 1
            return Ticket(Outcome.IGNORED)
        return await self._reception.take(message, wait=True)

    def acknowledged(self) -> None:
        """Count a message whose source was told that we have it."""
        self._counters.acknowledged += 1

    def dropped(self) -> None:
        """Count a message that was lost because it came without any flow control."""
        self._counters.dropped += 1
