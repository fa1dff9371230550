"""The command `rigel history`: bring past instances into a running broker, and get them out.

A line is one instance: in NDJSON an object with `entityId`, `entityType`, `attribute` and the
members of the instance; in CSV the same as columns, where `value` is JSON if it reads as such and
text otherwise. Importing a line again changes nothing, so an import that was stopped goes on from
the line it names.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, Final, TextIO

import msgspec

from broker.client import BrokerRefused, BrokerUnreachable, Client
from rigel.settings import Settings
from rigel.subscriptions import broker_url

ACTIONS: Final = ("import", "export")
FORMATS: Final = ("ndjson", "csv")
_FAILED: Final = 1
_ROWS: Final = 2000
_SHOWN_ERRORS: Final = 20
_SECONDS: Final = 120.0
_COLUMNS: Final = (
    "entityId", "entityType", "attribute", "type", "observedAt", "value", "unitCode", "datasetId",
)  # fmt: skip
_encode = msgspec.json.encode


class NotImportable(Exception):
    """A file cannot be read as what it should be; the text says where and why."""


def add_options(command: argparse.ArgumentParser) -> None:
    """Add what can be said to the command."""
    command.add_argument("action", choices=ACTIONS, help="what to do")
    command.add_argument(
        "file", nargs="?", default="-", help="the file; `-`, or none, is standard input or output"
    )
    command.add_argument("--format", choices=FORMATS, help="how it is written (default: its name)")
    command.add_argument(
        "--from-line", type=int, default=1, metavar="N", help="import: pass over what is before it"
    )
    command.add_argument(
        "--query",
        default="",
        metavar="PARAMS",
        help="export: which instances, such as `type=Sensor&timerel=after&timeAt=…`",
    )
    command.add_argument("--context", metavar="URL", help="the @context of the names")
    command.add_argument("--url", metavar="URL", help="the broker (default: that of the settings)")
    command.add_argument("--tenant", default="", metavar="NAME", help="the tenant")


async def run(settings: Settings, given: argparse.Namespace) -> int:
    """Do what was asked for and return the exit status.

    Raises:
        NotImportable: the file cannot be read.
        BrokerRefused: the broker answered with an error.
        BrokerUnreachable: there is no broker, or not any more.
    """
    written_as = given.format or ("csv" if given.file.endswith(".csv") else "ndjson")
    url = broker_url(settings, given.url)
    async with Client.connect(
        url, tenant=given.tenant, ld_context=given.context, timeout=_SECONDS
    ) as client:
        if given.action == "export":
            return await _export(client, given, written_as)
        return await _import(client, given, written_as)


async def _import(client: Client, given: argparse.Namespace, written_as: str) -> int:
    imported, refused, line = 0, 0, given.from_line
    with _opened(given.file, "r") as file:
        rows = _rows(file, written_as, given.from_line)
        while piece := list(islice(rows, _ROWS)):
            line = piece[0][0]
            try:
                answer = await client.request(
                    "POST", "/temporal/instances", body=[row for _, row in piece]
                )
            except (BrokerRefused, BrokerUnreachable):
                _say(f"stopped; go on with --from-line {line}")
                raise
            for error in answer["errors"]:
                refused += 1
                if refused <= _SHOWN_ERRORS:
                    _say(f"line {piece[error['index']][0]}: {error['detail']}")
            imported += answer["imported"]
            _say(f"{imported} imported, {refused} refused, to line {piece[-1][0]}")
    return _FAILED if refused else 0


def _rows(file: TextIO, written_as: str, from_line: int) -> Iterator[tuple[int, Any]]:
    """Yield the rows of a file with the lines they stand in."""
    if written_as == "csv":
        reader = csv.DictReader(file)
        missing = {"entityId", "entityType", "attribute", "observedAt"} - set(
            reader.fieldnames or ()
        )
        if missing:
            raise NotImportable(f"line 1: expected columns {', '.join(sorted(missing))}")
        for row in reader:
            if reader.line_num >= from_line:
                yield reader.line_num, _from_csv(row, reader.line_num)
        return
    for number, text in enumerate(file, 1):
        if number < from_line or not text.strip():
            continue
        try:
            yield number, msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            raise NotImportable(f"line {number}: {error}") from error


def _from_csv(row: dict[Any, Any], line: int) -> dict[str, Any]:
    if None in row:
        raise NotImportable(f"line {line}: more values than there are columns")
    found = {name: text for name, text in row.items() if text}
    if "value" in found:
        found["value"] = _value(found["value"])
    return found


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


async def _export(client: Client, given: argparse.Namespace, written_as: str) -> int:
    path = "/temporal/instances" + (f"?{given.query}" if given.query else "")
    count = 0
    with _opened(given.file, "w") as file:
        table = csv.writer(file) if written_as == "csv" else None
        if table is not None:
            table.writerow(_COLUMNS)
        async for line in client.lines(path):
            if table is None:
                file.write(line.decode() + "\n")
            else:
                table.writerow(_to_csv(msgspec.json.decode(line)))
            count += 1
    _say(f"{count} exported")
    return 0


def _to_csv(row: dict[str, Any]) -> Sequence[str]:
    return [_cell(row.get(name, "")) for name in _COLUMNS]


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else _encode(value).decode()


def _opened(name: str, mode: str) -> Any:
    if name == "-":
        return nullcontext(sys.stdin if mode == "r" else sys.stdout)
    return Path(name).open(mode, encoding="utf-8", newline="")  # csv reads line ends itself


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
