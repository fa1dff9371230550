"""The command `rigel` in a process of its own, which tests may kill and start again."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.eventually import PATIENCE
from tests.support.mosquitto import free_port

_COMMAND = Path(sys.executable).with_name("rigel")


@dataclass(frozen=True, slots=True)
class Ports:
    """Free ports for everything that listens."""

    broker: int = field(default_factory=free_port)
    agents: int = field(default_factory=free_port)
    measures: int = field(default_factory=free_port)
    subscribers: int = field(default_factory=free_port)
    mqtt: int = field(default_factory=free_port)

    @property
    def environment(self) -> Mapping[str, str]:
        """The settings that make a process use them."""
        return {
            "RIGEL_BROKER_PORT": str(self.broker),
            "RIGEL_AGENTS_PORT": str(self.agents),
            "RIGEL_AGENTS_HTTP_PORT": str(self.measures),
            "RIGEL_SUBSCRIBERS_PORT": str(self.subscribers),
            "RIGEL_AGENTS_MQTT_EMBEDDED_PORT": str(self.mqtt),
        }


class RigelProcess:
    """One process; its output goes to a file."""

    def __init__(self, process: asyncio.subprocess.Process, output: Path) -> None:
        self._process = process
        self._output = output

    @property
    def output(self) -> str:
        """All it printed and logged so far."""
        return self._output.read_text(encoding="utf-8")

    async def ended(self, limit: float) -> int:
        """Wait until it ends by itself and return its exit status."""
        async with asyncio.timeout(limit):
            return await self._process.wait()

    async def kill(self) -> None:
        """End it with SIGKILL, in the middle of whatever it does."""
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> int:
        """End it with SIGTERM and return its exit status."""
        self._process.terminate()
        return await self.ended(PATIENCE)

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.returncode is None


@asynccontextmanager
async def rigel(
    *arguments: str, directory: Path, environment: Mapping[str, str]
) -> AsyncIterator[RigelProcess]:
    """Run the command in a directory; what still runs at the end of the block is killed.

    Of the environment of the tests, settings are not handed on.
    """
    output = directory / "output.txt"
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("RIGEL_")}
    with output.open("ab") as file:
        process = RigelProcess(
            await asyncio.create_subprocess_exec(
                str(_COMMAND),
                *arguments,
                cwd=directory,
                env={**inherited, **environment},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            ),
            output,
        )
    try:
        yield process
    finally:
        if process.running:
            await process.kill()
