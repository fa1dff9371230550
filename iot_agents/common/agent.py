"""One agent of a process: its spool, what hangs on it, and the sender that empties it."""

from __future__ import annotations

import asyncio
import logging
import secrets
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn

from broker.client import Client
from broker.core.backoff import Backoff
from iot_agents.common.counters import Counters
from iot_agents.common.dead_letters import DeadLetters
from iot_agents.common.pipeline import Outlets
from iot_agents.common.spool import Entry, Limits, Spool
from iot_agents.common.transport import Pace, Sender
from iot_agents.common.waiting_room import WaitingRoom
from iot_agents.settings import Settings

Clock = Callable[[], datetime]
_log = logging.getLogger(__name__)
_CLIENT_ID = "mqtt/client-id"


@dataclass(frozen=True, slots=True)
class Agent:
    """What every agent has, whatever it speaks."""

    name: str
    counters: Counters
    outlets: Outlets
    sender: Sender
    sweep_interval: float

    @property
    def spool(self) -> Spool:
        """The agent's spool."""
        return self.outlets.spool

    async def sweep(self) -> NoReturn:
        """Give up what is too old and too much, now and again."""
        while True:
            try:
                await self.sweep_once()
            except sqlite3.Error as error:
                _log.warning("nothing could be swept out of the %s spool: %s", self.name, error)
            await asyncio.sleep(self.sweep_interval)

    async def sweep_once(self) -> None:
        """Give up what is too old and too much."""
        self.sender.expire(await self.spool.expire())
        await self.outlets.dead_letters.trim()

    async def client_id(self) -> str:
        """Return an MQTT client id that is this data directory's own and never changes."""
        known = await self.spool.state(_CLIENT_ID)
        if known is not None:
            return known.decode()
        made = f"rigel-{self.name}-{secrets.token_hex(6)}"
        await self.spool.put(Entry("", "", state={_CLIENT_ID: made.encode()}))
        return made


@asynccontextmanager
async def open_agent(
    name: str, settings: Settings, client_of: Callable[[str], Client], clock: Clock
) -> AsyncIterator[Agent]:
    """Open an agent's spool, `spool-<name>.db` in the data directory."""
    counters = Counters()
    limits = Limits(
        max_measures=settings.spool_max_measures,
        max_age=settings.spool_max_age,
        key_window=settings.duplicate_window,
    )
    path = settings.data_dir / f"spool-{name}.db"
    async with Spool.open(path, counters=counters, clock=clock, limits=limits) as spool:
        outlets = Outlets(
            spool,
            await WaitingRoom.open(
                spool.database, limit=settings.waiting_room_size, counters=counters
            ),
            DeadLetters(spool.database, limit=settings.dead_letters_size, counters=counters),
        )
        pace = Pace(
            batch=settings.broker_batch,
            requests=settings.broker_requests,
            repeats=settings.broker_repeats,
            keep_newer=settings.keep_newer,
            backoff=Backoff(settings.retry_first, settings.retry_limit),
        )
        sender = Sender(spool, client_of, counters=counters, clock=clock, pace=pace)
        yield Agent(name, counters, outlets, sender, settings.sweep_interval)
