"""An order of entities (clause 4.23) as SQL: what to sort by, and walks in the first term's order.

The index holds values so that they sort as the clause has it, and the head of an attribute's first
instance is what an entity is sorted by. What the index does not know (the order of several types,
texts of one language, members such as `unitCode`, distances) is left to `core.query.ordering`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from broker.core.query import collation, geo
from broker.core.query.entity_query import EntityQuery
from broker.core.query.nodes import OrderBy, Path
from broker.store.sqlite.index import SCOPE, space
from broker.store.sqlite.index_rows import LANGUAGES, OPAQUE, SqlValue, path_number
from broker.store.sqlite.index_terms import Terms
from broker.store.sqlite.q_conditions import Sql, marks
from broker.store.sqlite.q_entities import Translated
from broker.store.sqlite.q_leaves import Leaves
from broker.store.sqlite.q_look_ups import Boxes, Placed

_COLUMNS = {"observedAt": "observed", "createdAt": "created", "modifiedAt": "modified"}
_MEMBERS = {
    "id": ("id", "sqlite_autoindex_entity_1"),
    "createdAt": ("created", "entity_created"),
    "modifiedAt": ("modified", "entity_modified"),
}


@dataclass(frozen=True, slots=True)
class Term:
    """One term of an order.

    Attributes:
        keys: expressions to sort by, one after the other; `$seq` in them is the entity.
        walk: a SELECT of `seq`, `key` for those that have a value, through an index in that order.
        here: an expression that is true for the entities of `walk`; None if these are all.
        knows_types: `walk` is of entities with the right types only.
    """

    keys: tuple[Sql, ...]
    descending: bool
    walk: Sql | None = None
    here: Sql | None = None
    knows_types: bool = False


class Order:
    """Translates the order of one query.

    Attributes:
        terms: what to sort by; None if the index does not know it.
    """

    def __init__(
        self,
        terms: Terms,
        tenant: int,
        query: EntityQuery,
        translated: Translated,
        leaves: Leaves,
    ) -> None:
        self._terms = terms
        self._tenant = tenant
        self._translated = translated
        self._leaves = leaves
        self._query = query
        self.terms = self._translated_terms()

    def sorted(self, select: Sql) -> Sql:
        """Return a SELECT of `seq` in this order."""
        keys = _order_by(self.terms or (), "c.seq")
        return Sql(
            f"SELECT c.seq AS seq FROM ({select.text} LIMIT -1) AS c ORDER BY {keys.text}",
            select.params + keys.params,
        )

    def walks(self, everything: Sql) -> tuple[Sql, Sql | None] | None:
        """Return SELECTs of all entities in this order: those with the first value, and the rest.

        Args:
            everything: a SELECT of all entities in order of creation.
        """
        first, *others = self.terms or (Term((), descending=False),)
        if first.walk is None:
            return None
        rest = _order_by(others, "o.seq")
        direction = "DESC" if first.descending else "ASC"
        there = Sql(
            f"SELECT o.seq AS seq FROM ({first.walk.text}) AS o"
            f" ORDER BY o.key {direction}, {rest.text}",
            first.walk.params + rest.params,
        )
        if first.here is None:
            return there, None
        absent = Sql(
            f"SELECT o.seq AS seq FROM ({everything.text} LIMIT -1) AS o"
            f" WHERE NOT {first.here.text.replace('$seq', 'o.seq')} ORDER BY {rest.text}",
            everything.params + first.here.params + rest.params,
        )
        return there, absent

    def knows_types(self) -> bool:
        """Tell whether the first walk leaves out what has other types than asked for."""
        return bool(self.terms) and self.terms is not None and self.terms[0].knows_types

    def by_distance(self) -> Placed | None:
        """Return where the geometries stand if distance is all that is sorted by."""
        first, *others = self._query.order
        if others or first.distance_from is None or first.path != Path(first.path.names[:1]):
            return None
        attribute = self._terms.find(first.path.names[0])
        if attribute is None or self._query.dataset_ids:
            return None
        return Placed(self._tenant, attribute, (), first_only=True)

    def around(self, metres: float) -> Boxes | None:
        """Return a source for what is within a distance and perhaps somewhat further."""
        first = self._query.order[0]
        number = self._terms.find(space(self._tenant, first.path.names[0]))
        if number is None or first.distance_from is None or first.descending:
            return None
        typed = self._translated.typed
        boxes = geo.boxes_around(first.distance_from, metres)
        return Boxes.of(number, boxes, None if typed is None else typed.type_sets)

    def _translated_terms(self) -> tuple[Term, ...] | None:
        found: list[Term] = []
        if self._query.dataset_ids:
            return None
        for order in self._query.order:
            terms = self._term(order)
            if terms is None:
                return None
            found += terms
        return tuple(found)

    def _term(self, order: OrderBy) -> list[Term] | None:
        """Return the terms for one; none if all entities are equal in it."""
        if order.distance_from is not None:
            return None
        first, *names = order.path.names
        if ":" not in first:
            return None if names or order.path.trailing else self._member(order, first)
        attribute = self._terms.find(first)
        return [] if attribute is None else self._value(order, attribute, names)

    def _value(self, order: OrderBy, attribute: int, names: Sequence[str]) -> list[Term] | None:
        if names and ":" not in names[-1]:
            return self._instance_member(order, attribute, names)
        if order.path.trailing and self._is_vague(attribute, tuple(names)):
            return None
        number = path_number(tuple(names), order.path.trailing)
        return [self._by_value(order, attribute, number)]

    def _is_vague(self, attribute: int, names: tuple[str, ...]) -> bool:
        root = path_number(names, ())
        return any(self._leaves.has(attribute, root, head) for head in (OPAQUE, LANGUAGES))

    def _by_value(self, order: OrderBy, attribute: int, number: int) -> Term:
        at = (self._tenant, attribute, number)
        # Where there are no texts, a collation changes nothing, and the index has the order.
        collated = order.collation is not None and self._leaves.has_texts(attribute, number)
        function = self._collated(order.collation if collated else None)
        where = "v.tenant = ? AND v.attribute = ? AND v.path = ? AND v.n = 0"
        key = Sql(
            f"(SELECT {function}(v.value) FROM value AS v NOT INDEXED"
            f" WHERE v.seq = $seq AND {where})",
            at,
        )
        sets = None if self._translated.typed is None else self._translated.typed.type_sets
        typed = "" if sets is None else f" AND v.type_set IN ({marks(sets)})"
        walk = Sql(
            f"SELECT v.seq AS seq, {function}(v.value) AS key FROM value AS v"
            f" INDEXED BY value_order WHERE {where}{typed}",
            at + (sets or ()),
        )
        here = Sql(
            f"EXISTS (SELECT 1 FROM value AS v NOT INDEXED WHERE v.seq = $seq AND {where})", at
        )
        return Term((key,), order.descending, walk, here, knows_types=sets is not None)

    def _collated(self, tag: str | None) -> str:
        if tag is None:
            return ""
        sort_key = collation.sort_key(tag)
        return self._leaves.function(
            lambda value: sort_key(value) if isinstance(value, str) else value
        )

    def _instance_member(
        self, order: OrderBy, attribute: int, names: Sequence[str]
    ) -> list[Term] | None:
        column = _COLUMNS.get(names[-1])
        if column is None or order.path.trailing or (len(names) > 1 and column != "observed"):
            return None
        key = Sql(
            f"(SELECT v.{column} FROM value AS v NOT INDEXED WHERE v.seq = $seq"
            " AND v.tenant = ? AND v.attribute = ? AND v.path = ? AND v.n = 0)",
            (self._tenant, attribute, path_number(tuple(names[:-1]), ())),
        )
        return [Term((key,), order.descending)]

    def _member(self, order: OrderBy, name: str) -> list[Term] | None:
        if name == "type":
            typed = self._translated.typed
            return [] if typed is not None and len(typed.type_sets) == 1 else None
        if name == "scope":
            attribute = self._terms.find(SCOPE)
            plain = replace(order, collation=None)
            return [] if attribute is None else [self._by_value(plain, attribute, 0)]
        if name not in _MEMBERS:
            return None
        column, index = _MEMBERS[name]
        key = Sql(f"(SELECT m.{column} FROM entity AS m WHERE m.seq = $seq)")
        walk = Sql(
            f"SELECT m.seq AS seq, m.{column} AS key FROM entity AS m INDEXED BY {index}"
            " WHERE m.tenant = ?",
            (self._tenant,),
        )
        return [Term((key,), order.descending, walk)]


def _order_by(terms: Sequence[Term], seq: str) -> Sql:
    parts: list[str] = []
    params: list[SqlValue] = []
    for term in terms:
        direction = "DESC" if term.descending else "ASC"
        for key in term.keys:
            parts.append(f"{key.text.replace('$seq', seq)} {direction} NULLS LAST")
            params += key.params
    return Sql(", ".join([*parts, seq]), tuple(params))
