"""Kafka endpoints, an extension: what their URIs say.

kafka://host[:port]/topic
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import SplitResult

from broker.core.errors import BadRequestData

KAFKA: Final = "kafka"
_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")


def check_kafka_topic(parts: SplitResult, path: str) -> None:
    """Check that a URI names a topic and nothing beside.

    Raises:
        BadRequestData: it does not.
    """
    topic = parts.path.removeprefix("/")
    if parts.query or parts.fragment or parts.username is not None:
        raise BadRequestData(f"{path}: expected kafka://host:port/topic and nothing more")
    if not _TOPIC.fullmatch(topic) or topic in {".", ".."}:
        raise BadRequestData(f"{path}: {topic!r:.80} is no name of a Kafka topic")
