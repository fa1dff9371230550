"""A real Kafka server of one node, from a directory of jars that `KAFKA_LIBS` names."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.eventually import PATIENCE
from tests.support.mosquitto import free_port

_LIBS = os.environ.get("KAFKA_LIBS", "")
needs_kafka = pytest.mark.skipif(
    not _LIBS or shutil.which("java") is None,
    reason="KAFKA_LIBS names no directory of Kafka's jars, or java is not installed",
)
_CLUSTER = "MkU3OEVBNTcwNTJENDM2Qg"
_CONFIG = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://{advertised}:{port}
controller.listener.names=CONTROLLER
log.dirs={directory}/log
num.partitions=3
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
"""


@asynccontextmanager
async def kafka(directory: Path, *, advertised: str = "127.0.0.1") -> AsyncIterator[int]:
    """Run a server and yield its port.

    Args:
        advertised: the host that the server names itself by.
    """
    port = free_port()
    config = directory / "server.properties"
    config.write_text(
        _CONFIG.format(
            port=port, controller=free_port(), directory=directory, advertised=advertised
        )
    )
    formatting = await _java("kafka.tools.StorageTool", "format", "-t", _CLUSTER, "-c", str(config))
    await formatting.communicate()
    assert formatting.returncode == 0
    server = await _java("kafka.Kafka", str(config))
    try:
        await _listening(server, port)
        yield port
    finally:
        server.kill()
        await server.wait()


async def _java(*words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *("java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", f"{_LIBS}/*", *words),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )


async def _listening(server: asyncio.subprocess.Process, port: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while server.returncode is None:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.1)  # nothing else tells that it listens
            else:
                writer.close()
                return
    raise AssertionError("Kafka ended before it listened")
