"""The network servers that can be listened to: one row for each, no branch anywhere else."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from iot_agents.lorawan import chirpstack, chirpstack_v3, loriot, thingpark, things_stack
from iot_agents.lorawan.uplink import Told

Decode = Callable[[str, str, Mapping[str, Any], datetime], Told]
"""Reads a message: its event, the device its topic names, its members, the time now."""


@dataclass(frozen=True, slots=True)
class Network:
    """One kind of network server.

    Attributes:
        topic: of its MQTT messages, with the groups `device` and `event`.
        event: the query parameter that names the event of an HTTP post.
        device: the query parameter that names its device.
    """

    decode: Decode
    topic: re.Pattern[str] | None = None
    event: str = ""
    device: str = ""

    def of_topic(self, topic: str) -> tuple[str, str]:
        """Return the event and the device a topic names, empty where topics are made otherwise."""
        match = self.topic.fullmatch(topic) if self.topic is not None else None
        return (match["event"], match["device"].lower()) if match else ("", "")

    def of_query(self, query: Mapping[str, str]) -> tuple[str, str]:
        """Return the event and the device that the query of a post names, empty for none."""
        return query.get(self.event, ""), query.get(self.device, "").lower()


def _chirpstack(event: str, speaker: str, document: Mapping[str, Any], now: datetime) -> Told:
    """Tell the versions apart, which have the same topics, by where the EUI stands."""
    decode = chirpstack_v3.decode if "devEUI" in document else chirpstack.decode
    return decode(event, speaker, document, now)


CHIRPSTACK: Final = "chirpstack"
NETWORKS: Final[Mapping[str, Network]] = {
    CHIRPSTACK: Network(
        _chirpstack,
        re.compile(
            r"(?:.*/)?application/[^/]+/device/(?P<device>[^/]+)/(?:event/)?(?P<event>[^/]+)"
        ),
        event="event",
    ),
    "things-stack": Network(
        things_stack.decode, re.compile(r"(?:.*/)?v3/[^/]+/devices/(?P<device>[^/]+)/(?P<event>.+)")
    ),
    "thingpark": Network(thingpark.decode, device="LrnDevEui"),
    "loriot": Network(loriot.decode),
}
"""The networks by the names that settings and paths have for them."""


def named_filter(text: str) -> tuple[str, str]:
    """Return network and topic filter of a setting such as `things-stack=v3/+/devices/+/up`.

    Raises:
        ValueError: there is no such network.
    """
    name, separator, topic = text.partition("=")
    if not separator:
        return CHIRPSTACK, text
    if name not in NETWORKS:
        raise ValueError(f"lorawan_topics: {name!r:.40} is none of {', '.join(NETWORKS)}")
    return name, topic
