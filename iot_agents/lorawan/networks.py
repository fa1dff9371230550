"""The network servers that can be listened to: one row for each, no branch anywhere else."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
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
        filters: what to subscribe to on an MQTT server of its own.
        topic: of its MQTT messages, with the groups `device` and `event`.
        event: the query parameter that names the event of an HTTP post.
        device: the query parameter that names its device.
    """

    decode: Decode
    filters: tuple[str, ...] = ()
    topic: re.Pattern[str] | None = None
    event: str = ""
    device: str = ""

    def of_topic(self, topic: str) -> tuple[str, str, str]:
        """Return what a topic tells, empty where topics are made otherwise.

        Returns:
            The event, the device, and what all topics of the device begin with.
        """
        match = self.topic.fullmatch(topic) if self.topic is not None else None
        if match is None:
            return "", "", ""
        return match["event"], match["device"].lower(), topic[: match.end("device")]

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
        ("application/+/device/+/event/+",),
        re.compile(
            r"(?:.*/)?application/[^/]+/device/(?P<device>[^/]+)/(?:event/)?(?P<event>[^/]+)"
        ),
        event="event",
    ),
    "things-stack": Network(
        things_stack.decode,
        ("v3/+/devices/+/#",),
        re.compile(r"(?:.*/)?v3/[^/]+/devices/(?P<device>[^/]+)/(?P<event>.+)"),
    ),
    "thingpark": Network(thingpark.decode, device="LrnDevEui"),
    "loriot": Network(loriot.decode),
}
"""The networks by the names that settings and paths have for them."""


def by_network(
    setting: str, texts: Sequence[str], known: Collection[str] = NETWORKS, *, otherwise: str = ""
) -> Iterator[tuple[str, str]]:
    """Yield network and value of each entry of a setting, such as `things-stack=v3/+/devices/+/up`.

    Args:
        known: names of the networks that can be meant.
        otherwise: the network of an entry that names none; empty where each has to.

    Raises:
        ValueError: an entry names none of them; the text does not show it, as it may be a secret.
    """
    for number, text in enumerate(texts):
        name, separator, value = text.partition("=")
        if not separator and otherwise:
            yield otherwise, text
        elif separator and name in known:
            yield name, value
        else:
            raise ValueError(f"{setting}[{number}]: expected network=…, one of {', '.join(known)}")
