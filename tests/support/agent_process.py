"""The agents as a process of their own, which a test can kill.

The process takes its settings as JSON and prints one line of JSON when it serves.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import ClientSession

from iot_agents.server import LORAWAN, serve
from iot_agents.settings import Settings
from tests.support.eventually import PATIENCE

_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class AgentProcess:
    """A running process and where it can be reached."""

    url: str
    mqtt_url: str
    process: asyncio.subprocess.Process

    async def is_ready(self) -> bool:
        """Tell whether it says that all it needs is there."""
        async with ClientSession() as http, http.get(self.url + "/ready") as answer:
            return answer.ok

    async def kill(self) -> None:
        """End the process as a power cut would."""
        self.process.kill()
        await self.process.communicate()


@asynccontextmanager
async def agent_process(data_dir: Path, **settings: Any) -> AsyncIterator[AgentProcess]:
    """Run an agent, for LoRaWAN unless `role` says otherwise; it is killed at the end."""
    role = settings.pop("role", LORAWAN)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        __name__,
        role,
        json.dumps({"port": 0, "data_dir": str(data_dir), "retry_first": 0.05, **settings}),
        stdout=asyncio.subprocess.PIPE,
        cwd=_ROOT,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE):
            line = await process.stdout.readline()
        yield AgentProcess(**json.loads(line), process=process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def _serve(role: str, given: Mapping[str, Any]) -> None:
    settings = Settings(**{**given, "data_dir": Path(given["data_dir"])})
    async with serve(settings, {role}) as agents:
        print(json.dumps({"url": agents.url, "mqtt_url": agents.mqtt_url}), flush=True)  # noqa: T201 - read by the test
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], json.loads(sys.argv[2])))
