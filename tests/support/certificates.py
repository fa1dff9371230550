"""Certificates for servers that tests run, signed by themselves."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="the program openssl is not installed"
)


async def certified(directory: Path, name: str) -> tuple[Path, Path]:
    """Make a certificate for a name, and its key."""
    certificate, key = directory / "server.crt", directory / "server.key"
    process = await asyncio.create_subprocess_exec(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-nodes", "-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"),
        *("-keyout", str(key), "-out", str(certificate)),
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert await process.wait() == 0
    return certificate, key
