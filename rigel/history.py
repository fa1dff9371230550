"""The command `rigel history`: bring past instances into a running broker, and get them out.

A line is one instance, in NDJSON or CSV as `broker.core.past_rows` tells; the broker reads and
writes them. Importing a line again changes nothing, so an import that was stopped goes on from the
line it names.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final

from broker.client import BrokerRefused, BrokerUnreachable, Client
from rigel.actions import AddAction
from rigel.settings import Settings
from rigel.subscriptions import broker_url, to_broker

FORMATS: Final = {"ndjson": "application/x-ndjson", "csv": "text/csv"}
_PATH: Final = "/temporal/instances"
_FAILED: Final = 1
_LINES: Final = 2000
_SHOWN_ERRORS: Final = 20
_SECONDS: Final = 120.0


def add_actions(add: AddAction) -> None:
    """Add the actions and what can be said to each."""
    importing = add("import", "bring past instances from a file into the broker")
    importing.add_argument("file", nargs="?", default="-", help="`-`, or none: standard input")
    importing.add_argument(
        "--from-line", type=int, default=1, metavar="N", help="pass over what is before this line"
    )
    exporting = add("export", "write past instances to a file")
    exporting.add_argument("file", nargs="?", default="-", help="`-`, or none: standard output")
    exporting.add_argument(
        "--query",
        default="",
        metavar="PARAMS",
        help="which instances, such as `type=Sensor&timerel=after&timeAt=…` (default: all)",
    )
    for action in (importing, exporting):
        action.add_argument(
            "--format",
            choices=tuple(FORMATS),
            help="how it is written (default: csv if the file is named so, else ndjson)",
        )
        action.add_argument("--context", metavar="URL", help="the @context of the names")
        to_broker(action)


async def run(settings: Settings, given: argparse.Namespace) -> int:
    """Do what was asked for and return the exit status.

    Raises:
        OSError: the file cannot be opened.
        BrokerRefused: the broker answered with an error.
        BrokerUnreachable: there is no broker, or not any more.
    """
    media_type = FORMATS[given.format or ("csv" if given.file.endswith(".csv") else "ndjson")]
    url = broker_url(settings, given.url)
    async with Client.connect(
        url, tenant=given.tenant, ld_context=given.context, timeout=_SECONDS
    ) as client:
        if given.action == "export":
            return await _export(client, given, media_type)
        return await _import(client, given, media_type)


async def _import(client: Client, given: argparse.Namespace, media_type: str) -> int:
    total = _Total()
    with _opened(given.file, "rb") as file:
        header = file.readline() if media_type == FORMATS["csv"] else b""
        for first, lines in _pieces(file, 2 if header else 1, given.from_line):
            try:
                answer = await client.send_lines(_PATH, header + b"".join(lines), media_type)
            except (BrokerRefused, BrokerUnreachable):
                _say(f"stopped; go on with --from-line {first}")
                raise
            total.add(answer, first - (2 if header else 1))
            _say(
                f"{total.imported} imported, {total.refused} refused,"
                f" to line {first + len(lines) - 1}"
            )
    return _FAILED if total.refused else 0


def _pieces(file: BinaryIO, line: int, from_line: int) -> Iterator[tuple[int, Sequence[bytes]]]:
    """Yield lines, so many at a time, with the number of the first.

    Args:
        line: the number of the line that comes next in the file.
        from_line: what is before it is passed over.
    """
    for _ in islice(file, max(0, from_line - line)):
        pass
    line = max(line, from_line)
    while lines := list(islice(file, _LINES)):
        yield line, lines
        line += len(lines)


class _Total:
    """What has become of all lines so far."""

    def __init__(self) -> None:
        self.imported = 0
        self.refused = 0

    def add(self, answer: dict[str, Any], before: int) -> None:
        """Count what a piece became, and tell of the first errors where in the file they are."""
        self.imported += answer["imported"]
        for error in answer["errors"][: max(0, _SHOWN_ERRORS - self.refused)]:
            _say(f"line {error['line'] + before}: {error['detail']}")
        self.refused += answer["refused"]


async def _export(client: Client, given: argparse.Namespace, media_type: str) -> int:
    count = 0
    with _opened(given.file, "wb") as file:
        async for line in client.lines(
            _PATH + (f"?{given.query}" if given.query else ""), media_type
        ):
            file.write(line)
            count += 1
    _say(f"{count - (media_type == FORMATS['csv'])} exported")
    return 0


def _opened(name: str, mode: str) -> Any:
    if name == "-":
        return nullcontext(sys.stdin.buffer if mode == "rb" else sys.stdout.buffer)
    return Path(name).open(mode)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
