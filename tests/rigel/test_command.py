"""The command starts, says why it does not, and stops when it is told to."""

import re
import socket
from pathlib import Path

import pytest
from aiohttp import ClientSession

from rigel.cli import main
from rigel.demo.facts import Facts
from tests.support.rigel_process import Ports, rigel


def test_a_taken_port_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("RIGEL_BROKER_PORT", str(taken.getsockname()[1]))

        status = main(["broker"])

    assert status == 1
    assert re.fullmatch(
        r"rigel: cannot listen on 127\.0\.0\.1:\d+: Address already in use; .*\n",
        capsys.readouterr().err,
    )


def test_a_data_directory_that_cannot_be_made_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RIGEL_BROKER_PORT", "0")
    (tmp_path / "file").touch()

    status = main(["broker", "--data-dir", "file/data"])

    assert status == 1
    assert "file/data: Not a directory" in capsys.readouterr().err


async def test_everything_starts_and_ends_in_order_when_told_to(tmp_path: Path) -> None:
    ports = Ports()
    async with (
        ClientSession() as http,
        rigel("up", directory=tmp_path, environment=ports.environment) as process,
    ):
        urls = [f"http://127.0.0.1:{n}" for n in (ports.broker, ports.agents, ports.subscribers)]
        await Facts(http, *urls).ready(30)

        status = await process.stop()

    assert status == 0
    assert "stopping" in process.output
    assert "Traceback" not in process.output
    assert {path.name for path in (tmp_path / "rigel-data").glob("*.db")} >= {"broker.db"}
