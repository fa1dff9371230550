"""Where a subscription's notifications go, decided when the subscription is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from msgspec import UNSET
from yarl import URL

from broker.core.identifiers import Tenant
from broker.core.kafka import KAFKA
from broker.core.mqtt import MQTT_SCHEMES, chosen, topic_of
from broker.core.subscription import Endpoint, Subscription

_PORTS: Final = {"http": 80, "https": 443, "kafka": 9092, "mqtt": 1883, "mqtts": 8883}
_HTTP: Final = ("http", "https")
_LINK: Final = '<{}>; rel="http://www.w3.org/ns/json-ld#context"; type="application/ld+json"'
_MILLISECONDS: Final = 1000
_AGENT: Final = "rigel"


@dataclass(frozen=True, slots=True)
class HttpTarget:
    """A server, and all of a request to it that is the same for each notification.

    Attributes:
        head: request line and headers, but for the length of the body.
    """

    host: str
    port: int
    is_secure: bool
    head: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class MqttServer:
    """A connection to an MQTT server, as many subscriptions may share it (clause 7.2)."""

    host: str
    port: int
    is_secure: bool
    version: str
    user: str | None
    password: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class MqttTarget:
    """A topic on an MQTT server, and with what quality of service to publish to it."""

    server: MqttServer
    topic: str
    qos: int


@dataclass(frozen=True, slots=True)
class KafkaServer:
    """A Kafka server, which names the others of its cluster."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class KafkaTarget:
    """A topic, and the key under which what is of one subscription stays in order."""

    server: KafkaServer
    topic: str
    key: bytes


@dataclass(frozen=True, slots=True)
class Target:
    """One receiver.

    Attributes:
        lane: what it shares with others on the same host and port.
        headers: with the case that `receiverInfo` gave them.
        http: where it is an HTTP server.
        mqtt: where it is an MQTT topic.
        kafka: where it is a Kafka topic.
        timeout: seconds to wait for an answer, where the subscription says.
        cooldown: seconds to leave the receiver alone after a failure (clause 5.2.15).
        throttling: seconds between two notifications.
    """

    url: str
    lane: str
    headers: Mapping[str, str]
    timeout: float | None = None
    cooldown: float = 0.0
    throttling: float = 0.0
    http: HttpTarget | None = None
    mqtt: MqttTarget | None = None
    kafka: KafkaTarget | None = None


def target_of(tenant: Tenant, subscription: Subscription) -> Target:
    """Return where and how the notifications of a subscription are to be sent."""
    endpoint = subscription.notification.endpoint
    parts = urlsplit(endpoint.uri)
    port = parts.port or _PORTS.get(parts.scheme, 0)
    throttling = subscription.throttling
    headers = _headers(tenant, subscription)
    return Target(
        url=endpoint.uri,
        lane=f"{parts.scheme}://{parts.hostname}:{port}",
        headers=headers,
        timeout=None if endpoint.timeout is UNSET else endpoint.timeout / _MILLISECONDS,
        cooldown=0.0 if endpoint.cooldown is UNSET else endpoint.cooldown / _MILLISECONDS,
        throttling=0.0 if throttling is UNSET else float(throttling),
        http=_http(URL(endpoint.uri), headers) if parts.scheme in _HTTP else None,
        mqtt=_mqtt(parts, port, endpoint) if parts.scheme in MQTT_SCHEMES else None,
        kafka=_kafka(parts, port, subscription.id) if parts.scheme == KAFKA else None,
    )


def _kafka(parts: SplitResult, port: int, key: str) -> KafkaTarget:
    server = KafkaServer(parts.hostname or "", port)
    return KafkaTarget(server, parts.path.removeprefix("/"), key.encode())


def _http(url: URL, headers: Mapping[str, str]) -> HttpTarget:
    all_headers = {"Host": url.host_port_subcomponent or "", **headers}
    if "user-agent" not in {name.lower() for name in headers}:
        all_headers["User-Agent"] = _AGENT
    lines = [f"POST {url.raw_path_qs} HTTP/1.1", *(f"{k}: {v}" for k, v in all_headers.items())]
    head = "".join(f"{line}\r\n" for line in lines).encode()
    return HttpTarget(url.raw_host or "", url.port or 0, url.scheme == "https", head)


def _mqtt(parts: SplitResult, port: int, endpoint: Endpoint) -> MqttTarget:
    info = endpoint.notifier_info
    qos, version = chosen([] if info is UNSET else info)
    server = MqttServer(
        host=parts.hostname or "",
        port=port,
        is_secure=parts.scheme == "mqtts",
        version=version,
        user=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
    )
    return MqttTarget(server, topic_of(parts), qos)


def _headers(tenant: Tenant, subscription: Subscription) -> dict[str, str]:
    """Return the headers; those of `receiverInfo` replace the broker's own of the same name."""
    endpoint = subscription.notification.endpoint
    own = {"Content-Type": endpoint.media_type}
    if subscription.context_link is not UNSET and not endpoint.context_in_body:
        own["Link"] = _LINK.format(subscription.context_link)
    if tenant:
        own["NGSILD-Tenant"] = tenant
    given: dict[str, str] = {}
    for pair in [] if endpoint.receiver_info is UNSET else endpoint.receiver_info:
        given[pair.key] = f"{given[pair.key]}, {pair.value}" if pair.key in given else pair.value
    names = {name.lower() for name in given}
    return {name: value for name, value in own.items() if name.lower() not in names} | given
