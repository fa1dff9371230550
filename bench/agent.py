"""A LoRaWAN agent of its own for the bench: `python -m bench.agent PORT MQTT BROKER DIRECTORY`."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import uvloop

from iot_agents.server import LORAWAN, serve
from iot_agents.settings import Settings


async def _run(port: int, mqtt_url: str, broker_url: str, data_dir: Path) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, stop.set)
    settings = Settings(port=port, mqtt_url=mqtt_url, broker_url=broker_url, data_dir=data_dir)
    async with serve(settings, {LORAWAN}):
        await stop.wait()


if __name__ == "__main__":
    uvloop.run(_run(int(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4])))
