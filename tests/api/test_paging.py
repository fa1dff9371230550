"""Pages under concurrent writes: each entity that was there all along comes exactly once (P24)."""

from __future__ import annotations

import asyncio
import random

import pytest
from aiohttp import ClientSession

from tests.support.api import Api
from tests.support.builders import entity, prop


async def _scan(api: Api, limit: int) -> list[str]:
    """Follow the links of a list to its end and return the ids met."""
    found: list[str] = []
    path = f"/entities?type=Stays,Comes,Goes&limit={limit}"
    while True:
        page = await api("GET", path)
        found += [one["id"] for one in page.body]
        following = [
            link for link in page.headers.get("Link", "").split(", <") if 'rel="next"' in link
        ]
        if not following:
            return found
        path = following[0].lstrip("<").partition(">")[0].removeprefix("/ngsi-ld/v1")


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_scan_meets_once_what_is_there_all_the_time(api: Api, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - reproducible, not secret
    going = [entity(number, "Goes", value=prop(number)) for number in range(200)]
    await api("POST", "/entityOperations/create", going)
    staying = [entity(number, "Stays", value=prop(number)) for number in range(60)]
    await api("POST", "/entityOperations/create", staying)
    done = asyncio.Event()

    async def write() -> None:
        number = 0
        while not done.is_set():
            number += 1
            await api.create(entity(number, "Comes", value=prop(number)))
            changed = chance.randrange(60)
            path = f"/entities/urn:ngsi-ld:Stays:{changed}/attrs"
            await api("PATCH", path, {"value": prop(-number)})
            if number > 1:
                gone = chance.choice(["Comes", "Goes"])
                await api("DELETE", f"/entities/urn:ngsi-ld:{gone}:{number - 1}")

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        async with ClientSession() as session:  # one reader, so one connection
            scans = [await _scan(Api(session, api.url), limit) for limit in (7, 20, 13)]
        done.set()

    for scan in scans:
        met = [one for one in scan if ":Stays:" in one]
        assert sorted(met) == sorted(one["id"] for one in staying)
        assert len(scan) == len(set(scan))
