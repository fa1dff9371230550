"""Sessions and CDRs are forgotten some time after their last change, a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from iot_agents.common.counters import Counters
from iot_agents.common.spool import Entry, Spool
from iot_agents.server import OCPI
from tests.agents.test_ocpi import Operator, location, operator
from tests.agents.test_ocpi_objects import SESSION
from tests.agents.test_ocpi_protocol import CDR
from tests.support.eventually import eventually

NOW = datetime(2026, 3, 2, tzinfo=UTC)


@asynccontextmanager
async def later(directory: Path, days: float, keep_days: float) -> AsyncIterator[Operator]:
    given = {"ocpi_keep_days": keep_days, "sweep_interval": 0.01}
    async with operator(directory, lambda: NOW + timedelta(days=days), **given) as call:
        yield call


async def known(call: Operator) -> list[int]:
    paths = {"sessions": "ES/MOB/S1", "cdrs": "ES/MOB/C1", "locations": "ES/MOB/L1"}
    return [(await call("GET", path, module=module)).http for module, path in paths.items()]


async def test_what_did_not_change_for_long_is_forgotten_and_its_entities_stay(
    tmp_path: Path,
) -> None:
    async with later(tmp_path, 0, 30) as call:
        await call("PUT", "ES/MOB/L1", location())
        await call("PUT", "ES/MOB/S1", SESSION, module="sessions")
        await call("POST", "", CDR, module="cdrs")
        await call.updates()

    async with later(tmp_path, 31, 30) as call:
        await eventually(lambda: gone(call))

        assert await known(call) == [404, 404, 200]
        again = await call("PUT", "ES/MOB/S1", SESSION, module="sessions")
        await call.updates()
        assert again.http == 201
        assert call.broker.deleted == []


async def gone(call: Operator) -> bool:
    return (await known(call))[:2] == [404, 404]


async def test_what_changed_lately_stays(tmp_path: Path) -> None:
    async with later(tmp_path, 0, 30) as call:
        await call("PUT", "ES/MOB/S1", SESSION, module="sessions")
        await call("POST", "", CDR, module="cdrs")

    async with later(tmp_path, 29, 30) as call:
        spool = call.agents.agents[OCPI].spool
        old = {f"ocpi/{kind}/es/mob/zzz": b'{"at":0}' for kind in ("session", "cdr")}
        await spool.put(Entry("", "", state=old))
        for key in old:
            await eventually(partial(forgotten, spool, key))

        assert (await known(call))[:2] == [200, 200]


async def forgotten(spool: Spool, key: str) -> bool:
    return await spool.state(key) is None


async def test_nothing_is_forgotten_where_all_shall_be_kept(tmp_path: Path) -> None:
    async with later(tmp_path, 0, 0):
        assert "ocpi-retention" not in {task.get_name() for task in asyncio.all_tasks()}

    async with later(tmp_path, 0, 1):
        assert "ocpi-retention" in {task.get_name() for task in asyncio.all_tasks()}


async def test_a_few_are_looked_at_each_time_and_in_the_end_all(tmp_path: Path) -> None:
    async with Spool.open(tmp_path / "s.db", counters=Counters(), clock=lambda: NOW) as spool:
        values = {f"a/{n:02}": (b"old" if n % 2 else b"new") for n in range(10)}
        await spool.put(Entry("", "", state={**values, "b/1": b"old", "a": b"old"}))

        steps: list[int] = []
        after = ""
        while not steps or after:
            after, count = await spool.forget("a/", after, 4, lambda value: value == b"old")
            steps.append(count)

        assert steps == [2, 2, 1]
        assert sorted(await spool.states("a/")) == [f"a/{n:02}" for n in range(0, 10, 2)]
        assert await spool.state("b/1") == await spool.state("a") == b"old"
