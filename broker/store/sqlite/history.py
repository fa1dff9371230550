"""The rows of history: one for each instance of an attribute that there ever was.

An entity keeps its number for as long as its history is kept, also when it is deleted and created
again. A series is an attribute of an entity in one dataset: the number of the attribute's term,
and in the lower bits that of the datasetId (0: the default instance). Scopes and sets of types have
a series as well, under the terms `scope` and `type`.

`at` is the `observedAt` of an instance, or if it has none, when it was written. Of each instant a
series has one observed instance (`n` is 0): one that comes again replaces it. All others are kept
apart by `n`, the version of the entity. A deletion stands at the moment when it was made, or at the
`observedAt` of what was deleted if that is later, so that it is always behind it.

`form` has how `observedAt` was written (`core.moments`) and the flags `OBSERVED` and `DELETED`.
`recorded` is how much later than `at` the row was written: the instance's `createdAt`, or its
`deletedAt`. `value` is the number or the text of a Property, with a `unitCode` in `rest` as text or
several other members as JSON; or it is any other instance as JSON, without its times. Types are
taken down only when they change: those from before with those from then on.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from broker.core import moments
from broker.core.events import AttributeChanged, EntityChanged
from broker.core.evolution import null_instance
from broker.core.identifiers import DEFAULT_INSTANCE
from broker.core.vocabulary import KINDS
from broker.store.sqlite.index_terms import Terms

DDL = """
CREATE TABLE history (
    entity INTEGER NOT NULL,
    series INTEGER NOT NULL,
    at INTEGER NOT NULL,
    n INTEGER NOT NULL,
    form INTEGER NOT NULL,
    recorded INTEGER NOT NULL,
    modified INTEGER,
    value,
    rest,
    PRIMARY KEY (entity, series, at, n)
) WITHOUT ROWID;
CREATE INDEX history_deleted ON history (entity, series, at) WHERE form & 64;

