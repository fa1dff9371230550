"""Look-ups: the conditions that are answered by an index each, in the forms of `q_conditions`."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

from broker.store.sqlite.index import PLACES, THICKNESS
from broker.store.sqlite.index_rows import REFERENCE
from broker.store.sqlite.q_conditions import Condition, Either, Sql, marks

_MERGED = 16
"""Type sets that are looked up one by one; of more, all entities are looked at."""

_REFERENCES = (REFERENCE, bytes([REFERENCE[0] + 1]))


@dataclass(frozen=True, slots=True)
class Rows:
    """There is a row of an attribute, or of a path below it, with some property.

    Attributes:
        where: an expression over the columns of `value`, which is called `v`; `$v` in it stands
            for the value itself.
        by_value: it gives a range of `value` to look up.
        scans: all rows of the attribute have to be read to find those that fit.
        type_sets: only entities with these are meant; None is all. `check` leaves it out.
    """

    tenant: int
    attribute: int
    path: int
    where: Sql
    by_value: bool = True
    scans: bool = False
    exact: bool = True
    type_sets: tuple[int, ...] | None = None

    def _at(self, *, by_value: bool) -> Sql:
        text, params = self.where
        # With a plus it is no column that an index could be chosen for: rows are read by entity.
        where = text.replace("$v", "v.value" if by_value else "+v.value")
        return Sql(
            f"v.tenant = ? AND v.attribute = ? AND v.path = ? AND {where}",
            (self.tenant, self.attribute, self.path, *params),
        )

    def _typed(self) -> Sql:
        if self.type_sets is None:
            return Sql("")
        return Sql(f" AND v.type_set IN ({marks(self.type_sets)})", self.type_sets)

    def check(self, seq: str) -> Sql | None:
        text, params = self._at(by_value=False)
        return Sql(
            f"EXISTS (SELECT 1 FROM value AS v NOT INDEXED WHERE v.seq = {seq} AND {text})", params
        )

    def source(self) -> Sql | None:
        if self.scans:
            return None
        at, typed = self._at(by_value=self.by_value), self._typed()
        index = "INDEXED BY value_order" if self.by_value else "NOT INDEXED"
        return Sql(
            f"SELECT seq FROM value AS v {index} WHERE {at.text}{typed.text}",
            at.params + typed.params,
        )

    def walk(self, after: int | None) -> Sql | None:
        at, typed = self._at(by_value=False), self._typed()
        start = "" if after is None else " AND seq > ?"
        return Sql(
            f"SELECT DISTINCT seq FROM value AS v NOT INDEXED WHERE {at.text}{typed.text}{start}"
            " ORDER BY seq",
            at.params + typed.params + (() if after is None else (after,)),
        )


@dataclass(frozen=True, slots=True)
class Split:
    """Rows that are found faster as several ranges of values."""

    whole: Rows
    ranges: tuple[Rows, ...]

    @property
    def exact(self) -> bool:
        """Whether the rows are."""
        return self.whole.exact

    def check(self, seq: str) -> Sql | None:
        return self.whole.check(seq)

    def source(self) -> Sql | None:
        return Either(self.ranges).source()

    def walk(self, after: int | None) -> Sql | None:
        return self.whole.walk(after)


@dataclass(frozen=True, slots=True)
class Window:
    """A lower and an upper bound of one path, as a source; they are checked one by one.

    Attributes:
        inside: the values between the bounds.
        several: the entities whose values could meet the two bounds separately.
    """

    inside: Rows
    several: Rows | None
    exact: bool = True

    def check(self, seq: str) -> Sql | None:  # noqa: ARG002 - the protocol's
        return None

    def source(self) -> Sql | None:
        return Either((self.inside, *((self.several,) if self.several else ()))).source()

    def walk(self, after: int | None) -> Sql | None:  # noqa: ARG002 - the protocol's
        return None


@dataclass(frozen=True, slots=True)
class Typed:
    """The entity has one of some sets of types."""

    tenant: int
    type_sets: tuple[int, ...]
    exact: bool = True

    def check(self, seq: str) -> Sql | None:
        return Sql(
            "EXISTS (SELECT 1 FROM typed AS t WHERE t.tenant = ?"
            f" AND t.type_set IN ({marks(self.type_sets)}) AND t.seq = {seq})",
            (self.tenant, *self.type_sets),
        )

    def source(self) -> Sql | None:
        return Sql(
            f"SELECT seq FROM typed WHERE tenant = ? AND type_set IN ({marks(self.type_sets)})",
            (self.tenant, *self.type_sets),
        )

    def walk(self, after: int | None) -> Sql | None:
        if len(self.type_sets) > _MERGED:
            return None
        start = "" if after is None else " AND seq > ?"
        arm = f"SELECT seq FROM typed WHERE tenant = ? AND type_set = ?{start}"
        more = () if after is None else (after,)
        return Sql(
            " UNION ALL ".join([arm] * len(self.type_sets)) + " ORDER BY seq",
            tuple(value for number in self.type_sets for value in (self.tenant, number, *more)),
        )


@dataclass(frozen=True, slots=True)
class Members:
    """A column of the entity itself (id, created, modified) has some property.

    Attributes:
        index: what is searched; the unique index on the id unless told.
        scans: it does not narrow the search.
    """

    tenant: int
    where: Sql
    index: str = "sqlite_autoindex_entity_1"
    scans: bool = False
    exact: bool = True

    def check(self, seq: str) -> Sql | None:
        text, params = self.where
        return Sql(
            f"EXISTS (SELECT 1 FROM entity AS m NOT INDEXED WHERE m.seq = {seq} AND {text})", params
        )

    def source(self) -> Sql | None:
        text, params = self.where
        if self.scans:
            return None
        return Sql(
            f"SELECT seq FROM entity INDEXED BY {self.index} WHERE tenant = ? AND {text}",
            (self.tenant, *params),
        )

    def walk(self, after: int | None) -> Sql | None:  # noqa: ARG002 - the protocol's
        return None


@dataclass(frozen=True, slots=True)
class Boxes:
    """A geometry touches one of some boxes (west, south, east, north); a source only.

    Attributes:
        type_sets: only entities with these are meant; None is all.
    """

    space: int
    boxes: tuple[tuple[float, float, float, float], ...]
    type_sets: tuple[int, ...] | None = None
    exact: bool = True

    @classmethod
    def of(
        cls,
        number: int,
        boxes: tuple[tuple[float, float, float, float], ...],
        type_sets: tuple[int, ...] | None,
    ) -> Boxes:
        """Return the boxes in a space; of too many sets of types, for all of them."""
        few = type_sets is not None and 0 < len(type_sets) <= _MERGED
        return cls(number, boxes, type_sets if few else None)

    def check(self, seq: str) -> Sql | None:  # noqa: ARG002 - the protocol's
        return None

    def source(self) -> Sql | None:
        typed = "" if self.type_sets is None else " AND type_low <= ? AND type_high >= ?"
        arm = (
            f"SELECT id / {PLACES} AS seq FROM place WHERE low <= ? AND high >= ?"
            f" AND east >= ? AND north >= ? AND west <= ? AND south <= ?{typed}"
        )
        levels = [()] if self.type_sets is None else [_inside(number) for number in self.type_sets]
        arms = [(*_inside(self.space), *box, *level) for box in self.boxes for level in levels]
        return Sql(" UNION ALL ".join([arm] * len(arms)), tuple(chain.from_iterable(arms)))

    def walk(self, after: int | None) -> Sql | None:  # noqa: ARG002 - the protocol's
        return None


def _inside(number: int) -> tuple[float, float]:
    """Return a level inside a space or a set of types, twice: for its lower and upper bound."""
    level = number + THICKNESS / 2
    return level, level


@dataclass(frozen=True, slots=True)
class Placed:
    """The entity has a geometry, which touches one of some boxes; where it is shows its shape.

    Attributes:
        boxes: as in `Boxes`; none if it may be anywhere.
        first_only: only the first instance of the attribute counts.
    """

    tenant: int
    attribute: int
    boxes: tuple[tuple[float, float, float, float], ...]
    first_only: bool = False
    exact: bool = False

    def check(self, seq: str) -> Sql | None:
        text, params = self.places(f"v.seq = {seq}")
        return Sql(f"EXISTS (SELECT 1 {text})", params)

    def source(self) -> Sql | None:
        return None

    def walk(self, after: int | None) -> Sql | None:  # noqa: ARG002 - the protocol's
        return None

    def places(self, which: str) -> Sql:
        """Return the FROM and WHERE that lead to the geometries (`p`) of entities (`v.seq`)."""
        touching = "(p.east >= ? AND p.north >= ? AND p.west <= ? AND p.south <= ?)"
        boxes = " OR ".join([touching] * len(self.boxes)) or "1"
        return Sql(
            "FROM value AS v NOT INDEXED CROSS JOIN place AS p ON p.id = v.place"
            f" WHERE {which} AND v.tenant = ? AND v.attribute = ? AND v.path = 0"
            f" AND v.place IS NOT NULL{' AND v.n = 0' if self.first_only else ''} AND ({boxes})",
            (self.tenant, self.attribute, *(number for box in self.boxes for number in box)),
        )


@dataclass(frozen=True, slots=True)
class Linked:
    """A relationship points to an entity that fulfils a condition."""

    tenant: int
    attribute: int
    condition: Condition

    @property
    def exact(self) -> bool:
        """Whether the condition on the linked entity is."""
        return self.condition.exact

    def check(self, seq: str) -> Sql | None:
        inner = self.condition.check("e.seq")
        text, params = Sql("1") if inner is None else inner
        return Sql(
            "EXISTS (SELECT 1 FROM value AS r NOT INDEXED CROSS JOIN entity AS e"
            " ON e.tenant = r.tenant AND e.id = CAST(substr(r.value, 2) AS TEXT)"
            " WHERE r.tenant = ? AND r.attribute = ? AND r.path = 0"
            f" AND r.seq = {seq} AND +r.value >= ? AND +r.value < ? AND {text})",
            (self.tenant, self.attribute, *_REFERENCES, *params),
        )

    def source(self) -> Sql | None:
        inner = self.condition.source()
        if inner is None:
            return None
        return Sql(
            f"SELECT r.seq AS seq FROM ({inner.text}) AS t CROSS JOIN entity AS e ON e.seq = t.seq"
            " CROSS JOIN value AS r INDEXED BY value_order ON r.tenant = ? AND r.attribute = ?"
            " AND r.path = 0 AND r.value = CAST(? || e.id AS BLOB)",
            (*inner.params, self.tenant, self.attribute, REFERENCE.decode()),
        )

    def walk(self, after: int | None) -> Sql | None:  # noqa: ARG002 - the protocol's
        return None
