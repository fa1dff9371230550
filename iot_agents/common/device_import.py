"""Many devices from one CSV file: `POST /iot/devices/import` (an extension).

`dryRun=true` says what would happen. `mode` is `create`, where a device that exists is an error,
or `upsert`, where the cells that are not empty replace what it has. `onError` is `abort`, where one
bad row keeps all out, or `skip`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from iot_agents.common.device_csv import read_rows
from iot_agents.common.import_rows import Candidate, Outcome, RowError, Way
from iot_agents.common.provisioning_checks import Checks
from iot_agents.common.provisioning_errors import (
    BadRequest,
    ProvisioningError,
    TooLarge,
    UnsupportedContentType,
    WrongSyntax,
)
from iot_agents.common.provisioning_requests import Place, place_of
from iot_agents.common.registry import Registry

_TYPES: Final = ("text/csv", "application/csv", "application/vnd.ms-excel")
_TOLD: Final = 1000
_MEMBER: Final = re.compile(r"(?:device\.|`\$\.)(\w+)")


@dataclass(frozen=True, slots=True)
class _Checked:
    """A file after its check."""

    rows: int
    candidates: Sequence[Candidate]
    errors: Sequence[RowError]


class DeviceImport:
    """The handler, bound to a registry."""

    def __init__(self, registry: Registry, checks: Checks, *, max_bytes: int) -> None:
        self._registry = registry
        self._checks = checks
        self._max_bytes = max_bytes

    def routes(self) -> Sequence[web.RouteDef]:
        """Return what belongs under `/iot`."""
        return (web.post("/devices/import", self.take),)

    async def take(self, request: web.Request) -> web.Response:
        """Take a file in, or say what would come of it."""
        place, way = place_of(request), _way_of(request)
        if request.content_type not in _TYPES:
            raise UnsupportedContentType(f"{request.content_type!r:.80} is not text/csv")
        content = await self._content(request)
        checked = await asyncio.to_thread(self._check, content, place)
        refused = bool(checked.errors) and not way.skip
        done = await self._registry.import_devices(
            checked.candidates, Way(way.dry_run or refused, way.skip, way.upsert)
        )
        return _answer(checked, done, way)

    async def _content(self, request: web.Request) -> bytes:
        content = bytearray()
        async for chunk in request.content.iter_any():
            content += chunk
            if len(content) > self._max_bytes:
                raise TooLarge(f"a file may have {self._max_bytes} bytes")
        return bytes(content)

    def _check(self, content: bytes, place: Place) -> _Checked:
        candidates, errors, lines = [], [], dict[tuple[str, ...], int]()
        rows = 0
        for rows, row in enumerate(read_rows(content), start=1):  # noqa: B007 - its last value is the count
            if row.reason:
                errors.append(RowError(row.line, row.column, WrongSyntax.name, row.reason))
                continue
            try:
                device = self._checks.device(row.document, place, "device")
            except ProvisioningError as error:
                errors.append(_refused(row.line, error))
                continue
            if (before := lines.setdefault(device.identity, row.line)) != row.line:
                reason = f"{device.device_id!r:.80} is on line {before} already"
                errors.append(RowError(row.line, "device_id", "DUPLICATE_DEVICE_ID", reason))
                continue
            candidates.append(Candidate(row.line, device))
        return _Checked(rows, candidates, errors)


def _refused(line: int, error: ProvisioningError) -> RowError:
    text = str(error)
    found = _MEMBER.search(text)
    column = found[1] if found else "device_id" if "device_id" in text else ""
    return RowError(line, column, error.name, text)


def _way_of(request: web.Request) -> Way:
    query = request.query
    words = {
        "dryRun": ("false", "true"),
        "onError": ("abort", "skip"),
        "mode": ("create", "upsert"),
    }
    said = {}
    for name, (usual, other) in words.items():
        text = query.get(name, usual)
        if text not in (usual, other):
            raise BadRequest(f"{name}: {text!r:.80} is neither {usual} nor {other}")
        said[name] = text == other
    return Way(dry_run=said["dryRun"], skip=said["onError"], upsert=said["mode"])


def _answer(checked: _Checked, done: Outcome, way: Way) -> web.Response:
    errors = sorted((*checked.errors, *done.errors), key=lambda error: error.line)
    refused = bool(errors) and not way.skip
    body: dict[str, Any] = {
        "dryRun": way.dry_run,
        "rows": checked.rows,
        "created": 0 if refused else done.created,
        "updated": 0 if refused else done.updated,
        "unchanged": 0 if refused else done.unchanged,
        "failed": len(errors),
        "errors": [
            {"line": each.line, "column": each.column, "name": each.name, "message": each.reason}
            for each in errors[:_TOLD]
        ],
    }
    if refused:
        said = f"{len(errors)} of {checked.rows} rows are wrong, so that nothing was imported"
        body = {"name": errors[0].name, "message": said, **body}
    return web.json_response(body, status=400 if refused else 200)