-- Entities that are history only: no more (deleted), or never there (deleted IS NULL).
CREATE TABLE evolution (
    seq INTEGER PRIMARY KEY,
    tenant INTEGER NOT NULL,
    id TEXT NOT NULL,
    type_set INTEGER NOT NULL,
    version INTEGER NOT NULL,
    created TEXT NOT NULL,
    deleted TEXT,
    UNIQUE (tenant, id)
);
CREATE INDEX evolution_types ON evolution (tenant, type_set);
"""

REPLACE: Final = "INSERT OR REPLACE INTO history VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_INSERT = REPLACE.replace(" OR REPLACE", "")
_IGNORE = REPLACE.replace("REPLACE", "IGNORE")
TYPE: Final = "type"
SCOPE: Final = "scope"
OBSERVED: Final = 32
DELETED: Final = 64
COLUMNS: Final = "at, n, form, recorded, modified, value, rest"
"""What `read_instance` takes."""

BITS: Final = 24
_MASK = (1 << BITS) - 1
_FORM = moments.COMMA | moments.DIGITS
_NUMBERS = frozenset({float, int})
_SIMPLE = frozenset({"type", "value", "createdAt", "modifiedAt", "observedAt", "datasetId"})
_TIMES = frozenset({"createdAt", "modifiedAt", "deletedAt", "observedAt", "datasetId"})
_LARGEST = 1 << 63
_INSTANCE_ID = "urn:ngsi-ld:Instance:"

_encode = msgspec.json.encode
_decode = msgspec.json.decode

Instance = Mapping[str, Any]
HistoryRow = tuple[int, int, int, int, int, int, int | None, Any, bytes | str | None]
"""A row as it is written."""


class Key(NamedTuple):
    """What addresses a row, and with `recorded` also tells it from what it replaced."""

    entity: int
    series: int
    at: int
    n: int
    recorded: int


def series_of(terms: Terms, cursor: sqlite3.Cursor, attribute: str, dataset_id: str) -> int:
    """Return the number of a series, giving its names numbers if they have none."""
    return terms.intern(cursor, attribute) << BITS | dataset_number(terms, cursor, dataset_id)


def dataset_number(terms: Terms, cursor: sqlite3.Cursor, dataset_id: str) -> int:
    """Return the lower bits of a series in a dataset."""
    return 0 if dataset_id == DEFAULT_INSTANCE else terms.intern(cursor, dataset_id) & _MASK


def series_range(attribute: int) -> tuple[int, int]:
    """Return the first and the last series that an attribute can have."""
    return attribute << BITS, attribute << BITS | _MASK


def numbers_of(series: int) -> tuple[int, int]:
    """Return the numbers of the attribute and the datasetId of a series."""
    return series >> BITS, series & _MASK


class History:
    """What the open transaction adds to the history."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._rows: list[HistoryRow] = []
        self._first: list[HistoryRow] = []

    def note(self, cursor: sqlite3.Cursor, seq: int, event: EntityChanged) -> None:
        """Take down a change of an entity."""
        at = moments.instant(event.at)
        intern, rows, version = self._terms.intern, self._rows, event.version
        for attribute, dataset_id, before, after in event.attributes():
            series = intern(cursor, attribute) << BITS
            if dataset_id != DEFAULT_INSTANCE:
                series |= intern(cursor, dataset_id) & _MASK
            if after is None:
                rows.append(tombstone_row(seq, series, before or {}, at, version))
            elif before is None or not _is_postponed(before, after):
                rows.append(instance_row(seq, series, after, at, version))
        self._note_members(cursor, seq, event, at)

    def note_late(
        self, cursor: sqlite3.Cursor, seq: int, late: Sequence[AttributeChanged], at: int
    ) -> None:
        """Take down observed instances that did not become the current ones."""
        for changed in late:
            series = series_of(self._terms, cursor, changed.attribute, changed.dataset_id)
            self._rows.append(instance_row(seq, series, changed.after or {}, at, 0))

    def _note_members(
        self, cursor: sqlite3.Cursor, seq: int, event: EntityChanged, at: int
    ) -> None:
        before, after = event.before, event.after
        if before is not None and (after is None or before["type"] != after["type"]):
            types = None if after is None else after["type"]
            self.note_first_types(cursor, seq, before["type"], before["createdAt"])
            self.note_types(cursor, seq, types, at, event.version)
        old = None if before is None else before.get("scope")
        new = None if after is None else after.get("scope")
        if old != new:
            self.note_scopes(cursor, seq, new, at, event.version)

    def note_first_types(
        self, cursor: sqlite3.Cursor, seq: int, types: Sequence[str], created: str
    ) -> None:
        """Take down the types that an entity was created with, unless that was done already."""
        row = self._types_row(cursor, seq, types, moments.instant(created), 0)
        self._first.append(row)

    def note_types(
        self, cursor: sqlite3.Cursor, seq: int, types: Sequence[str] | None, at: int, n: int
    ) -> None:
        """Take down the types of an entity from an instant on; None is its end."""
        self._rows.append(self._types_row(cursor, seq, types, at, n))

    def _types_row(
        self, cursor: sqlite3.Cursor, seq: int, types: Sequence[str] | None, at: int, n: int
    ) -> HistoryRow:
        series = self._terms.intern(cursor, TYPE) << BITS
        type_set = None if types is None else self._terms.type_set(cursor, types)
        return seq, series, at, n, DELETED if types is None else 0, 0, None, type_set, None

    def note_scopes(self, cursor: sqlite3.Cursor, seq: int, scopes: Any, at: int, n: int) -> None:
        """Take down the scopes of an entity from an instant on; None is none (clause 4.5.6)."""
        series = self._terms.intern(cursor, SCOPE) << BITS
        self._rows.append(scopes_row(seq, series, scopes, at, n))

    def flush(self, cursor: sqlite3.Cursor) -> None:
        """Write what was taken down."""
        if self._first:
            cursor.executemany(_IGNORE, self._first)
            self._first = []
        if not self._rows:
            return
        try:
            cursor.executemany(_INSERT, self._rows)
        except sqlite3.IntegrityError:  # something is there twice; to replace always costs more
            cursor.executemany(REPLACE, self._rows)
        self._rows = []

    def rolled_back(self) -> None:
        """Forget what was taken down."""
        self._rows, self._first = [], []


def _is_postponed(before: Instance, after: Instance) -> bool:
    """Tell whether nothing but the expiry of an instance has changed (clause 4.22)."""
    if before.get("expiresAt") == after.get("expiresAt"):
        return False
    passed_over = ("expiresAt", "modifiedAt")
    return {name: item for name, item in before.items() if name not in passed_over} == {
        name: item for name, item in after.items() if name not in passed_over
    }


