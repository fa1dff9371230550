"""A real Mosquitto on a free port, as a process, which tests may stop and start again."""

from __future__ import annotations

import asyncio
import getpass
import os
import secrets
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.eventually import eventually

_BINARY = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
_REQUIRED = os.environ.get("REQUIRE_SERVERS") == "1"
needs_mosquitto = pytest.mark.skipif(
    _BINARY is None and not _REQUIRED, reason="mosquitto is not installed"
)
_NEVER_GIVEN = range(10_000, 32_000)
_CONFIG = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence true
persistence_location {directory}/
max_inflight_messages 0
max_queued_messages 0
log_type information
"""


def free_port() -> int:
    """Return a TCP port that was free a moment ago.

    It is none of those that systems give to connections that go out, so that it is still free when
    the server that a test stopped wants it again.
    """
    while True:
        port = secrets.choice(_NEVER_GIVEN)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class Mosquitto:
    """One server with its persistence file; `stop` and `start` keep port and file."""

    def __init__(self, directory: Path, *settings: str) -> None:
        assert _BINARY is not None, "REQUIRE_SERVERS=1, but mosquitto is not installed"
        self.port = free_port()
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self._config = directory / "mosquitto.conf"
        self._log = directory / "mosquitto.log"
        # Started by root it would become another user, to whom a test's files are closed.
        user = f"user {getpass.getuser()}"
        config = _CONFIG.format(port=self.port, directory=directory)
        self._config.write_text(config + "".join(f"{line}\n" for line in (user, *settings)))
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start the process and wait until it listens."""
        assert _BINARY is not None
        # A pipe would fill up, as nobody reads it, and stop the server.
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                _BINARY, "-c", str(self._config), stderr=log
            )
        await self.logged("running")

    async def logged(self, text: str) -> None:
        """Wait until the server has logged this text since it was started."""
        process = self._process
        assert process is not None

        def is_logged() -> bool:
            said = self._log.read_text(errors="replace")
            assert process.returncode is None, f"mosquitto ended: {said}"
            return text in said

        await eventually(is_logged)

    async def stop(self) -> None:
        """Stop the process; it saves what it holds."""
        assert self._process is not None
        self._process.terminate()
        await self._process.wait()


@asynccontextmanager
async def mosquitto(directory: Path, *settings: str) -> AsyncIterator[Mosquitto]:
    """Run a server for the time of a test.

    Args:
        settings: more lines of its configuration.
    """
    server = Mosquitto(directory, *settings)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
