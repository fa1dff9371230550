"""`rigel history` against a broker that runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from broker.client import BrokerRefused, BrokerUnreachable, Client
from rigel import history
from rigel.cli import build_parser
from rigel.settings import Settings
from tests.support.serve import running_broker

HEADER = "entityId,entityType,attribute,observedAt,value\n"
ROW = "urn:ngsi-ld:Road:{},Road,speed,2026-05-01T10:00:00Z,{}\n"


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    async with running_broker(tmp_path / "data") as broker:
        yield broker.url


async def said(url: str, *words: str) -> int:
    """Run the command as the command line does."""
    given = build_parser().parse_args(["history", *words, "--url", url])
    return await history.run(Settings(), given)


async def speeds(url: str) -> list[Any]:
    async with Client.connect(url) as client:
        lines = [
            msgspec.json.decode(line)
            async for line in client.lines("/temporal/instances?type=Road", "application/x-ndjson")
        ]
    return [line["value"] for line in lines]


async def test_a_file_is_imported_and_told_of(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "past.csv"
    file.write_text(HEADER + "".join(ROW.format(number, number) for number in range(2500)))

    status = await said(url, "import", str(file))

    assert status == 0
    assert capsys.readouterr().err.splitlines() == [
        "2000 imported, 0 refused, to line 2001",
        "2500 imported, 0 refused, to line 2501",
    ]
    assert sorted(await speeds(url)) == list(range(2500))


async def test_a_wrong_line_is_named_by_its_place_in_the_file(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [ROW.format(number, 1) for number in range(2100)]
    lines[2050] = "x,Road,speed,2026-05-01T10:00:00Z,1\n"
    file = tmp_path / "past.csv"
    file.write_text(HEADER + "".join(lines))

    status = await said(url, "import", str(file))

    assert status == 1
    told = capsys.readouterr().err.splitlines()
    assert told[1].startswith("line 2052: entityId: ")
    assert told[2] == "2099 imported, 1 refused, to line 2101"


@pytest.mark.parametrize(
    ("name", "from_line", "expected"),
    [("past.csv", 3, [2, 3]), ("past.csv", 1, [1, 2, 3]), ("past.ndjson", 3, [3])],
)
async def test_an_import_goes_on_from_a_line(
    url: str, tmp_path: Path, name: str, from_line: int, expected: list[int]
) -> None:
    rows = [ROW.format(number, number).strip().split(",") for number in (1, 2, 3)]
    names = HEADER.strip().split(",")
    objects = [{**dict(zip(names, row, strict=True)), "value": int(row[-1])} for row in rows]
    file = tmp_path / name
    if name.endswith("csv"):
        file.write_text(HEADER + "".join(",".join(row) + "\n" for row in rows))
    else:
        file.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in objects))

    await said(url, "import", str(file), "--from-line", str(from_line))

    assert sorted(await speeds(url)) == expected


async def test_an_import_that_stops_says_where_to_go_on(
    tmp_path: Path, unused_tcp_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "past.csv"
    file.write_text(HEADER + ROW.format(1, 1))

    with pytest.raises(BrokerUnreachable):
        await said(f"http://127.0.0.1:{unused_tcp_port}", "import", str(file))

    assert "--from-line 2" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["out.csv", "out.ndjson"])
async def test_what_is_exported_is_imported_elsewhere(
    url: str, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "past.csv", str(tmp_path / name)
    source.write_text(HEADER + ROW.format(1, 1) + ROW.format(2, 2))
    await said(url, "import", str(source))
    capsys.readouterr()

    await said(url, "export", out, "--query", "type=Road")
    status = await said(url, "import", out, "--tenant", "copy")

    assert status == 0
    assert capsys.readouterr().err.startswith("2 exported\n2 imported, 0 refused")


async def test_a_wrong_query_is_refused_with_its_reason(url: str, tmp_path: Path) -> None:
    with pytest.raises(BrokerRefused, match="timerel"):
        await said(url, "export", str(tmp_path / "out.csv"), "--query", "type=Road&timerel=soon")
