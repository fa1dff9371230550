"""An agent of its own for the bench: `python -m bench.agent ROLE PORT MQTT BROKER DIRECTORY`."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from iot_agents.server import serve
from iot_agents.settings import Settings
from rigel import process


async def _run(role: str, port: int, mqtt_url: str, broker_url: str, data_dir: Path) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, stop.set)
    settings = Settings(
        port=port, http_port=0, mqtt_url=mqtt_url, broker_url=broker_url, data_dir=data_dir
    )
    async with serve(settings, {role}):
        await stop.wait()


if __name__ == "__main__":
    given = sys.argv[1:]
    process.collect_seldom()
    with asyncio.Runner(loop_factory=process.loop_factory()) as runner:
        runner.run(_run(given[0], int(given[1]), given[2], given[3], Path(given[4])))
