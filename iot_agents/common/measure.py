"""What a protocol package hands over: one measure of one device, as it came and as decoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from iot_agents.common.mapping.model import Source


@dataclass(frozen=True, slots=True)
class Measure:
    """One message of a device that carries values.

    Attributes:
        source: where it came from, for the mappings.
        device_id: the device's name on the wire.
        apikey: the key it came with; empty where the protocol has none.
        payload: the message, which mapping files read.
        raw: the message's bytes, which the waiting room and the dead letters keep.
        moment: when the network received it, for `observedAt`.
        members: values by the names the device or the network gave them, for provisioned
            attributes.
        data: the device's own bytes, and `port`, for a codec.
        key: the same for every delivery of this measure; empty when the protocol cannot tell.
    """

    source: Source
    device_id: str
    payload: Mapping[str, Any]
    raw: bytes
    moment: datetime
    members: Mapping[str, Any] = field(default_factory=dict)
    data: bytes | None = None
    port: int | None = None
    apikey: str = ""
    key: str = ""
