"""Updates at a rate, each matching one of 1000 subscriptions: what arrives, how often, how late."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import msgspec
from aiohttp import ClientSession, web

_SUBSCRIPTIONS = 1000
_ENDPOINTS = 10
_WRITERS = 20
_DRAIN_SECONDS = 10
_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Notified:
    """What came of some updates.

    Attributes:
        rate: updates made per second.
        p99: of the milliseconds from the answer to the writer until the notification arrived.
        p99_whole: of the milliseconds from the update's sending.
    """

    rate: float
    lost: int
    doubled: int
    p99: float
    p99_whole: float


@dataclass(slots=True)
class _Arrived:
    """When each update arrived, by its number."""

    times: dict[int, list[float]] = field(default_factory=dict)
    more: asyncio.Event = field(default_factory=asyncio.Event)

    async def receive(self, request: web.Request) -> web.Response:
        now = time.perf_counter()
        for entity in msgspec.json.decode(await request.read())["data"]:
            self.times.setdefault(int(entity["count"]["value"]), []).append(now)
        self.more.set()
        return web.Response()

    async def are(self, count: int) -> None:
        """Wait until so many arrived, for a while."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                while len(self.times) < count:
                    self.more.clear()
                    await self.more.wait()


async def notified(url: str, *, seconds: int, rate: int, dead: bool = False) -> Notified:
    """Update entities at a rate for some seconds and look at what arrives at ten endpoints.

    Args:
        dead: have one more endpoint be told of everything, which takes calls and never answers.
    """
    arrived = _Arrived()
    async with (
        _receiving(arrived) as endpoints,
        _hole() as hole,
        ClientSession(headers=_JSON) as session,
    ):
        made = await _prepare(session, url, endpoints, [hole] if dead else [])
        sent, answered, took = await _update(session, url, seconds=seconds, rate=rate)
        await arrived.are(len(sent))
        for one in made:
            (await session.delete(url + one)).raise_for_status()
    came = {number: times[0] for number, times in arrived.times.items()}
    return Notified(
        rate=len(sent) / took,
        lost=len(sent) - len(came),
        doubled=sum(len(times) - 1 for times in arrived.times.values()),
        p99=_p99([came[n] - answered[n] for n in came]),
        p99_whole=_p99([came[n] - sent[n] for n in came]),
    )


def _p99(delays: list[float]) -> float:
    return sorted(delays)[int(len(delays) * 0.99)] * 1000 if delays else float("inf")


@asynccontextmanager
async def _receiving(arrived: _Arrived) -> AsyncIterator[list[str]]:
    app = web.Application()
    app.router.add_post("/", arrived.receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        for _ in range(_ENDPOINTS):
            await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield [f"http://127.0.0.1:{port}/" for _, port in runner.addresses]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _hole() -> AsyncIterator[str]:
    closed = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        await closed.wait()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        closed.set()
        server.close()


async def _prepare(
    session: ClientSession, url: str, endpoints: list[str], told_of_all: list[str]
) -> list[str]:
    """Make entities with a subscription each; return the paths of the subscriptions."""
    wanted = [
        ({"type": "Counted", "id": f"urn:ngsi-ld:Counted:{number}"}, endpoints[number % _ENDPOINTS])
        for number in range(_SUBSCRIPTIONS)
    ]
    entities = [{**selector, "count": {"type": "Property", "value": -1}} for selector, _ in wanted]
    await _post(session, f"{url}/ngsi-ld/v1/entityOperations/upsert", entities)
    wanted += [({"type": "Counted"}, uri) for uri in told_of_all]
    made: list[str] = []

    async def subscribe(share: list[tuple[dict[str, str], str]]) -> None:
        for selector, uri in share:
            subscription = {
                "type": "Subscription",
                "entities": [selector],
                "watchedAttributes": ["count"],
                "notification": {"endpoint": {"uri": uri}},
            }
            made.append(await _post(session, f"{url}/ngsi-ld/v1/subscriptions", subscription))

    async with asyncio.TaskGroup() as tasks:
        for number in range(_WRITERS):
            tasks.create_task(subscribe(wanted[number::_WRITERS]))
    return made


async def _post(session: ClientSession, url: str, body: object) -> str:
    async with session.post(url, data=msgspec.json.encode(body)) as response:
        response.raise_for_status()
        return response.headers.get("Location", "")


async def _update(
    session: ClientSession, url: str, *, seconds: int, rate: int
) -> tuple[dict[int, float], dict[int, float], float]:
    """Return when each update was sent and answered, and how long all took."""
    sent: dict[int, float] = {}
    answered: dict[int, float] = {}
    started = time.perf_counter()

    async def one(number: int) -> None:
        path = f"{url}/ngsi-ld/v1/entities/urn:ngsi-ld:Counted:{number % _SUBSCRIPTIONS}/attrs"
        body = msgspec.json.encode({"count": {"type": "Property", "value": number}})
        sent[number] = time.perf_counter()
        async with session.patch(path, data=body) as response:
            response.raise_for_status()
        answered[number] = time.perf_counter()

    async with asyncio.TaskGroup() as tasks:
        for number in range(seconds * rate):
            delay = started + number / rate - time.perf_counter()
            if delay > 0:
                await asyncio.sleep(delay)
            tasks.create_task(one(number))
    return sent, answered, time.perf_counter() - started
