"""Print what each shape of request reaches, beside what it is to reach (design numbers).

Ratios are of bare aiohttp on the same core in the same run; absolute rates vary with the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import msgspec
from aiohttp import ClientSession

from bench import history
from bench.city import TYPE, spots
from bench.load import LOAD_CORE, free_port, process, resident_mib, wrk
from bench.matching import matching
from bench.measures import agent_beside, delay, throughput
from bench.notify import notified
from bench.shares import Bench, fetched

_JSON = {"Content-Type": "application/json"}
_BATCH = 100
_CONNECTIONS = 4


def _get_entity(bench: Bench) -> None:
    path = "/ngsi-ld/v1/entities/urn:ngsi-ld:ParkingSpot:bench:000001"
    bench.share("GET /entities/{id}", 0.5, path=path)


def _get_page(bench: Bench) -> None:
    path = f"/ngsi-ld/v1/entities?type={TYPE}&limit=20"
    bench.share("GET /entities?type&limit=20", 0.2, path=path)


_PATCH = """
local n = 0
request = function()
  n = n + 1
  local path = string.format(
    "/ngsi-ld/v1/entities/urn:ngsi-ld:ParkingSpot:bench:%06d/attrs", n % 100)
  if BARE then path = "/" end
  return wrk.format("PATCH", path, {["Content-Type"] = "application/json"},
    '{"temperature":{"type":"Property","value":' .. (n % 400) / 10 ..
    ',"unitCode":"CEL","observedAt":"2026-05-01T09:00:00.000Z"}}')
end
"""

_POST = """
local n = 0
math.randomseed(os.time())
local run = math.random(1, 1000000000)
request = function()
  n = n + 1
  local path = "/ngsi-ld/v1/entities"
  if BARE then path = "/" end
  return wrk.format("POST", path, {["Content-Type"] = "application/json"},
    '{"id":"urn:ngsi-ld:Sensor:' .. run .. ":" .. n .. '","type":"Sensor",' ..
    '"temperature":{"type":"Property","value":21.5,"unitCode":"CEL"},' ..
    '"humidity":{"type":"Property","value":0.4},"status":{"type":"Property","value":"ok"},' ..
    '"name":{"type":"Property","value":"sensor"},' ..
    '"location":{"type":"GeoProperty","value":{"type":"Point","coordinates":[5.4,43.5]}}}')
