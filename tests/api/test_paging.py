"""Pages and writes at once: nothing is met twice, miscounted or lost (promises P24–P26)."""

from __future__ import annotations

import asyncio
import random

import pytest
from aiohttp import ClientSession

from tests.support.api import Api
from tests.support.builders import entity, point, prop


async def _scan(api: Api, limit: int, query: str = "type=Stays,Comes,Goes") -> list[str]:
    """Follow the links of a list to its end and return the ids met."""
    found: list[str] = []
    path = f"/entities?{query}&limit={limit}"
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


@pytest.mark.parametrize(
    "query",
    [
        "type=Stays",
        "local=true",
        "type=Stays&q=value>10",
        "type=Stays&q=!extra",
        "type=Stays|Goes&q=value==3..40|extra",
        "attrs=extra",
        "type=Stays&idPattern=[05]$",
        "type=Stays&scopeQ=/even/%23",
        "georel=near;maxDistance==300000&geometry=Point&coordinates=[0,0]",
        "type=Stays&orderBy=value;desc",
        "type=Stays&q=to{value}==7&join=flat",
    ],
)
async def test_a_count_is_that_of_a_scan(api: Api, query: str) -> None:
    gone = "2020-01-01T00:00:00Z"
    for number in range(60):
        one = entity(number, "Goes" if number % 7 == 0 else "Stays", value=prop(number))
        if number % 2 == 0:
            one |= {"scope": "/even/more", "location": point(number / 10, 0)}
        if number % 5 == 0:
            one |= {"extra": prop(1), "to": {"object": "urn:ngsi-ld:Goes:7"}}
        if number % 11 == 0:
            one |= {"expiresAt": gone} if number % 2 else {"extra": prop(2, expiresAt=gone)}
        await api.create(one)

    counted = await api("GET", f"/entities?{query}&count=true&limit=0")
    async with ClientSession() as session:
        scanned = await _scan(Api(session, api.url), 7, query.replace("&join=flat", "&join=inline"))

    assert len(scanned) == len(set(scanned)) > 0
    assert counted.headers["NGSILD-Results-Count"] == str(len(scanned))


async def test_patches_of_different_attributes_at_once_lose_none(api: Api) -> None:
    await api.create(entity(1, "Stays"))
    path = "/entities/urn:ngsi-ld:Stays:1"

    async with asyncio.TaskGroup() as group:
        for number in range(100):
            below = "" if number % 2 else "/attrs"
            group.create_task(api("PATCH", path + below, {f"a{number}": number}))
    served = await api("GET", f"{path}?options=keyValues")

    assert served.body == entity(1, "Stays", **{f"a{number}": number for number in range(100)})
