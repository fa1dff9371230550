"""A command, the states it goes through, and what a transport says when it is to send one.

    requested ──▶ sending ──▶ sent ──▶ acknowledged ──▶ done
                     │  └───▶ held ────────▲              failed
                     └──▶ requested (nothing left yet)    expired

`held` waits for a device that fetches its commands. Every step is durable before the next one, so
a crash leaves at most one doubt: a command found in `sending` may have left or not. It is sent
again only when it is marked idempotent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Protocol

from iot_agents.common.registry_rows import Known


class State(StrEnum):
    """Where a command is."""

    REQUESTED = "requested"
    SENDING = "sending"
    HELD = "held"
    SENT = "sent"
    ACKNOWLEDGED = "acknowledged"
    DONE = "done"
    FAILED = "failed"
    EXPIRED = "expired"


STATUS: Final[Mapping[State, str]] = {
    State.REQUESTED: "PENDING",
    State.HELD: "PENDING",
    State.SENT: "SENT",
    State.ACKNOWLEDGED: "DELIVERED",
    State.DONE: "OK",
    State.FAILED: "ERROR",
    State.EXPIRED: "EXPIRED",
}
"""What `<command>_status` says of a state: the words of the FIWARE agents, as far as they go."""

OPEN: Final = (State.REQUESTED, State.HELD, State.SENT, State.ACKNOWLEDGED)
"""The states that a command may expire in."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command on its way to a device.

    Attributes:
        id: unique; devices and networks that can hold one get it for correlation.
        known: the device as it is provisioned now.
        entity_id: the entity the command was asked of.
        name: the command attribute's name, as provisioned.
        value: what the attribute was set to.
        expires: when it is given up.
        idempotent: whether the device may get it twice.
    """

    id: str
    known: Known
    entity_id: str
    name: str
    value: Any
    expires: datetime
    idempotent: bool = False


@dataclass(frozen=True, slots=True)
class Sent:
    """The command left.

    Attributes:
        acknowledged: whether the device is known to have it already.
        replaced: whether those before it will not leave the network any more that had not left it.
    """

    acknowledged: bool = False
    replaced: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """The device answered at once."""

    result: Any = ""


@dataclass(frozen=True, slots=True)
class Held:
    """The command waits until the device fetches it."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The device or its network refused it, or it cannot be sent at all."""

    reason: str


@dataclass(frozen=True, slots=True)
class NotNow:
    """Nothing left, for certain: it can be tried again."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unsure:
    """It may have left or not: tried again only when it is idempotent."""

    reason: str


CommandOutcome = Sent | Done | Held | Failed | NotNow | Unsure


@dataclass(frozen=True, slots=True)
class Label:
    """By what a network that reports of a command later will mean it.

    Attributes:
        address: the network's name of the device.
        handle: the network's name of the command; empty where it tells of devices only.
        confirmed: whether the device is asked to confirm that it has it.
    """

    address: str
    handle: str = ""
    confirmed: bool = False


SetLabel = Callable[[Label], Awaitable[None]]
"""Notes the label of the command that is being sent, and returns once that is durable."""


class Fate(StrEnum):
    """What became of a command in the network it was given to."""

    QUEUED = "queued"
    SENT = "sent"
    ACKNOWLEDGED = "acknowledged"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkReport:
    """What a network tells of a command it was given.

    Attributes:
        address: the network's name of the device.
        handles: one of which is the command's; None where the network does not tell its commands
            apart, so that it is the one of the device whose turn it is.
        reason: why it failed.
    """

    address: str
    handles: Sequence[str] | None
    fate: Fate
    reason: str = ""


class Courier(Protocol):
    """How an agent's transport brings commands to devices."""

    def serves(self, in_force: Mapping[str, Any]) -> bool:
        """Tell whether devices provisioned like this are this transport's.

        Args:
            in_force: what holds for a device (`service_group.in_force`), or a group's members.
        """
        ...

    async def send(self, command: Command, set_label: SetLabel, /) -> CommandOutcome:
        """Bring a command on its way; it is called for one command of a device at a time.

        A network may report of a command before it answers that it has it. So what its reports
        will name is set before the command is handed over.

        What it raises counts as `Unsure`; it is ended after the command timeout, likewise.
        """
        ...
