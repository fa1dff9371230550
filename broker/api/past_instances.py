"""/temporal/instances: past instances of many entities, a line for each (an extension).

What is taken and given is streamed, so that it may be larger than memory.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

import msgspec
from aiohttp import StreamReader, web
from aiohttp.http_exceptions import LineTooLong

from broker.api import answers, media, temporal_asking
from broker.api.request import Request
from broker.api.routes import Route
from broker.core import evolution_forms, past_rows
from broker.core.errors import BadRequestData, NgsiLdError
from broker.core.evolution import PastInstance
from broker.core.ld_context import LdContext
from broker.operations import temporal as operations

_ROWS: Final = 1000
_MOST_ERRORS: Final = 1000
_encode = msgspec.json.encode


@dataclass(slots=True)
class _Taken:
    """What has become of the rows so far."""

    imported: int = 0
    refused: int = 0
    errors: list[Mapping[str, Any]] = field(default_factory=list)

    def refuse(self, line: int, error: NgsiLdError) -> None:
        """Count a row that is none; of so many it is told why."""
        self.refused += 1
        if len(self.errors) < _MOST_ERRORS:
            self.errors.append({"line": line, "detail": error.detail})


async def import_instances(request: Request) -> web.Response:
    """POST /temporal/instances."""
    ld_context = await request.ld_context()
    lines = _lines(request.raw.content)
    read: past_rows.Read = past_rows.read_json
    if request.content_type == media.CSV:
        first = await anext(lines, None)
        read = past_rows.csv_reader("" if first is None else _text(first[1]))
    taken = _Taken()
    async for piece in _pieces(lines, read, taken):
        errors = await operations.import_instances(
            request.broker, request.tenant, [row for _, row in piece], ld_context
        )
        taken.imported += len(piece) - len(errors)
        for place, error in errors:
            taken.refuse(piece[place][0], error)
    found = {"imported": taken.imported, "refused": taken.refused, "errors": taken.errors}
    return answers.plain(found, status=207 if taken.refused else 200)


async def _lines(content: StreamReader) -> AsyncIterator[tuple[int, bytes | None]]:
    """Yield the lines of a body that are not empty, with their numbers.

    None stands for one that is too long, and for all behind it: where it ends is not known.
    """
    for number in count(1):
        try:
            line = await content.readline()
        except LineTooLong:
            yield number, None
            return
        if not line:
            return
        if line.strip():
            yield number, line


def _text(line: bytes | None) -> str:
    """Return a line as text.

    Raises:
        BadRequestData: it is too long, or no UTF-8.
    """
    if line is None:
        raise BadRequestData("too long; nothing behind it was read")
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise BadRequestData(str(error)) from error


async def _pieces(
    lines: AsyncIterator[tuple[int, bytes | None]], read: past_rows.Read, taken: _Taken
) -> AsyncIterator[Sequence[tuple[int, dict[str, Any]]]]:
    """Yield rows with their lines, so many at a time; what is no row is refused."""
    piece: list[tuple[int, dict[str, Any]]] = []
    async for number, line in lines:
        try:
            piece.append((number, read(_text(line))))
        except BadRequestData as error:
            taken.refuse(number, error)
        if len(piece) == _ROWS:
            yield piece
            piece = []
    if piece:
        yield piece


async def export_instances(request: Request) -> web.StreamResponse:
    """GET /temporal/instances."""
    ld_context = await request.ld_context()
    asked = temporal_asking.export(request, ld_context)
    header, write = _WRITERS[request.accept]
    pieces = operations.export_instances(
        request.broker, request.tenant, asked.query, asked.selection
    )
    first = await anext(pieces, None)  # before the headers, so that an error is still one
    response = web.StreamResponse(headers={"Content-Type": request.accept})
    await response.prepare(request.raw)
    await response.write(header + _written(first or (), ld_context, write))
    async for piece in pieces:
        await response.write(_written(piece, ld_context, write))
    await response.write_eof()
    return response


_Write = Callable[[Mapping[str, Any]], bytes]


def _written(past: Sequence[PastInstance], ld_context: LdContext, write: _Write) -> bytes:
    return b"".join(write(evolution_forms.render_row(one, ld_context)) for one in past)


_WRITERS: Final[Mapping[str, tuple[bytes, _Write]]] = {
    media.NDJSON: (b"", lambda row: _encode(row) + b"\n"),
    media.CSV: (past_rows.HEADER.encode(), lambda row: past_rows.csv_line(row).encode()),
}

ROUTES = (
    Route("POST", "/temporal/instances", import_instances, "importInstances", takes=media.LINES),
    Route(
        "GET",
        "/temporal/instances",
        export_instances,
        "exportInstances",
        temporal_asking.EXPORT,
        media.LINES,
    ),
)
