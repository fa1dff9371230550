"""What a protocol package hands over, and the ticket it gets for it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from iot_agents.common.deliveries import Delivery
from iot_agents.common.mapping.model import Source
from iot_agents.common.recognition import Caller


@dataclass(frozen=True, slots=True)
class Measure:
    """One message of a device that carries values.

    Attributes:
        source: where it came from, for the mappings.
        device_id: the device's name on the wire.
        apikey: the key it came with; None where the protocol has none.
        resources: those of the groups that may take the device in, see `Caller`.
        transport: what a device that is made for the measure has under this name.
        payload: the message, which mapping files read.
        raw: the message's bytes, which the waiting room and the dead letters keep.
        moment: when the network received it, for `observedAt`.
        members: values by the names of whoever decoded them, for provisioned attributes.
        network: what the network says of the reception, such as `rssi`; also for those.
        data: the device's own bytes, and `port`, for a codec.
        chosen: whether the members have the names that were chosen for the device, so that those
            which nobody provisioned pass; otherwise only provisioned ones count.
        again: what its transport needs beside the rest to read a message again that waited.
        waited: whether it comes out of the waiting room.
        event: what this tells instead of a frame, such as `status`; only provisioned attributes can
            ask for it.
        key: the same for every delivery of this measure; empty when the protocol cannot tell.
        delivery: how it came, where it has no key.
    """

    source: Source
    device_id: str
    payload: Mapping[str, Any]
    raw: bytes
    moment: datetime
    members: Mapping[str, Any] = field(default_factory=dict)
    network: Mapping[str, Any] = field(default_factory=dict)
    data: bytes | None = None
    port: int | None = None
    apikey: str | None = None
    resources: tuple[str, ...] = ()
    transport: str = ""
    chosen: bool = False
    again: Mapping[str, str] = field(default_factory=dict)
    waited: bool = False
    event: str = ""
    key: str = ""
    delivery: Delivery | None = None

    @property
    def caller(self) -> Caller:
        """What the registry recognizes the device by."""
        return Caller(
            self.device_id, self.apikey, self.resources, self.source.protocol, self.transport
        )


class Outcome(StrEnum):
    """What becomes of a message."""

    SPOOLED = "spooled"
    DUPLICATE = "duplicate"
    WAITING = "waiting"
    REJECTED = "rejected"
    IGNORED = "ignored"


class NotDurable(Exception):
    """The disk did not take what a message brought: it must not be acknowledged."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A message that was taken; only what is durable may be acknowledged to its source.

    Attributes:
        outcome: what becomes of it, unless it turns out to have come before.
        stored: done when all is on disk, False for a duplicate; None when nothing is stored.
        reason: why it was rejected or waits.
    """

    outcome: Outcome
    stored: asyncio.Future[Any] | None = None
    reason: str = ""

    async def durable(self) -> Outcome:
        """Wait until what the message brought is on disk, and return what became of it.

        Raises:
            NotDurable: it could not be written.
        """
        if self.stored is None:
            return self.outcome
        try:
            stored = await self.stored
        except sqlite3.Error as error:
            raise NotDurable(f"nothing could be written: {error}") from error
        return Outcome.DUPLICATE if stored is False else self.outcome
