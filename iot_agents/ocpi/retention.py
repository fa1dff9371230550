"""Sessions and CDRs are not known for ever: what did not change for long is forgotten.

A few are looked at each time, so that however many there are nothing else has to wait. Entities at
the broker are not touched: how long those stay is the broker's to say.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, NoReturn

import msgspec

from iot_agents.common.spool import Spool
from iot_agents.ocpi.hiding import TOLD
from iot_agents.ocpi.ledger import prefix_of
from iot_agents.ocpi.objects import KINDS
from iot_agents.ocpi.versions import CDRS, SESSIONS

_AT_A_TIME: Final = 1000
_log = logging.getLogger(__name__)


class _Written(msgspec.Struct):
    """What counts of an object that is kept: when it was written, in seconds since 1970."""

    at: float = 0.0


class Retention:
    """Forgets the Sessions and CDRs in a spool's file."""

    def __init__(
        self, spool: Spool, *, keep: timedelta, interval: float, clock: Callable[[], datetime]
    ) -> None:
        """Bind it.

        Args:
            keep: how long they are known after their last change.
            interval: seconds between two looks.
        """
        self._spool = spool
        self._keep = keep
        self._interval = interval
        self._clock = clock
        kinds = (KINDS[SESSIONS].name, KINDS[CDRS].name, TOLD)
        self._after = {prefix_of(kind): "" for kind in kinds}

    async def run(self) -> NoReturn:
        """Forget until cancelled."""
        while True:
            try:
                await self.look()
            except sqlite3.Error as error:
                _log.warning("OCPI: no old Session or CDR could be forgotten: %s", error)
            await asyncio.sleep(self._interval)

    async def look(self) -> int:
        """Look at the next few and return how many were forgotten.

        Raises:
            sqlite3.Error: the file could not be read or written.
        """
        oldest = (self._clock() - self._keep).timestamp()
        total = 0
        for prefix, after in self._after.items():
            self._after[prefix], count = await self._spool.forget(
                prefix, after, _AT_A_TIME, lambda kept: _written(kept) < oldest
            )
            total += count
        return total


def _written(kept: bytes) -> float:
    return msgspec.json.decode(kept, type=_Written).at
