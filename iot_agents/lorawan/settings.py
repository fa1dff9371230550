"""What the LoRaWAN agent needs of the agents' settings."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from string import Formatter
from typing import Final, Self
from urllib.parse import urlsplit

from iot_agents.lorawan.networks import CHIRPSTACK, NETWORKS, by_network
from iot_agents.lorawan.queues import FORMATS
from iot_agents.settings import Settings

PARTS: Final = (
    *("dev_eui", "DEV_EUI", "device", "application"),
    *("port", "hex", "confirmed", "mode", "flush", "id", "time"),
)
"""The parts of a downlink that can stand in braces where it goes."""


@dataclass(frozen=True, slots=True)
class Server:
    """A network server's own MQTT server.

    Attributes:
        name: user, host and port, by which the way back to its devices is remembered.
    """

    name: str
    network: str
    url: str = field(repr=False)

    @classmethod
    def of(cls, network: str, url: str) -> Self:
        """Read a URL.

        Raises:
            ValueError: it is none of MQTT; the text does not show it.
        """
        address = urlsplit(url)
        if address.scheme not in ("mqtt", "mqtts") or not address.hostname:
            raise ValueError(f"lorawan_servers: {network}: the URL is none of mqtt:// and mqtts://")
        user = f"{address.username}@" if address.username else ""
        port = f":{address.port}" if address.port else ""
        return cls(f"{user}{address.hostname}{port}", network, url)

    def client_id(self, own: str) -> str:
        """Return a client id of the agent that no other connection to the same server has."""
        return f"{own}-{hashlib.blake2b(self.name.encode(), digest_size=4).hexdigest()}"


@dataclass(frozen=True, slots=True)
class DownlinkSettings:
    """Where downlinks go that do not take the way back of the uplinks, by format of the messages.

    Attributes:
        targets: URLs, or MQTT topics where there is no `://` in them, with `PARTS` in braces.
        tokens: to authorize with at URLs.
        timeout: seconds a network server has to take one.
    """

    targets: Mapping[str, str] = field(repr=False)
    tokens: Mapping[str, str] = field(repr=False)
    timeout: float

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Pick them out of the agents' settings.

        Raises:
            ValueError: one names a network that there is not, or is no URL or topic.
        """
        targets = tuple(by_network("lorawan_downlinks", settings.lorawan_downlinks, FORMATS))
        for network, target in targets:
            _check_target(network, target)
        tokens = by_network("lorawan_downlink_tokens", settings.lorawan_downlink_tokens, FORMATS)
        return cls(_by_format(targets), _by_format(tokens), settings.command_timeout)


def _check_target(network: str, target: str) -> None:
    scheme, separator, _ = target.partition("://")
    if separator and scheme not in ("http", "https"):
        raise ValueError(f"lorawan_downlinks: {network}: the URL is none of http:// and https://")
    try:
        names = [name for _, name, _, _ in Formatter().parse(target) if name is not None]
    except ValueError as error:
        raise ValueError(f"lorawan_downlinks: {network}: {error}") from error
    if unknown := set(names) - set(PARTS):
        given = ", ".join(f"{{{name}}}" for name in sorted(unknown))
        raise ValueError(f"lorawan_downlinks: {network}: {given} is none of {', '.join(PARTS)}")


def _by_format(found: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    """Return values by format; `chirpstack` means both of its versions."""
    return {form: value for name, value in found for form in FORMATS[name]}


@dataclass(frozen=True, slots=True)
class LorawanSettings:
    """Settings of the LoRaWAN agent.

    Attributes:
        topics: networks and the MQTT topic filters of their events.
        http_token: token of the networks' HTTP integrations; empty closes them.
        max_body: largest message taken, in bytes.
        servers: MQTT servers of single networks.
    """

    topics: Sequence[tuple[str, str]]
    http_token: str = field(default="", repr=False)
    max_body: int = 1_048_576
    servers: Sequence[Server] = ()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Pick them out of the agents' settings.

        Raises:
            ValueError: a topic or a server names a network that there is not, or has no MQTT.
        """
        topics = by_network("lorawan_topics", settings.lorawan_topics, otherwise=CHIRPSTACK)
        by_mqtt = [name for name, network in NETWORKS.items() if network.filters]
        servers = by_network("lorawan_servers", settings.lorawan_servers, by_mqtt)
        return cls(
            tuple(topics),
            settings.lorawan_http_token,
            settings.max_body,
            [Server.of(network, url) for network, url in servers],
        )

    @property
    def filters(self) -> Sequence[str]:
        """The topic filters alone, to subscribe to."""
        return [topic_filter for _, topic_filter in self.topics]
