"""A broker of its own for the bench: `python -m bench.broker PORT DIRECTORY`."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from broker.server import serve
from broker.settings import Settings
from rigel import process


async def _run(port: int, data_dir: Path) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, stop.set)
    settings = Settings(port=port, data_dir=data_dir, egress_allow_private=True)
    async with serve(settings):
        await stop.wait()


if __name__ == "__main__":
    process.collect_seldom()
    with asyncio.Runner(loop_factory=process.loop_factory()) as runner:
        runner.run(_run(int(sys.argv[1]), Path(sys.argv[2])))
