"""What is measured of a shape of request, beside bare aiohttp that answers the same bytes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import ClientSession

from bench.load import free_port, process, processor, wrk


@dataclass(slots=True)
class Bench:
    """One run: a broker under load, and the rows measured so far."""

    url: str
    pid: int
    seconds: int
    entities: int
    instances: int
    workdir: Path
    rows: list[tuple[str, str, str, bool]] = field(default_factory=list)

    def row(self, name: str, reached: str, wanted: str, *, met: bool) -> None:
        """Add a row and print it."""
        self.rows.append((name, reached, wanted, met))
        print(f"| {name} | {reached} | {wanted} | {'' if met else 'falls short'} |", flush=True)

    def share(self, name: str, wanted: float, *, path: str = "", script: str = "") -> None:
        """Measure a shape as a share of bare aiohttp answering the same bytes.

        They take turns second by second, so that what else the machine does meets both; what it
        does to rates it does not do to the processor time of a request.
        """
        body = b"" if script else asyncio.run(fetched(self.url + path))
        with _ceiling(self.workdir, body) as (url, pid):
            bare = _Side(url, pid, "BARE = true" + script)
            ours = _Side(self.url + path, self.pid, "BARE = false" + script)
            for _ in range(self.seconds):
                bare.load(self.workdir)
                ours.load(self.workdir)
        share = ours.requests / bare.requests
        self.row(
            name,
            f"{share:.2f} ({ours.requests / self.seconds:,.0f} of"
            f" {bare.requests / self.seconds:,.0f}/s; processor {ours.cost:.0f} beside"
            f" {bare.cost:.0f} us)" + (f", {ours.errors} errors" if ours.errors else ""),
            f"{wanted:.2f}",
            met=share >= wanted and not ours.errors,
        )


@dataclass(slots=True)
class _Side:
    """A server that is compared with another, and what it has done so far."""

    url: str
    pid: int
    script: str
    requests: float = 0.0
    processor: float = 0.0
    errors: int = 0

    def load(self, workdir: Path) -> None:
        """Load it for a second."""
        before = processor(self.pid)
        load = wrk(self.url, seconds=1, script=self.script, workdir=workdir)
        self.processor += processor(self.pid) - before
        self.requests += load.rate
        self.errors += load.errors

    @property
    def cost(self) -> float:
        """The microseconds of processor time of a request."""
        return self.processor / self.requests * 1e6


@contextmanager
def _ceiling(workdir: Path, body: bytes) -> Iterator[tuple[str, int]]:
    path = workdir / "ceiling.json"
    path.write_bytes(body)
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    with process([sys.executable, "-m", "bench.ceiling", str(port), str(path)], url) as ceiling:
        yield url, ceiling.pid


async def fetched(url: str) -> bytes:
    """Return what a URL answers with."""
    async with ClientSession() as session, session.get(url) as response:
        response.raise_for_status()
        return await response.read()
