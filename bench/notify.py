"""Updates at a rate, each matching one subscription: what arrives, how often, and how late."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass

import msgspec
from aiohttp import ClientSession, web

_SUBSCRIPTIONS = 100
_DRAIN_SECONDS = 10
_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Notified:
    """Updates made per second, notifications lost and doubled, and the p99 of their delay in ms."""

    rate: float
    lost: int
    doubled: int
    p99: float


async def notified(url: str, *, seconds: int, rate: int) -> Notified:
    """Update entities at a rate for some seconds and look at what arrives."""
    arrived: dict[int, list[float]] = {}
    more = asyncio.Event()

    async def receive(request: web.Request) -> web.Response:
        now = time.perf_counter()
        for entity in msgspec.json.decode(await request.read())["data"]:
            arrived.setdefault(int(entity["count"]["value"]), []).append(now)
        more.set()
        return web.Response()

    app = web.Application()
    app.router.add_post("/", receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    try:
        async with ClientSession(headers=_JSON) as session:
            await _prepare(session, url, endpoint)
            sent, took = await _update(session, url, seconds=seconds, rate=rate)
            with suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN_SECONDS):
                    while len(arrived) < len(sent):
                        more.clear()
                        await more.wait()
    finally:
        await runner.cleanup()
    delays = sorted((arrived[n][0] - sent[n]) * 1000 for n in sent if n in arrived)
    return Notified(
        rate=len(sent) / took,
        lost=len(sent) - len(delays),
        doubled=sum(len(times) - 1 for times in arrived.values()),
        p99=delays[int(len(delays) * 0.99)] if delays else float("inf"),
    )


async def _prepare(session: ClientSession, url: str, endpoint: str) -> None:
    for number in range(_SUBSCRIPTIONS):
        entity = {
            "id": f"urn:ngsi-ld:Counted:{number}",
            "type": "Counted",
            "count": {"type": "Property", "value": -1},
        }
        subscription = {
            "type": "Subscription",
            "entities": [{"type": "Counted", "id": entity["id"]}],
            "watchedAttributes": ["count"],
            "notification": {"endpoint": {"uri": endpoint}},
        }
        await _post(session, f"{url}/ngsi-ld/v1/entities", entity)
        await _post(session, f"{url}/ngsi-ld/v1/subscriptions", subscription)


async def _post(session: ClientSession, url: str, body: object) -> None:
    async with session.post(url, data=msgspec.json.encode(body)) as response:
        response.raise_for_status()


async def _update(
    session: ClientSession, url: str, *, seconds: int, rate: int
) -> tuple[dict[int, float], float]:
    """Return when each update was answered, and how long all took."""
    answered: dict[int, float] = {}
    started = time.perf_counter()

    async def one(number: int) -> None:
        path = f"{url}/ngsi-ld/v1/entities/urn:ngsi-ld:Counted:{number % _SUBSCRIPTIONS}/attrs"
        body = msgspec.json.encode({"count": {"type": "Property", "value": number}})
        async with session.patch(path, data=body) as response:
            response.raise_for_status()
        answered[number] = time.perf_counter()

    async with asyncio.TaskGroup() as tasks:
        for number in range(seconds * rate):
            delay = started + number / rate - time.perf_counter()
            if delay > 0:
                await asyncio.sleep(delay)
            tasks.create_task(one(number))
    return answered, time.perf_counter() - started
