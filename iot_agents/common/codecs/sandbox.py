"""The parent's side of the process in which scripts run.

One call at a time. A script that takes too long loses the process, which is started again for the
next call; the scripts that were loaded are loaded again when they are called. Calls block, so that
tools can use them as they are; `Sandbox.run` makes them in a thread, in their order.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import select
import struct
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, TypeVar, cast

T = TypeVar("T")

_WORKER: Final = Path(__file__).with_name("sandbox_worker.py")
_LENGTH: Final = struct.Struct(">I")
_LONGEST_ANSWER: Final = 1 << 20
_ADDRESS_SPACE: Final = 512 << 20


class ScriptFailed(Exception):
    """A script did not give a result; the text says why."""


class ScriptTimedOut(ScriptFailed):
    """A script took longer than it may."""


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """What a script may use.

    Attributes:
        seconds: of computing for one call.
        memory: bytes for one script.
        stack: bytes.
        patience: seconds until the process is ended, whatever it does.
    """

    seconds: float = 0.1
    memory: int = 16 << 20
    stack: int = 256 << 10
    patience: float = 2.0


@dataclass(frozen=True, slots=True)
class Script:
    """A script's text, known by its digest."""

    name: str
    source: str
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", hashlib.sha256(self.source.encode()).hexdigest())


class Sandbox:
    """Runs functions of scripts; the process starts with the first call and ends with `close`."""

    def __init__(self, limits: SandboxLimits | None = None) -> None:
        self._limits = limits or SandboxLimits()
        self._lock = threading.Lock()
        self._worker: _Worker | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sandbox")
        self.restarts = -1
        """How often the process had to be started again."""

    async def run(self, job: Callable[[], T]) -> T:
        """Run a job that calls scripts in the sandbox's thread; jobs run in their order."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, job)

    def call(
        self, script: Script, functions: Sequence[str], given: Mapping[str, Any]
    ) -> tuple[str, Any]:
        """Call the first of some functions that a script has.

        Returns:
            The function's name and what it returned, as JSON has it.

        Raises:
            ScriptTimedOut: it took too long.
            ScriptFailed: it threw, grew too large, or has none of the functions.
        """
        request = ["call", script.digest, list(functions), json.dumps(given), self._limits.seconds]
        with self._lock:
            answer = self._ask(script, request)
        if answer[0] == "error":
            kind = ScriptTimedOut if "interrupted" in answer[1] else ScriptFailed
            raise kind(f"{script.name}: {_named(answer[1])}")
        _, result, name = answer
        return name, None if result is None else json.loads(result)

    def close(self) -> None:
        """End the process and the thread; a call that runs fails."""
        if self._worker is not None:
            self._worker.kill()
        self._thread.shutdown()
        with self._lock:
            self._end()

    def _ask(self, script: Script, request: list[Any]) -> list[Any]:
        try:
            worker = self._running()
            if script.digest not in worker.loaded:
                answer = worker.ask(["load", script.digest, script.source], self._limits.patience)
                if answer[0] == "error":
                    return answer
                worker.loaded.add(script.digest)
            return worker.ask(request, self._limits.patience)
        except TimeoutError as error:
            self._end()
            raise ScriptTimedOut(f"{script.name}: stopped, it did not come to an end") from error
        except (OSError, EOFError, ValueError) as error:
            self._end()
            raise ScriptFailed(f"{script.name}: the process that ran it ended") from error

    def _running(self) -> _Worker:
        if self._worker is None or not self._worker.alive:
            self._end()
            self._worker = _Worker(self._limits)
            self.restarts += 1
        return self._worker

    def _end(self) -> None:
        if self._worker is not None:
            self._worker.end()
            self._worker = None


class _Worker:
    """One process."""

    def __init__(self, limits: SandboxLimits) -> None:
        most_cpu = max(1, round(limits.patience))
        numbers = (limits.memory, limits.stack, _ADDRESS_SPACE, most_cpu)
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and our own file
            [sys.executable, "-I", str(_WORKER), *map(str, numbers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={},
            start_new_session=True,
            bufsize=0,
        )
        self._input = cast("IO[bytes]", self._process.stdin).fileno()
        self._output = cast("IO[bytes]", self._process.stdout).fileno()
        self.loaded: set[str] = set()
        self._finalizer = weakref.finalize(self, _kill, self._process)

    @property
    def alive(self) -> bool:
        """Whether the process has not ended by itself."""
        return self._process.poll() is None

    def ask(self, request: list[Any], patience: float) -> list[Any]:
        """Send a message and return its answer.

        Raises:
            TimeoutError: there is none.
            OSError: the process has ended.
            EOFError: likewise.
            ValueError: the answer makes no sense.
        """
        until = time.monotonic() + patience
        body = json.dumps(request).encode()
        _write_all(self._input, _LENGTH.pack(len(body)) + body)
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size, until))
        if length > _LONGEST_ANSWER:
            raise ValueError("an answer without a bound")
        answer: list[Any] = json.loads(self._read(length, until))
        return answer

    def kill(self) -> None:
        """End the process; who waits for its answer sees that."""
        self._process.kill()

    def end(self) -> None:
        """End the process and close what leads to it."""
        self._finalizer()

    def _read(self, length: int, until: float) -> bytes:
        parts = bytearray()
        poll = select.poll()
        poll.register(self._output, select.POLLIN)
        while len(parts) < length:
            left = until - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                raise TimeoutError
            part = os.read(self._output, length - len(parts))
            if not part:
                raise EOFError
            parts += part
        return bytes(parts)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def _named(error: str) -> str:
    return "stopped, it takes too long" if "interrupted" in error else error
