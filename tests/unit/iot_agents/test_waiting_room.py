"""The waiting room: what waits goes on in order when its device becomes known, and only once."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from iot_agents.common.device import Attribute
from iot_agents.common.mapping.model import Mappings
from iot_agents.common.measure import Outcome
from iot_agents.common.service_group import ServiceGroup
from iot_agents.common.spool import SpoolFull
from iot_agents.common.waiting_room import Kind, Who
from tests.support.pipeline_bench import STATUS, Bench, bench, device, measure

WHO = Who("lorawan", "d1")
NUMBER = Attribute(object_id="n", name="status", type="Number")


async def submit(here: Bench, *numbers: int, **changes: Any) -> list[Outcome]:
    """Submit numbered measures without a key of their own, as HTTP devices send them."""
    outcomes = []
    for number in numbers:
        one = replace(measure(number, n=number), key="", **changes)
        outcomes.append(await (await here.pipeline.submit(one)).durable())
    return outcomes


async def numbers(here: Bench) -> list[int]:
    """Return the numbers in the spool, in its order."""
    return [msgspec.json.decode(body)[0]["status"]["value"] for body in await here.spooled()]


async def execute(here: Bench, statement: str) -> None:
    await here.agent.spool.database.submit(lambda connection: connection.execute(statement))


async def waiting(here: Bench) -> list[tuple[str, int, Kind]]:
    found = await here.agent.outlets.waiting.devices()
    return [(each.who.device_id, each.measures, each.kind) for each in found]


async def test_what_waited_goes_before_the_first_measure_of_a_device_that_became_known(
    tmp_path: Path,
) -> None:
    async with bench(tmp_path) as here:
        before = await submit(here, 1, 2, 3)
        await here.registry.add_devices([device(NUMBER)])

        after = await submit(here, 4)

        assert (before, after) == ([Outcome.WAITING] * 3, [Outcome.SPOOLED])
        assert await numbers(here) == [1, 2, 3, 4]
        assert await waiting(here) == []


async def test_measures_that_come_at_once_wait_for_those_that_waited(tmp_path: Path) -> None:
    async with bench(tmp_path) as here:
        await submit(here, *range(250))
        await here.registry.add_devices([device(NUMBER)])

        async with asyncio.TaskGroup() as group:
            for number in range(250, 270):
                group.create_task(submit(here, number))

        assert (await numbers(here))[:100] == list(range(100))
        rows = await here.agent.spool.load(200, 1000)
        assert [msgspec.json.decode(row.body)[0]["status"]["value"] for row in rows] == list(
            range(200, 270)
        )


async def test_a_process_that_ends_half_way_doubles_nothing(tmp_path: Path) -> None:
    async with bench(tmp_path) as here:
        await submit(here, 1, 2, 3)
        await here.registry.add_devices([device(NUMBER)])
        # Stands for the end of the process after the spool has a measure, and before it is gone
        # from the waiting room.
        trigger = (
            "CREATE TRIGGER cut BEFORE DELETE ON waiting BEGIN SELECT RAISE(ABORT, 'cut'); END"
        )
        await here.agent.spool.database.submit(lambda connection: connection.execute(trigger))
        with pytest.raises(sqlite3.Error, match="cut"):
            await here.pipeline.let_out(WHO)
        await here.agent.spool.database.submit(
            lambda connection: connection.execute("DROP TRIGGER cut")
        )

    async with bench(tmp_path) as here:
        await here.pipeline.resume()
        await submit(here, 4)

        assert await numbers(here) == [1, 2, 3, 4]
        assert await waiting(here) == []


async def test_what_was_provisioned_while_the_process_was_down_goes_on_at_the_start(
    tmp_path: Path,
) -> None:
    async with bench(tmp_path) as here:
        await submit(here, 1, 2)
        await submit(here, 7, device_id="stranger")
    async with bench(tmp_path) as here:
        await here.registry.add_devices([device(NUMBER)])

        await here.pipeline.resume()

        assert await numbers(here) == [1, 2]
        assert await waiting(here) == [("stranger", 1, Kind.UNKNOWN)]


async def test_a_group_that_is_made_later_takes_in_who_waited(tmp_path: Path) -> None:
    came = {"apikey": "key", "resources": ("/iot/json",)}
    group = ServiceGroup(
        resource="/iot/json", apikey="key", entity_type="Spot", attributes=(NUMBER,)
    )
    async with bench(tmp_path) as here:
        await submit(here, 1, 2, **came)
        await here.registry.add_groups([group])

        await submit(here, 3, **came)

        assert await numbers(here) == [1, 2, 3]


async def test_devices_with_different_keys_do_not_wait_for_each_other(tmp_path: Path) -> None:
    async with bench(tmp_path) as here:
        await submit(here, 1, apikey="one")
        await submit(here, 2, apikey="two")
        await here.registry.add_devices([device(NUMBER, apikey="one")])

        await submit(here, 3, apikey="one")

        assert await numbers(here) == [1, 3]
        assert await waiting(here) == [("d1", 1, Kind.UNKNOWN)]


async def test_what_no_mapping_accepts_stays_and_goes_on_when_asked(tmp_path: Path) -> None:
    async with bench(tmp_path) as here:
        await submit(here, 1)
        await here.registry.add_devices([device()])
        here.with_mappings(Mappings())
        await submit(here, 2)
        still = await waiting(here)
        await here.registry.update_device(device(), device(NUMBER))
        await submit(here, 3)

        moved = await here.pipeline.let_out(WHO, unknown_only=False)

        assert still == [("d1", 2, Kind.UNMAPPED)]
        assert moved == 2
        assert sorted(await numbers(here)) == [1, 2, 3]
        assert await waiting(here) == []


async def test_a_measure_that_cannot_be_used_goes_to_the_dead_letters_once(tmp_path: Path) -> None:
    async with bench(tmp_path) as here:
        await (await here.pipeline.submit(replace(measure(), members={}))).durable()
        await here.registry.add_devices([device(STATUS)])

        await here.pipeline.resume()
        await here.pipeline.resume()

        (reason,) = await here.reasons()
        assert "decoded its bytes" in reason
        assert await waiting(here) == []


async def test_a_full_spool_leaves_the_rest_waiting_for_another_time(tmp_path: Path) -> None:
    async with bench(tmp_path, spool_max_measures=2) as here:
        await submit(here, 1, 2, 3)
        await here.registry.add_devices([device(NUMBER)])
        with pytest.raises(SpoolFull):
            await here.pipeline.let_out(WHO)
        rows = await here.agent.spool.load(0, 10)
        first = await numbers(here)

        await here.agent.spool.settle([row.seq for row in rows])
        await here.pipeline.let_out(WHO)

        assert first == [1, 2]
        assert await numbers(here) == [3]


async def test_the_oldest_go_when_there_are_too_many_and_that_is_counted(tmp_path: Path) -> None:
    async with bench(tmp_path, waiting_room_size=50) as here:
        await submit(here, *range(100))
        await here.registry.add_devices([device(NUMBER)])

        await submit(here, 100)

        assert here.agent.counters.dropped == 50
        assert await numbers(here) == list(range(50, 101))


async def test_a_measure_comes_out_as_it_came_in(tmp_path: Path) -> None:
    one = replace(
        measure(1, text="ü"),
        data=b"\x00\xff",
        port=2,
        network={"rssi": -90.5},
        apikey="key",
        resources=("/iot/json", ""),
        transport="MQTT",
        chosen=True,
        again={"t": "x"},
    )
    async with bench(tmp_path) as here:
        await (await here.pipeline.submit(one)).durable()

        (row,) = await here.agent.outlets.waiting.rows(Who.of(one), unknown_only=True)

        assert row.measure == one
