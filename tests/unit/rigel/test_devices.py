"""`rigel device` against agents that run."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession

from iot_agents.server import LORAWAN, serve
from iot_agents.settings import Settings as AgentSettings
from rigel import devices
from rigel.cli import build_parser, main
from rigel.devices import AgentsRefused
from rigel.settings import Settings
from tests.support.serve import running

TOKEN = "http-token"


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    settings = AgentSettings(
        port=0, data_dir=tmp_path / "data", mqtt_embedded_port=0, lorawan_http_token=TOKEN
    )
    async with running(serve(settings, {LORAWAN})) as agents:
        yield agents.url


async def said(url: str, *words: str) -> int:
    """Run the command as the command line does."""
    given = build_parser().parse_args(["device", *words, "--service", "city", "--url", url])
    return await devices.run(Settings(), given)


async def uplink(url: str, eui: str) -> None:
    """Send an uplink of a device that nobody knows."""
    message = {"deviceInfo": {"devEui": eui}, "fCnt": 1, "fPort": 1, "object": {"occupied": True}}
    headers = {"Authorization": f"Bearer {TOKEN}"}
    path = f"{url}/lorawan/chirpstack?event=up"
    async with ClientSession() as http, http.post(path, json=message, headers=headers) as answer:
        assert answer.status == 200, await answer.text()


async def test_a_file_is_tried_and_then_imported(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "devices.csv"
    file.write_text("device_id,entity_type\nlamp-1,Lamp\nlamp-2,Lamp\n")

    statuses = [await said(url, "import", str(file), "--dry-run"), await said(url, "list")]
    statuses += [await said(url, "import", str(file)), await said(url, "list")]

    assert statuses == [0, 0, 0, 0]
    assert capsys.readouterr().out.splitlines() == [
        "2 rows: 2 would be created, 0 would be updated, 0 unchanged, 0 wrong",
        "0 devices",
        "2 rows: 2 created, 0 updated, 0 unchanged, 0 wrong",
        "lamp-1  Lamp  urn:ngsi-ld:Lamp:lamp-1",
        "lamp-2  Lamp  urn:ngsi-ld:Lamp:lamp-2",
        "2 devices",
    ]


async def test_what_is_wrong_in_a_file_is_named_and_may_be_left_out(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "devices.csv"
    file.write_text("device_id,timestamp\na,perhaps\nb,yes\n")

    refused = await said(url, "import", str(file))
    taken = await said(url, "import", str(file), "--skip-errors")

    assert (refused, taken) == (1, 0)
    assert capsys.readouterr().out.splitlines() == [
        "line 2, timestamp: 'perhaps' is neither true nor false",
        "2 rows: 0 created, 0 updated, 0 unchanged, 1 wrong",
        "line 2, timestamp: 'perhaps' is neither true nor false",
        "2 rows: 1 created, 0 updated, 0 unchanged, 1 wrong",
    ]


async def test_who_waits_is_shown_let_in_and_purged(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for eui in ("02000000000000a1", "02000000000000b1"):
        await uplink(url, eui)
    template = tmp_path / "template.json"
    template.write_text(json.dumps({"attributes": [{"object_id": "occupied", "name": "status"}]}))

    await said(url, "waiting", "*a1")
    waiting = capsys.readouterr().out
    await said(url, "accept", "*a1", "--type", "Spot", "--template", str(template))
    accepted = capsys.readouterr().out
    await said(url, "show", "02000000000000a1", "--json")
    shown = json.loads(capsys.readouterr().out)
    await said(url, "purge", "*")
    purged = capsys.readouterr().out

    assert "02000000000000a1  lorawan  1 since " in waiting
    assert waiting.endswith("1 devices wait\n")
    assert accepted == "02000000000000a1 created\n1 measures went on, 0 wait\n"
    assert shown["entity_type"] == "Spot"
    assert purged == "1 measures deleted\n"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("show", "none"), "404 DEVICE_NOT_FOUND"),
        (("show", "a/b?c"), "404 DEVICE_NOT_FOUND: no device 'a/b?c'"),
        (("accept", "none*"), "404 DEVICE_NOT_FOUND: nothing waits"),
    ],
    ids=["unknown", "odd id", "nobody waits"],
)
async def test_a_refusal_is_explained(url: str, words: tuple[str, ...], reason: str) -> None:
    with pytest.raises(AgentsRefused) as refusal:
        await said(url, *words)

    assert reason in str(refusal.value)


def test_agents_that_are_not_there_end_the_command_with_an_explanation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["device", "list", "--url", "http://127.0.0.1:9"]) == 1
    assert "http://127.0.0.1:9/iot/devices: no answer" in capsys.readouterr().err