def instance_row(seq: int, series: int, instance: Instance, at: int, n: int) -> HistoryRow:
    """Return the row of an instance that was written at an instant."""
    observed = instance.get("observedAt")
    if observed is None:
        time, form, recorded = at, 0, 0
    else:
        time, form = moments.split(observed)
        recorded, n = at - time, 0
        form |= OBSERVED
    value, rest = content(instance, form)
    return seq, series, time, n, form, recorded, None, value, rest


def tombstone_row(seq: int, series: int, before: Instance, at: int, n: int) -> HistoryRow:
    """Return the row that says that an instance was deleted (clause 4.5.7)."""
    observed = before.get("observedAt")
    time = at if observed is None else max(at, moments.instant(observed))
    value = _encode(null_instance(before.get("type", "Property")))
    return seq, series, time, n, DELETED, at - time, None, value, None


def scopes_row(seq: int, series: int, scopes: Any, at: int, n: int) -> HistoryRow:
    """Return the row of the scopes that an entity has from an instant on; None is none.

    Deviates: clauses 4.5.6 and 4.5.7 have a null for the value of scopes that were deleted; the
    official tests want an empty array.
    """
    form = DELETED if scopes is None else OBSERVED | moments.MILLISECONDS
    value = _encode({"type": "Property", "value": [] if scopes is None else scopes})
    return seq, series, at, n, form, 0, None, value, None


def content(instance: Instance, form: int) -> tuple[Any, bytes | str | None]:
    """Return what is in the columns `value` and `rest`."""
    finer = form & moments.DIGITS == moments.FINER
    if instance["type"] == "Property" and not finer:
        value: Any = instance["value"]
        kind = value.__class__
        if kind is str or (kind in _NUMBERS and -_LARGEST <= value < _LARGEST):
            return value, _rest(instance)
    passed_over = _TIMES - {"observedAt"} if finer else _TIMES
    return _encode({name: item for name, item in instance.items() if name not in passed_over}), None


def _rest(instance: Instance) -> bytes | str | None:
    if len(instance) <= len(_SIMPLE) and instance.keys() <= _SIMPLE:
        return None
    rest = {name: item for name, item in instance.items() if name not in _SIMPLE}
    if len(rest) == 1 and "unitCode" in rest and rest["unitCode"].__class__ is str:
        return str(rest["unitCode"])
    return _encode(rest)


def read_instance(seq: int, series: int, row: Sequence[Any]) -> dict[str, Any]:
    """Return the instance of a row of `COLUMNS`."""
    at, n, form, recorded, modified, value, rest = row
    instance: dict[str, Any]
    if value.__class__ is bytes:
        instance = _decode(value)
    else:
        instance = {"type": "Property", "value": value}
        if rest.__class__ is str:
            instance["unitCode"] = rest
        elif rest is not None:
            instance.update(_decode(rest))
    if form & DELETED:
        instance["deletedAt"] = moments.join(at + recorded)
    else:
        if form & OBSERVED and "observedAt" not in instance:
            instance["observedAt"] = moments.join(at, form & _FORM)
        instance["createdAt"] = created = moments.join(at + recorded)
        instance["modifiedAt"] = created if modified is None else moments.join(modified)
    if "instanceId" not in instance:
        instance["instanceId"] = instance_id(Key(seq, series, at, n, recorded))
    return instance


def read_value(value: Any) -> tuple[str, Any]:
    """Return the kind and the value of what stands in the column `value`."""
    if value.__class__ is bytes:
        instance = _decode(value)
        kind = instance["type"]
        return kind, instance[KINDS[kind].value]
    return "Property", value


def instance_id(key: Key) -> str:
    """Return the instanceId of a row."""
    entity, series, at, n, recorded = key
    return f"{_INSTANCE_ID}{entity:x}-{series:x}-{at + _LARGEST:x}-{n:x}-{recorded + _LARGEST:x}"


def read_instance_id(text: str) -> Key | None:
    """Return what an instanceId addresses; None if this broker did not make it."""
    try:
        parts = [int(part, 16) for part in text.removeprefix(_INSTANCE_ID).split("-")]
    except ValueError:
        return None
    if len(parts) != len(Key._fields) or max(parts) >= 2 * _LARGEST or min(parts) < 0:
        return None
    entity, series, at, n, recorded = parts
    if max(entity, series, n) >= _LARGEST:
        return None
    return Key(entity, series, at - _LARGEST, n, recorded - _LARGEST)
