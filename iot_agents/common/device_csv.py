"""Devices as rows of a CSV file: which column means what, and what is wrong with a cell.

The first line names the columns, in any order; the separator is a comma, a semicolon or a tab,
whichever the first line has most of. An empty cell says nothing. Columns are

    device_id                     needed
    apikey entity_name entity_type protocol transport endpoint timezone ngsiVersion payloadType
    cmdMode expressionLanguage    text, as in the provisioning API
    timestamp autoprovision storeLastMeasure useCBflowControl
                                  true or false, or yes or no, or 1 or 0
    explicitAttrs                 true, false, or an expression
    attributes lazy commands static_attributes internal_attributes
                                  JSON, as in the provisioning API
    dev_eui codec                 what the LoRaWAN agent shall know
    mapping expected_interval     the mapping file to use; seconds within which it should send
    static:NAME, static:NAME:TYPE a static attribute; a cell that is JSON is taken as such, unless
                                  the type is Text
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

import msgspec

from iot_agents.common.provisioning_errors import WrongSyntax

MAX_ROWS: Final = 100_000
_SEPARATORS: Final = ",;\t"
_STATIC: Final = "static:"
_FLAGS: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class BadCell(Exception):
    """A cell that cannot be read; the text says why."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the file.

    Attributes:
        line: number of its first line in the file, from 1.
        document: the device as the provisioning API would get it.
        column: the first column that cannot be read, and `reason` why; empty when all can.
    """

    line: int
    document: Mapping[str, Any]
    column: str = ""
    reason: str = ""


Put = Callable[[dict[str, Any], str], None]
"""Puts a cell that is not empty into a device."""


def read_rows(content: bytes) -> Iterator[Row]:
    """Read a file; a row that cannot be read says so, and the others go on.

    Raises:
        WrongSyntax: it is no such file, its columns are unknown, or it has too many rows.
    """
    text = _text(content)
    separator = max(_SEPARATORS, key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
    try:
        columns = [(name.strip(), _column(name.strip())) for name in next(reader, [])]
        _check_columns([name for name, _ in columns])
        yield from _rows(reader, columns)
    except csv.Error as error:
        raise WrongSyntax(f"line {reader.line_num}: {error}") from error


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise WrongSyntax(f"line {line}: it is not in UTF-8") from error


def _rows(reader: Any, columns: Sequence[tuple[str, Put]]) -> Iterator[Row]:
    count, line = 0, reader.line_num + 1
    for cells in reader:
        if any(cell.strip() for cell in cells):
            count += 1
            if count > MAX_ROWS:
                raise WrongSyntax(f"line {line}: a file may have {MAX_ROWS} rows")
            yield _row(line, cells, columns)
        line = reader.line_num + 1


def _row(line: int, cells: Sequence[str], columns: Sequence[tuple[str, Put]]) -> Row:
    document: dict[str, Any] = {}
    if len(cells) > len(columns):
        return Row(line, document, "", f"{len(cells)} cells, for {len(columns)} columns")
    for (name, put), cell in zip(columns, cells, strict=False):
        if not (text := cell.strip()):
            continue
        try:
            put(document, text)
        except BadCell as error:
            return Row(line, document, name, str(error))
    return Row(line, document)


def _check_columns(names: Sequence[str]) -> None:
    if "device_id" not in names:
        raise WrongSyntax("line 1: there is no column device_id")
    for number, name in enumerate(names):
        if name in names[:number]:
            raise WrongSyntax(f"line 1: the column {name!r:.80} is there twice")


def _column(name: str) -> Put:
    if name in _COLUMNS:
        return _COLUMNS[name]
    if name.startswith(_STATIC) and name != _STATIC:
        attribute, _, kind = name.removeprefix(_STATIC).partition(":")
        return _static(attribute, kind)
    near = get_close_matches(name, _COLUMNS, n=1)
    hint = f"; {near[0]!r} is one" if near else ""
    raise WrongSyntax(f"line 1: {name!r:.80} is no column{hint}")


def _word(member: str) -> Put:
    def put(document: dict[str, Any], text: str) -> None:
        document[member] = text

    return put


def _flag(member: str) -> Put:
    def put(document: dict[str, Any], text: str) -> None:
        if text.lower() not in _FLAGS:
            raise BadCell(f"{text!r:.80} is neither true nor false")
        document[member] = _FLAGS[text.lower()]

    return put


def _flag_or_word(member: str) -> Put:
    def put(document: dict[str, Any], text: str) -> None:
        document[member] = _FLAGS.get(text.lower(), text)

    return put


def _json(member: str) -> Put:
    def put(document: dict[str, Any], text: str) -> None:
        found = _from_json(text)
        held = document.get(member)
        if isinstance(found, list) and isinstance(held, list):
            found = [*held, *found]
        elif isinstance(found, dict) and isinstance(held, dict):
            found = {**found, **held}
        document[member] = found

    return put


def _from_json(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadCell(f"it is not JSON: {error}") from error


def _internal(section: str, member: str, read: Callable[[str], Any] = str) -> Put:
    def put(document: dict[str, Any], text: str) -> None:
        internal = document.setdefault("internal_attributes", {})
        if not isinstance(internal, dict):
            raise BadCell("internal_attributes must be an object beside this column")
        held = internal.setdefault(section, {})
        if not isinstance(held, dict):
            raise BadCell(f"internal_attributes.{section} must be an object beside this column")
        held[member] = read(text)

    return put


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError as error:
        raise BadCell(f"{text!r:.80} is no number of seconds") from error
    if not 0 < seconds < float("inf"):
        raise BadCell(f"{text!r:.80} is no number of seconds")
    return seconds


def _static(name: str, kind: str) -> Put:
    def put(document: dict[str, Any], text: str) -> None:
        value: Any = text
        if kind != "Text":
            try:
                value = msgspec.json.decode(text)
            except (msgspec.DecodeError, RecursionError):
                value = text
        attribute = {"name": name, "type": kind, "value": value}
        held = document.setdefault("static_attributes", [])
        if not isinstance(held, list):
            raise BadCell("static_attributes must be a list beside this column")
        held.append(attribute)

    return put


_COLUMNS: Final[Mapping[str, Put]] = {
    **{
        name: _word(name)
        for name in (
            "device_id",
            "apikey",
            "entity_name",
            "entity_type",
            "protocol",
            "transport",
            "endpoint",
            "timezone",
            "ngsiVersion",
            "payloadType",
            "cmdMode",
            "expressionLanguage",
        )
    },
    **{
        name: _flag(name)
        for name in ("timestamp", "autoprovision", "storeLastMeasure", "useCBflowControl")
    },
    "explicitAttrs": _flag_or_word("explicitAttrs"),
    **{
        name: _json(name)
        for name in ("attributes", "lazy", "commands", "static_attributes", "internal_attributes")
    },
    "dev_eui": _internal("lorawan", "dev_eui"),
    "codec": _internal("lorawan", "codec"),
    "mapping": _internal("rigel", "mapping"),
    "expected_interval": _internal("rigel", "expectedInterval", _seconds),
}
COLUMNS: Final = (*_COLUMNS, "static:NAME", "static:NAME:TYPE")
