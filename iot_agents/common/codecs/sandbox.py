"""The parent's side of the process in which scripts run.

One call at a time, in the order they are made. A script that takes too long loses the process,
which is started again for the next call; scripts are loaded again when they are called there.
`call` waits in place, for tools; `run` lets the event loop go on. Each has a process of its own,
started with its first call.
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
import time
import weakref
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, cast

_WORKER: Final = Path(__file__).with_name("sandbox_worker.py")
_LENGTH: Final = struct.Struct(">I")
_LONGEST_ANSWER: Final = 1 << 20
_READ_AT_ONCE: Final = 1 << 16
_SOON_MILLISECONDS: Final = 1
_ADDRESS_SPACE: Final = 512 << 20
_STARTED: Final = ["started", ""]


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
        start: seconds that a process may take until it is there, on a machine that is busy.
    """

    seconds: float = 0.1
    memory: int = 16 << 20
    stack: int = 256 << 10
    patience: float = 2.0
    start: float = 30.0

    def until(self, message: Sequence[Any]) -> float:
        """Return for how many seconds the answer to a message is waited for."""
        return self.start if message == _STARTED else self.patience


@dataclass(frozen=True, slots=True)
class Script:
    """A script's text, known by its digest."""

    name: str
    source: str
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", hashlib.sha256(self.source.encode()).hexdigest())


@dataclass(frozen=True, slots=True)
class ScriptCall:
    """A call of the first of some functions that a script has."""

    script: Script
    functions: Sequence[str]
    given: Mapping[str, Any]


class Sandbox:
    """Runs functions of scripts until it is closed."""

    def __init__(self, limits: SandboxLimits | None = None) -> None:
        self._limits = limits or SandboxLimits()
        self._turn = asyncio.Lock()
        self._waited_for: _Worker | None = None
        self._worker: _Worker | None = None
        self.restarts = 0
        """How often a process had to be ended."""

    def call(self, call: ScriptCall) -> tuple[str, Any]:
        """Make a call and wait for it.

        Returns:
            The name of the function that was there, and what it returned, as JSON has it.

        Raises:
            ScriptTimedOut: it took too long.
            ScriptFailed: it threw, grew too large, or has none of the functions.
        """
        worker = self._waited_for = self._ready(self._waited_for)
        try:
            answers = worker.messages(call, self._limits.seconds)
            message = next(answers)
            while True:
                message = answers.send(worker.ask(message, self._limits.until(message)))
        except StopIteration as end:
            return _result(call, end.value)
        except (TimeoutError, OSError, EOFError, ValueError) as error:
            raise self._lost(worker, call, error) from error

    async def run(self, call: ScriptCall) -> tuple[str, Any]:
        """Make a call while the event loop goes on; see `call`."""
        async with self._turn:
            worker = self._worker = self._ready(self._worker)
            try:
                answers = worker.messages(call, self._limits.seconds)
                message = next(answers)
                while True:
                    async with asyncio.timeout(self._limits.until(message)):
                        answer = await worker.answer(message)
                    message = answers.send(answer)
            except StopIteration as end:
                return _result(call, end.value)
            except asyncio.CancelledError:
                # Its answer would be taken for that of the next call.
                worker.end()
                raise
            except (TimeoutError, OSError, EOFError, ValueError) as error:
                raise self._lost(worker, call, error) from error

    def close(self) -> None:
        """End the processes."""
        for worker in (self._worker, self._waited_for):
            if worker is not None:
                worker.end()

    def _ready(self, worker: _Worker | None) -> _Worker:
        if worker is not None and worker.alive:
            return worker
        if worker is not None:
            worker.end()
        return _Worker(self._limits)

    def _lost(self, worker: _Worker, call: ScriptCall, error: Exception) -> ScriptFailed:
        worker.end()
        self.restarts += 1
        if isinstance(error, TimeoutError):
            return ScriptTimedOut(f"{call.script.name}: stopped, it did not come to an end")
        return ScriptFailed(f"{call.script.name}: the process that ran it ended")


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
        self._poll = select.poll()
        self._poll.register(self._output, select.POLLIN)
        self._buffer = bytearray()
        self._has_started = False
        self._loaded: set[str] = set()
        self._finalizer = weakref.finalize(self, _kill, self._process)

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._finalizer.alive and self._process.poll() is None

    def messages(
        self, call: ScriptCall, seconds: float
    ) -> Generator[list[Any], list[Any], list[Any]]:
        """Yield the messages a call takes, be sent their answers, and return the last one."""
        script = call.script
        if not self._has_started:
            yield _STARTED
            self._has_started = True
        if script.digest not in self._loaded:
            answer = yield ["load", script.digest, script.source]
            if answer[0] == "error":
                return answer
            self._loaded.add(script.digest)
        return (
            yield ["call", script.digest, list(call.functions), json.dumps(call.given), seconds]
        )

    def ask(self, message: list[Any], patience: float) -> list[Any]:
        """Send a message and wait for its answer.

        Raises:
            TimeoutError: there is none.
            OSError: the process has ended.
            EOFError: likewise.
            ValueError: the answer makes no sense.
        """
        until = time.monotonic() + patience
        self._send(message)
        while (answer := self._complete()) is None:
            left = until - time.monotonic()
            if left <= 0 or not self._poll.poll(left * 1000):
                raise TimeoutError
            self._read()
        return answer

    async def answer(self, message: list[Any]) -> list[Any]:
        """Send a message and return its answer; see `ask`, but for the time.

        Most answers come sooner than the event loop could go round.
        """
        self._send(message)
        if self._poll.poll(_SOON_MILLISECONDS):
            self._read()
            if (at_once := self._complete()) is not None:
                return at_once
        return await self._later()

    async def _later(self) -> list[Any]:
        """Return the answer to the last message when it has come."""
        loop = asyncio.get_running_loop()
        came: asyncio.Future[list[Any]] = loop.create_future()

        def readable() -> None:
            try:
                self._read()
                answer = self._complete()
            except (OSError, EOFError, ValueError) as error:
                loop.remove_reader(self._output)
                if not came.done():
                    came.set_exception(error)
            else:
                if answer is not None and not came.done():
                    came.set_result(answer)

        loop.add_reader(self._output, readable)
        try:
            return await came
        finally:
            loop.remove_reader(self._output)

    def end(self) -> None:
        """End the process."""
        self._finalizer()

    def _send(self, message: list[Any]) -> None:
        body = json.dumps(message).encode()
        view = memoryview(_LENGTH.pack(len(body)) + body)
        while view:
            view = view[os.write(self._input, view) :]

    def _read(self) -> None:
        part = os.read(self._output, _READ_AT_ONCE)
        if not part:
            raise EOFError
        self._buffer += part

    def _complete(self) -> list[Any] | None:
        """Return the answer in what was read, None while it is not complete."""
        if len(self._buffer) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._buffer)
        if length > _LONGEST_ANSWER:
            raise ValueError("an answer without a bound")
        if len(self._buffer) < _LENGTH.size + length:
            return None
        answer: list[Any] = json.loads(bytes(self._buffer[_LENGTH.size :]))
        self._buffer.clear()
        return answer


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def _result(call: ScriptCall, answer: list[Any]) -> tuple[str, Any]:
    name = call.script.name
    if answer[0] == "error":
        if "interrupted" in answer[1]:
            raise ScriptTimedOut(f"{name}: stopped, it takes too long")
        raise ScriptFailed(f"{name}: {answer[1]}")
    _, result, function = answer
    return function, None if result is None else json.loads(result)