end
"""


def _write(name: str, script: str, wanted: float) -> Callable[[Bench], None]:
    def measure(bench: Bench) -> None:
        bench.share(name, wanted, script=script)

    return measure


def _upsert(bench: Bench) -> None:
    count = asyncio.run(_upsert_all(bench.url, min(bench.entities, 20_000), prefix="upsert"))
    rate = count[0] / count[1]
    bench.row(
        "POST /entityOperations/upsert, 100",
        f"{rate:,.0f} entities/s",
        "10,000",
        met=rate >= 10_000,
    )


def _fill(bench: Bench) -> None:
    count, took = asyncio.run(_upsert_all(bench.url, bench.entities))
    memory = resident_mib(bench.pid)
    bench.row(
        f"memory with {count:,} entities",
        f"{memory:.0f} MiB (filled in {took:.0f} s)",
        "500 MiB for 100,000",
        met=memory <= 500,
    )


def _queries(bench: Bench) -> None:
    shapes = {
        "type+q": f"/ngsi-ld/v1/entities?type={TYPE}&q=temperature>35;status==%22free%22&limit=20",
        "type+near": f"/ngsi-ld/v1/entities?type={TYPE}&georel=near;maxDistance==500"
        "&geometry=Point&coordinates=[5.4,43.5]&limit=20",
    }
    for name, path in shapes.items():
        latencies = asyncio.run(_latencies(bench.url, path, connections=4, seconds=bench.seconds))
        p95 = latencies[int(len(latencies) * 0.95)]
        bench.row(
            f"{name} over {bench.entities:,}",
            f"p95 {p95:.1f} ms",
            "p95 20 ms",
            met=p95 <= 20,
        )


def _depth(bench: Bench) -> None:
    """Walk from the first page to the last, and compare pages near both ends."""
    latencies = asyncio.run(_walk(bench.url, seconds=60))
    sample = min(500, len(latencies) // 2)
    first, deep = (sorted(part)[sample // 2] for part in (latencies[:sample], latencies[-sample:]))
    bench.row(
        f"page at depth {len(latencies) * 20:,}",
        f"{deep / first:.2f} of page 1 ({deep:.2f} ms)",
        "1.20",
        met=deep / first <= 1.2,
    )


def _subscribed(bench: Bench) -> None:
    """Compare the rate of updates with nobody listening and with one subscriber to all of them."""
    script = "BARE = false" + _PATCH
    port = free_port()
    receiver = f"http://127.0.0.1:{port}/"
    command = [sys.executable, "-m", "bench.receiver", str(port)]
    with process(command, receiver, core=LOAD_CORE):
        alone = wrk(bench.url, seconds=bench.seconds, script=script, workdir=bench.workdir)
        subscription = asyncio.run(_subscribe(bench.url, receiver))
        told = wrk(bench.url, seconds=bench.seconds, script=script, workdir=bench.workdir)
        arrived = int(asyncio.run(fetched(receiver)))
        asyncio.run(_delete(bench.url + subscription))
    share, kept = told.rate / alone.rate, arrived / (told.rate * bench.seconds)
    bench.row(
        "PATCH with a subscriber to all",
        f"{share:.2f} of without ({told.rate:,.0f} of {alone.rate:,.0f}/s),"
        f" {min(kept, 1):.0%} delivered at once",
        "0.60",
        met=share >= 0.6,
    )


def _matching(bench: Bench) -> None:
    found = matching(100_000)
    bench.row(
        "(change, subscription) pairs matched",
        f"{found.pairs:,.0f}/s",
        "50,000/s",
        met=found.pairs >= 50_000,
    )
    more = found.many - found.few
    bench.row(
        "a change among 100,000 subscriptions, one matches",
        f"{found.many:.0f} µs ({more:+.0f} µs beside one alone)",
        "5 µs more",
        met=more <= 5,
    )


def _notifications(bench: Bench) -> None:
    result = asyncio.run(notified(bench.url, seconds=bench.seconds, rate=1000))
    bench.row(
        "updates/s, one of 1,000 subscriptions each, 10 endpoints",
        f"{result.rate:,.0f}/s, {result.lost} lost, {result.doubled} doubled,"
        f" p99 {result.p99:.0f} ms",
        "1,000/s, 0, 0, 250 ms",
        met=not result.lost and not result.doubled and result.p99 <= 250,
    )


def _measures(role: str, name: str) -> Callable[[Bench], None]:
    def measure(bench: Bench) -> None:
        with agent_beside(role, bench.url, bench.pid, bench.workdir) as agent:
            most = asyncio.run(throughput(agent, bench.seconds * 4000))
            bench.row(
                f"{name} through MQTT, agent and broker",
                f"{most.rate:,.0f}/s, {most.lost} lost (processor per measure: agent"
                f" {most.agent_us:.0f} us, broker {most.broker_us:.0f} us)",
                "3,000/s, 0",
                met=most.rate >= 3000 and not most.lost,
            )
            late = asyncio.run(delay(agent, seconds=bench.seconds, rate=1000))
            bench.row(
                f"{name} at 1,000/s, published to notified",
                f"p99 {late.p99:.0f} ms at {late.rate:,.0f}/s, {late.lost} lost",
                "p99 500 ms, 0",
                met=late.p99 <= 500 and not late.lost,
            )
            memory = f"{most.memory:.0f} MiB"
            bench.row(f"{role} agent memory", memory, "150 MiB", met=most.memory <= 150)

    return measure


def _dead_endpoint(bench: Bench) -> None:
    """Compare what other receivers see with and without one that takes calls and never answers."""
    alone, beside = (
        asyncio.run(notified(bench.url, seconds=bench.seconds, rate=500, dead=dead))
        for dead in (False, True)
    )
    share = beside.p99_whole / alone.p99_whole
    bench.row(
        "p99 beside a dead endpoint",
        f"{share:.2f} of without ({beside.p99_whole:.1f} of {alone.p99_whole:.1f} ms),"
        f" {beside.lost} lost",
        "1.10",
        met=share <= 1.1 and not beside.lost,
    )


def _history(bench: Bench) -> None:
    """Fill a store with history and ask for it, in a broker of its own."""
    directory = bench.workdir / "history"
    directory.mkdir()
    entities = max(1000, min(100_000, bench.instances // 10))
    filled = history.fill(directory / "broker.db", entities, bench.instances)
    bench.row(
        f"history of {filled.instances:,} numbers",
        f"{filled.bytes_each:.0f} bytes each",
        "100 bytes",
        met=filled.bytes_each < 100,
    )
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "bench.broker", str(port), str(directory)]
    with process(command, url + "/health"):
        for name, (path, most) in history.paths().items():
            times = asyncio.run(_temporal(url, path, entities))
            p95 = times[int(len(times) * 0.95)]
            bench.row(
                f"{name}, {entities:,} entities",
                f"p95 {p95:.0f} ms (median {times[len(times) // 2]:.0f})",
                f"p95 {most:.0f} ms",
                met=p95 <= most,
            )


def _history_rates(bench: Bench) -> None:
    rates = history.update_rates(bench.workdir, seconds=bench.seconds)
    share = rates.kept / rates.without
    bench.row(
        "updates with history",
        f"{share:.2f} of without ({rates.kept:,.0f} of {rates.without:,.0f}/s)",
        "0.67",
        met=share >= 0.67,
    )


ROWS: dict[str, Callable[[Bench], None]] = {
    "get": _get_entity,
    "page": _get_page,
    "patch": _write("PATCH /entities/{id}/attrs", _PATCH, 0.2),
    "post": _write("POST /entities", _POST, 0.15),
    "upsert": _upsert,
    "notify": _notifications,
    "uplinks": _measures("lorawan", "LoRaWAN uplinks"),
    "measures": _measures("mqtt", "JSON measures"),
    "dead-endpoint": _dead_endpoint,
    "subscribed": _subscribed,
    "matching": _matching,
    "fill": _fill,
    "query": _queries,
    "depth": _depth,
    "history": _history,
    "history-rate": _history_rates,
}


async def _subscribe(url: str, receiver: str) -> str:
    subscription = {
        "type": "Subscription",
        "entities": [{"type": TYPE}],
        "notification": {"endpoint": {"uri": receiver}},
    }
    async with (
        ClientSession(headers=_JSON) as session,
        session.post(
            url + "/ngsi-ld/v1/subscriptions", data=msgspec.json.encode(subscription)
        ) as response,
    ):
        response.raise_for_status()
        return response.headers["Location"]


async def _delete(url: str) -> None:
    async with ClientSession() as session, session.delete(url) as response:
        response.raise_for_status()


async def _upsert_all(url: str, count: int, *, prefix: str = "bench") -> tuple[int, float]:
    """Upsert entities in batches of 100 over a few connections; return how long it took."""
    entities = iter(spots(count))
    path = url + "/ngsi-ld/v1/entityOperations/upsert"

    async def send(session: ClientSession) -> None:
        while batch := list(islice(entities, _BATCH)):
            for entity in batch:
                entity["id"] = entity["id"].replace("bench", prefix)
            async with session.post(path, data=msgspec.json.encode(batch)) as response:
                response.raise_for_status()

    started = time.perf_counter()
    async with ClientSession(headers=_JSON) as session, asyncio.TaskGroup() as tasks:
        for _ in range(_CONNECTIONS):
            tasks.create_task(send(session))
    return count, time.perf_counter() - started


async def _walk(url: str, *, seconds: int) -> list[float]:
    """Follow the links of a list as far as the time allows; return each page's milliseconds."""
    found: list[float] = []
    path: str | None = f"/ngsi-ld/v1/entities?type={TYPE}&limit=20"
    limit = time.perf_counter() + seconds
    async with ClientSession() as session:
        while path is not None and time.perf_counter() < limit:
            started = time.perf_counter()
            async with session.get(url + path) as response:
                await response.read()
            found.append((time.perf_counter() - started) * 1000)
            links = response.headers.get("Link", "").split(", <")
            following = [link for link in links if 'rel="next"' in link]
            path = following[0].lstrip("<").partition(">")[0] if following else None
    return found


