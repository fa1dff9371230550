"""MQTT endpoints: what their URIs and `notifierInfo` say (clause 7.2).

mqtt[s]://[user[:password]@]host[:port]/topic[/subtopic]*
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, unquote

from broker.core.errors import BadRequestData

if TYPE_CHECKING:
    from broker.core.subscription import KeyValuePair

MQTT_SCHEMES: Final = ("mqtt", "mqtts")
DEFAULT_VERSION: Final = "mqtt5.0"
_CHOICES: Final = {
    "MQTT-QoS": ("0", "1", "2"),
    "MQTT-Version": ("mqtt3.1.1", DEFAULT_VERSION),
}
_MOST_BYTES: Final = 65_535


def topic_of(parts: SplitResult) -> str:
    """Return the topic that a URI names."""
    return unquote(parts.path.removeprefix("/"))


def check_topic(parts: SplitResult, path: str) -> None:
    """Check that a URI names a topic to which can be published.

    Raises:
        BadRequestData: it does not.
    """
    topic = topic_of(parts)
    if parts.query or parts.fragment:
        raise BadRequestData(f"{path}: an MQTT topic has no ? and no #")
    if not topic:
        raise BadRequestData(f"{path}: expected a topic behind the host")
    if any(mark in topic for mark in "+#\0") or len(topic.encode()) > _MOST_BYTES:
        raise BadRequestData(f"{path}: {topic!r:.80} is no topic to publish to")


def check_notifier(pair: KeyValuePair, path: str) -> None:
    """Check an entry of `notifierInfo`; keys that are not MQTT's are left alone.

    Raises:
        BadRequestData: the value is none of those of Table 7.2-1.
    """
    choices = _CHOICES.get(pair.key)
    if choices is not None and pair.value not in choices:
        raise BadRequestData(
            f"{path}.value: expected one of {', '.join(choices)}, got {pair.value!r:.40}"
        )


def chosen(info: Iterable[KeyValuePair]) -> tuple[int, str]:
    """Return the quality of service and the version that `notifierInfo` asks for."""
    asked = {pair.key: pair.value for pair in info}
    return int(asked.get("MQTT-QoS", "0")), asked.get("MQTT-Version", DEFAULT_VERSION)
