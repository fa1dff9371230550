"""Past instances as lines of text: NDJSON and CSV, for import and export (an extension).

A line is one instance with the names of its entity, the entity's type and its attribute. In NDJSON
it is an object with `entityId`, `entityType`, `attribute` and the members of the instance. In CSV
these are the columns, named by the first line, and

    value  what the attribute has, whatever its member is called for its `type` (`Property` when
           there is none): JSON where it reads as such, text otherwise.

A row of CSV stands on one line.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from io import StringIO
from typing import Any, Final

import msgspec

from broker.core.errors import BadRequestData
from broker.core.vocabulary import KINDS

COLUMNS: Final = (
    "entityId", "entityType", "attribute", "type", "observedAt", "value", "unitCode", "datasetId",
)  # fmt: skip
NEEDED: Final = ("entityId", "entityType", "attribute", "observedAt", "value")
HEADER: Final = ",".join(COLUMNS) + "\n"

Read = Callable[[str], dict[str, Any]]
_decode = msgspec.json.decode


def read_json(line: str) -> dict[str, Any]:
    """Read a line of NDJSON.

    Raises:
        BadRequestData: it is no JSON object.
    """
    try:
        row = _decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRequestData(f"not JSON: {error}") from error
    if not isinstance(row, dict):
        raise BadRequestData(f"expected an object, got {row!r:.80}")
    return row


def csv_reader(header: str) -> Read:
    """Return what reads the lines below a header of CSV.

    Raises:
        BadRequestData: columns are missing, or named twice.
    """
    names = [name.strip() for name in _cells(header)]
    missing = [name for name in NEEDED if name not in names]
    if missing:
        raise BadRequestData(f"expected columns {', '.join(missing)}, got {header.strip()!r:.200}")
    if len(set(names)) < len(names):
        raise BadRequestData("expected each column once")

    def read(line: str) -> dict[str, Any]:
        cells = _cells(line)
        if len(cells) != len(names):
            raise BadRequestData(f"expected {len(names)} values, got {len(cells)}")
        return _row({name: cell for name, cell in zip(names, cells, strict=True) if cell})

    return read


def csv_line(row: Mapping[str, Any]) -> str:
    """Write a row as a line of CSV; what has no column is left out."""
    kind = KINDS.get(row.get("type", ""), KINDS["Property"])
    shown = {**row, "value": row.get(kind.value)}
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerow(
        [_cell(name, shown[name]) if name in shown else "" for name in COLUMNS]
    )
    return text.getvalue()


def _cells(line: str) -> list[str]:
    try:
        return next(csv.reader([line], strict=True))
    except (csv.Error, StopIteration) as error:
        raise BadRequestData(f"no row of CSV: {error}") from error


def _row(cells: dict[str, Any]) -> dict[str, Any]:
    kind = KINDS.get(cells.get("type", "Property"))
    if "value" in cells:
        text = cells.pop("value")
        cells["value" if kind is None else kind.value] = _value(text)
    if cells.get("entityType", "").startswith("["):
        cells["entityType"] = _value(cells["entityType"])
    return cells


def _value(text: str) -> Any:
    try:
        return _decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text


def _cell(name: str, value: Any) -> str:
    if isinstance(value, str) and (name != "value" or _value(value) == value):
        return value
    return msgspec.json.encode(value).decode()
