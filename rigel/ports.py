"""Tell before anything starts that a port is taken."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass


class PortTaken(Exception):
    """Another process listens where this one was told to."""


@dataclass(frozen=True, slots=True)
class Port:
    """An address to listen on, and the variable that sets it."""

    host: str
    number: int
    variable: str


def refuse_taken(*ports: Port) -> None:
    """Check that one can listen on each port; a number of 0 takes a free one and always passes.

    Raises:
        PortTaken: one of them is in use; the text says what to do.
    """
    for port in ports:
        try:
            with socket.create_server((port.host, port.number)):
                pass
        except OSError as error:
            raise PortTaken(
                f"cannot listen on {port.host}:{port.number}: {_reason(error)}; stop the process "
                f"that uses the port, or choose another one with {port.variable}"
            ) from error


def _reason(error: OSError) -> str:
    # The text that comes with the error repeats the address.
    return os.strerror(error.errno) if error.errno else str(error)


def free_port(host: str) -> int:
    """Return a port that nobody listens on at this moment."""
    with socket.create_server((host, 0)) as server:
        port: int = server.getsockname()[1]
    return port


def local(host: str) -> str:
    """Return where to call what listens on an address of this machine, as a part of a URL."""
    own = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - compared, not listened on
    return own.get(host) or (f"[{host}]" if ":" in host else host)
