"""Load with wrk, and processes pinned to a core each so that server and load do not share one."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SERVER_CORE, LOAD_CORE = (0, 1) if (os.cpu_count() or 1) > 1 else (0, 0)
_RATE = re.compile(r"Requests/sec:\s+([\d.]+)")
_BAD = re.compile(r"Non-2xx or 3xx responses: (\d+)")
_PERCENTILE = re.compile(r"^\s+(50|95|99)(?:\.000)?%\s+([\d.]+)(us|ms|s)", re.MULTILINE)
_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}
_READY_SECONDS = 30
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk saw: requests per second, percentiles in milliseconds, answers that were errors."""

    rate: float
    percentiles: dict[int, float]
    errors: int


def wrk(
    url: str,
    *,
    connections: int = 50,
    seconds: int = 5,
    script: str | None = None,
    workdir: Path,
    headers: Sequence[str] = (),
) -> Load:
    """Drive a URL with wrk; `script` is Lua."""
    if shutil.which("wrk") is None:
        sys.exit("the bench needs wrk (Debian package wrk)")
    command = ["taskset", "-c", str(LOAD_CORE), "wrk", "-t1", f"-c{connections}"]
    command += [f"-d{seconds}s", "--latency"]
    # wrk prints 50, 75, 90 and 99; the p95 comes from the script's own summary
    path = workdir / "load.lua"
    path.write_text((script or "") + _SUMMARY)
    command += ["-s", str(path)]
    for header in headers:
        command += ["-H", header]
    out = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    rate = _RATE.search(out)
    bad = _BAD.search(out)
    found = {
        int(match[1]): float(match[2]) * _UNITS[match[3]] for match in _PERCENTILE.finditer(out)
    }
    return Load(float(rate[1]) if rate else 0.0, found, int(bad[1]) if bad else 0)


_SUMMARY = """
done = function(summary, latency, requests)
  for _, p in pairs({50, 95, 99}) do
    io.write(string.format("  %g%%  %gus\\n", p, latency:percentile(p)))
  end
end
"""


def free_port() -> int:
    """Return a port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def process(
    command: Sequence[str], ready_url: str, *, core: int = SERVER_CORE
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server on its core until the block ends; it is ended by its pid.

    Args:
        ready_url: answers once the server is ready; `tcp:PORT` is enough for one without HTTP.
    """
    started = subprocess.Popen(["taskset", "-c", str(core), *command])
    try:
        _wait(ready_url, started)
        yield started
    finally:
        started.send_signal(signal.SIGTERM)
        try:
            started.wait(10)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def _wait(url: str, started: subprocess.Popen[bytes]) -> None:
    limit = time.monotonic() + _READY_SECONDS
    while time.monotonic() < limit:
        if started.poll() is not None:
            sys.exit(f"{started.args!r} ended with {started.returncode}")
        try:
            if url.startswith("tcp:"):
                socket.create_connection(("127.0.0.1", int(url[4:])), timeout=1).close()
                return
            with urllib.request.urlopen(url, timeout=1):  # noqa: S310 - our own server
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"{url} did not answer within {_READY_SECONDS} s")


def resident_mib(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def processor(pid: int) -> float:
    """Return the seconds of processor time a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