async def _temporal(url: str, path: str, entities: int) -> list[float]:
    """Return the sorted milliseconds of requests for the history of entities by chance."""
    found: list[float] = []
    chance = random.Random(7)  # noqa: S311 - reproducible, not secret
    async with ClientSession() as session:
        for _ in range(20):
            one = history.name(chance.randrange(entities))
            asked = url + path.format(one=one, long=history.name(entities))
            started = time.perf_counter()
            async with session.get(asked) as response:
                await response.read()
                response.raise_for_status()
            found.append((time.perf_counter() - started) * 1000)
    return sorted(found)


async def _latencies(url: str, path: str, *, connections: int, seconds: int) -> list[float]:
    """Return the sorted milliseconds of requests that differ, so that no answer is remembered."""
    found: list[float] = []
    limit = time.perf_counter() + seconds
    chance = random.Random(7)  # noqa: S311 - reproducible, not secret

    async def ask(session: ClientSession) -> None:
        while time.perf_counter() < limit:
            varied = path.replace("temperature>35", f"temperature>{30 + chance.random() * 9:.3f}")
            varied = varied.replace("[5.4,43.5]", f"[{5.4 + chance.random() / 20:.5f},43.5]")
            started = time.perf_counter()
            async with session.get(url + varied) as response:
                await response.read()
                response.raise_for_status()
            found.append((time.perf_counter() - started) * 1000)

    async with ClientSession() as session, asyncio.TaskGroup() as tasks:
        for _ in range(connections):
            tasks.create_task(ask(session))
    return sorted(found)


