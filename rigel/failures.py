"""Tell a failure that explains itself from a defect, which needs its traceback."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from broker.client import BrokerRefused, BrokerUnreachable
from broker.operations.retention import InvalidRetention
from broker.store.sqlite.migrations import NewerSchema
from iot_agents.common.database import NewerFile
from iot_agents.common.mapping.model import InvalidMapping
from iot_agents.ocpi.parties import InvalidParties
from iot_agents.ocpi.settings import InvalidToken
from rigel.demo.facts import NeverTrue
from rigel.demo.provisioning import NotProvisioned
from rigel.demo.run import NotOurs
from rigel.devices import AgentsRefused
from rigel.mappings import Misused
from rigel.ports import PortTaken
from subscribers.common.definitions import InvalidDefinition
from subscribers.common.journal import JournalUnusable

_EXPLAINED: Final = (
    AgentsRefused,
    BrokerRefused,
    BrokerUnreachable,
    InvalidDefinition,
    InvalidMapping,
    InvalidParties,
    InvalidRetention,
    InvalidToken,
    JournalUnusable,
    Misused,
    NeverTrue,
    NewerFile,
    NewerSchema,
    NotOurs,
    NotProvisioned,
    OSError,
    PortTaken,
)


def explanation(error: BaseException) -> str | None:
    """Return what to tell the user, or None when the error is a defect of the program.

    Task groups wrap what happens in them; the explanation is that of what is inside.
    """
    inside = list(_leaves(error))
    if all(isinstance(leaf, _EXPLAINED) for leaf in inside):
        return "\n".join(_words(leaf) for leaf in inside)
    return None


def _words(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
