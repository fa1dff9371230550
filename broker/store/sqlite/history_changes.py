"""What changes history alone: the writer's side of the temporal API (clauses 5.6.11 to 5.6.16).

Long deletions go in steps, each a job of its own, so that they never hold up other writes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Final

from broker.core import moments, vocabulary
from broker.core.errors import ResourceNotFound
from broker.core.evolution import Evolution, is_deletion
from broker.core.identifiers import DEFAULT_INSTANCE, Iri, Tenant
from broker.core.timestamps import format_timestamp
from broker.store.sqlite import history, history_types
from broker.store.sqlite.history import DELETED, OBSERVED, REPLACE, TYPE, Key, numbers_of
from broker.store.sqlite.history_names import Names, Past
from broker.store.sqlite.history_window import series_of_entity
from broker.store.sqlite.transaction import EntityTransaction

STEP: Final = 10_000
"""Rows that one job deletes."""

_LAST = (
    "SELECT form, value FROM history WHERE entity = ? AND series = ?"
    " ORDER BY at DESC, n DESC LIMIT 1"
)
_BOUND = (
    "SELECT at FROM history WHERE entity = ? AND series = ? AND at < ? ORDER BY at LIMIT 1 OFFSET ?"
)
_DELETE = "DELETE FROM history WHERE entity = ? AND series = ? AND at < ?"
EVER: Final = (1 << 63) - 1


class Changes:
    """Changes of history inside one job of the writer."""

    def __init__(self, transaction: EntityTransaction, cursor: sqlite3.Cursor) -> None:
        self._transaction = transaction
        self._cursor = cursor
        self._terms = transaction.terms
        self._names = Names(cursor.connection, transaction.terms)
        transaction.history.flush(cursor)

    def add(self, tenant: Tenant, evolution: Evolution, now: str, *, creates: bool) -> bool:
        """Add instances to an evolution, and tell whether it was created.

        Raises:
            ResourceNotFound: there is none, and it may not be created.
        """
        number = self._transaction.tenant(self._cursor, tenant, creates=creates)
        entity_id = Iri(evolution["id"])
        past = self._names.find(number, entity_id)
        is_new = past is None or not has_history(self._cursor.connection, past)
        if is_new and not creates:
            raise ResourceNotFound(f"there is no history of an entity {entity_id}")
        types = evolution.get("type", ())
        if past is None:
            seq = self._create(number, entity_id, types, now)
        else:
            seq = past.seq
            self._unite(number, past, types)
        self._write(seq, evolution, moments.instant(now))
        return is_new

    def _create(self, number: int, entity_id: Iri, types: Sequence[str], now: str) -> int:
        seq = self._transaction.new_seq()
        self._cursor.execute(
            "INSERT INTO evolution VALUES (?, ?, ?, ?, 0, ?, NULL)",
            (seq, number, entity_id, self._terms.type_set(self._cursor, types), now),
        )
        return seq

    def _unite(self, tenant: int, past: Past, types: Sequence[str]) -> None:
        """Add types to those of an evolution; those of the entity itself stay as they are."""
        if set(types) <= set(past.types):
            return
        if past.modified is None:
            united = self._terms.type_set(self._cursor, list(dict.fromkeys((*past.types, *types))))
            self._cursor.execute(
                "UPDATE evolution SET type_set = ? WHERE seq = ?", (united, past.seq)
            )
            return
        notes = self._transaction.history
        notes.note_first_types(self._cursor, past.seq, past.types, past.created)
        created = moments.instant(past.created)
        series = self._terms.intern(self._cursor, TYPE) << history.BITS
        for row in self._cursor.execute(
            "SELECT value FROM history WHERE entity = ? AND series = ? AND at = ? AND n = -1",
            (past.seq, series, created),
        ).fetchall():
            types = [*self._types(row[0]), *types]
        type_set = self._terms.type_set(self._cursor, list(dict.fromkeys((*past.types, *types))))
        history_types.note(self._cursor, tenant, type_set, past.seq)
        # Before the first types: it counts for the evolution, but for no state of the entity.
        notes.note_types(self._cursor, past.seq, list(dict.fromkeys(types)), created, -1)

    def _types(self, type_set: int) -> Sequence[str]:
        return self._names.types(type_set)

    def _write(self, seq: int, evolution: Evolution, now: int) -> None:
        rows = []
        for attribute, instances in evolution["attributes"].items():
            for place, instance in enumerate(instances):
                dataset = instance.get("datasetId", DEFAULT_INSTANCE)
                series = history.series_of(self._terms, self._cursor, attribute, dataset)
                n = 0 if "observedAt" in instance else self._free(seq, series, now) + place
                rows.append(_row(seq, series, instance, now, n))
        series = history.series_of(self._terms, self._cursor, history.SCOPE, DEFAULT_INSTANCE)
        for place, instance in enumerate(evolution.get("scope", ())):
            timed = {"observedAt": format_timestamp(moments.moment_of(now)), **instance}
            rows.append(_row(seq, series, timed, now, place))
        self._cursor.executemany(REPLACE, rows)

    def _free(self, seq: int, series: int, at: int) -> int:
        """Return the first free `n` at an instant."""
        (last,) = self._cursor.execute(
            "SELECT ifnull(max(n), 0) FROM history WHERE entity = ? AND series = ? AND at = ?",
            (seq, series, at),
        ).fetchone()
        return int(last) + 1

    def note_deleted(
        self, tenant: Tenant, entity_id: Iri, attribute: Iri, dataset_id: str | None, now: str
    ) -> bool:
        """Take down a deletion in what is history only; tell whether there was an instance."""
        number = self._transaction.tenant(self._cursor, tenant, creates=False)
        past = self._names.find(number, entity_id)
        if past is None or past.modified is not None or past.deleted is not None:
            return False
        rows = []
        at = moments.instant(now)
        for series in self.series(past.seq, attribute, dataset_id):
            form, value = self._cursor.execute(_LAST, (past.seq, series)).fetchone()
            if form & DELETED:
                continue
            n = self._free(past.seq, series, at)
            if attribute == vocabulary.SCOPE:
                rows.append(history.scopes_row(past.seq, series, None, at, n))
                continue
            before = {"type": history.read_value(value)[0]}
            rows.append(history.tombstone_row(past.seq, series, before, at, n))
        self._cursor.executemany(REPLACE, rows)
        return bool(rows)

    def series(self, seq: int, attribute: Iri, dataset_id: str | None) -> list[int]:
        """Return the series of an attribute, or of the scopes; None is every dataset."""
        there = series_of_entity(self._cursor.connection, seq)
        if attribute == vocabulary.SCOPE:
            scopes = self._names.own_series(history.SCOPE)
            return [number for number in there if number == scopes]
        return [
            number
            for number, name, dataset in self._names.attributes(there)
            if name == attribute and dataset_id in (None, dataset)
        ]

    def modify(self, key: Key, instance_id: str, instance: Mapping[str, Any], now: int) -> bool:
        """Replace an instance, keeping its instanceId; False: it is not there any more."""
        row = self._cursor.execute(
            "DELETE FROM history WHERE entity = ? AND series = ? AND at = ? AND n = ?"
            " AND recorded = ? RETURNING form",
            key,
        ).fetchall()
        if not row:
            return False
        (form,) = row[0]
        created = key.at + key.recorded
        seq, series, at, n, new_form, _, _, value, rest = _row(
            key.entity, key.series, instance, created, key.n
        )
        if not new_form & (OBSERVED | DELETED):
            at, n, new_form = key.at, key.n, form & ~DELETED
        if history.instance_id(Key(seq, series, at, n, created - at)) != instance_id:
            marked = {**instance, "instanceId": instance_id}
            value, rest = history.content(marked, new_form)
        written = (seq, series, at, n, new_form, created - at, now, value, rest)
        self._cursor.execute(REPLACE, written)
        return True

    def remove(self, key: Key) -> bool:
        """Delete an instance; False: it is not there any more."""
        self._cursor.execute(
            "DELETE FROM history WHERE entity = ? AND series = ? AND at = ? AND n = ?"
            " AND recorded = ?",
            key,
        )
        return self._cursor.rowcount > 0

    def remove_before(self, seq: int, series: int, before: int = EVER, most: int = STEP) -> int:
        """Delete the oldest rows of a series that are before an instant; return how many."""
        row = self._cursor.execute(_BOUND, (seq, series, before, most)).fetchone()
        bound = before if row is None else max(int(row[0]), self._second(seq, series))
        self._cursor.execute(_DELETE, (seq, series, min(bound, before)))
        return self._cursor.rowcount

    def _second(self, seq: int, series: int) -> int:
        """Return an instant behind the first one, so that a step deletes something at all."""
        (first,) = self._cursor.execute(
            "SELECT min(at) FROM history WHERE entity = ? AND series = ?", (seq, series)
        ).fetchone()
        return int(first) + 1

    def forget_types(self, seq: int) -> None:
        """Have an entity that is history only no more found under the types that it had."""
        own = self._names.own_series(TYPE)
        if own is not None:
            history_types.forget(self._cursor, seq, own)

    def end(self, seq: int) -> None:
        """Forget an entity that is history only and has none left but that of its types."""
        own = self._names.own_series(TYPE)
        if set(series_of_entity(self._cursor.connection, seq)) <= {own}:
            self.forget_types(seq)
            ended = self._cursor.execute("DELETE FROM evolution WHERE seq = ?", (seq,))
            if ended.rowcount and own is not None:
                self._cursor.execute(_DELETE, (seq, own, EVER))


def has_history(connection: sqlite3.Connection, past: Past) -> bool:
    """Tell whether an entity has an evolution: what is history only has one, even without rows."""
    if past.modified is None and past.deleted is None:
        return True
    found = connection.execute("SELECT 1 FROM history WHERE entity = ? LIMIT 1", (past.seq,))
    return found.fetchone() is not None


def find_instance(
    connection: sqlite3.Connection, names: Names, past: Past, attribute: Iri, instance_id: str
) -> Key | None:
    """Return what addresses the row of an instance.

    One whose time was changed keeps the instanceId that it had, and is sought for it.
    """
    key = history.read_instance_id(instance_id)
    if (
        key is None
        or key.entity != past.seq
        or names.number(attribute) != numbers_of(key.series)[0]
    ):
        return None
    row = connection.execute(
        "SELECT value, rest FROM history WHERE entity = ? AND series = ? AND at = ? AND n = ?"
        " AND recorded = ?",
        key,
    ).fetchone()
    if row is not None:
        return key
    text = instance_id.encode()
    moved = connection.execute(
        "SELECT entity, series, at, n, recorded FROM history WHERE entity = ? AND series = ?"
        " AND modified IS NOT NULL AND (typeof(rest) = 'blob' AND instr(rest, ?)"
        " OR typeof(value) = 'blob' AND instr(value, ?)) LIMIT 1",
        (past.seq, key.series, text, text),
    ).fetchone()
    return None if moved is None else Key(*moved)


def _row(
    seq: int, series: int, instance: Mapping[str, Any], now: int, n: int
) -> history.HistoryRow:
    plain = {name: item for name, item in instance.items() if name != "instanceId"}
    if not is_deletion(plain):
        return history.instance_row(seq, series, plain, now, n)
    at = moments.instant(instance["deletedAt"]) if "deletedAt" in instance else now
    return history.tombstone_row(seq, series, {"type": instance["type"]}, at, n)