def _arguments() -> argparse.Namespace:
    words = argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser("python -m bench", description=__doc__, formatter_class=words)
    known = ", ".join(ROWS)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"some of {known}; none is all")
    parser.add_argument("--entities", type=int, default=100_000, help="that are queried")
    parser.add_argument("--instances", type=int, default=200_000, help="in the history")
    parser.add_argument("--seconds", type=int, default=5, help="that a shape is measured for")
    chosen = parser.parse_args()
    if unknown := [row for row in chosen.rows if row not in ROWS]:
        parser.error(f"there is no row {unknown[0]!r}; there are {known}")
    return chosen


def main() -> None:
    """Run the rows and print the table."""
    chosen = _arguments()
    os.sched_setaffinity(0, {LOAD_CORE})  # the broker has its core for itself
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as directory:
        workdir = Path(directory)
        command = [sys.executable, "-m", "bench.broker", str(port), str(workdir / "data")]
        with process(command, url + "/health") as broker:
            bench = Bench(
                url, broker.pid, chosen.seconds, chosen.entities, chosen.instances, workdir
            )
            print("| shape | reached | at least | |\n| --- | --- | --- | --- |")
            memory = resident_mib(broker.pid)
            bench.row("idle memory", f"{memory:.0f} MiB", "100 MiB", met=memory <= 100)
            asyncio.run(_upsert_all(url, 100))
            for name in chosen.rows or ROWS:
                ROWS[name](bench)
    short = [row[0] for row in bench.rows if not row[3]]
    print(f"\n{len(bench.rows) - len(short)} reached, {len(short)} fall short: {', '.join(short)}")


if __name__ == "__main__":
    main()
