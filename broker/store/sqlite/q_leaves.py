"""Conditions of the Query Language as conditions on rows of the index.

What the index cannot tell for sure is left in and marked as not exact: texts longer than it keeps,
patterns, arrays and objects it holds no elements of, and texts whose language matters.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from broker.core.identifiers import Iri
from broker.core.query.nodes import (
    Absent,
    AllOf,
    AnyOf,
    Compares,
    Equals,
    Exists,
    Fits,
    Kind,
    Path,
    QLeaf,
    QNode,
    TypeIs,
)
from broker.core.query.patterns import finder, literal_prefix, plain
from broker.core.query.values import Rank
from broker.store.sqlite.index import SCOPE
from broker.store.sqlite.index_rows import (
    ARRAY,
    LANGUAGES,
    LONG_ARRAY,
    MAX_TEXT,
    OPAQUE,
    SEVERAL,
    SqlValue,
    path_number,
)
from broker.store.sqlite.index_terms import Terms
from broker.store.sqlite.q_conditions import (
    Anything,
    Both,
    Condition,
    Either,
    Never,
    Not,
    Sql,
    marks,
)
from broker.store.sqlite.q_look_ups import Linked, Members, Rows, Split, Typed, Window
from broker.store.sqlite.q_ranges import (
    before_or_after,
    bound,
    compares,
    contains,
    equals,
    gaps,
    moments,
    operator_of,
)

ALWAYS = Anything(exact=True)

_HEAD = "(n & 65535) = 0"
_COMPARABLE = "(n & 32768) = 0"
_TEXT_OF_LANGUAGE = "(n & 32768) = 0 AND (n & 65535) <> 0"
_COLUMNS = {"observedAt": "observed", "createdAt": "created", "modifiedAt": "modified"}
_MEMBER_COLUMNS = {
    "createdAt": ("created", "entity_created"),
    "modifiedAt": ("modified", "entity_modified"),
}
_TIMES, _TIMES_END = bytes([Rank.TIME]), bytes([Rank.NULL])
_LAST_CHARACTER = "\U0010ffff"
_MAX_GAPS = 8


class Leaves:
    """Translates the conditions of one query.

    Args:
        type_sets: what the entities' types must be among, for conditions to look up at once.
        views: only instances with certain datasetIds count, which the index does not tell apart.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        terms: Terms,
        tenant: int,
        *,
        type_sets: tuple[int, ...] | None = None,
        views: bool = False,
        functions: Iterator[int] | None = None,
    ) -> None:
        self._connection = connection
        self._terms = terms
        self._tenant = tenant
        self._type_sets = type_sets
        self._views = views
        self._functions = functions or count()

    def condition(self, node: QNode) -> Condition:
        """Translate a query."""
        if isinstance(node, AllOf):
            parts = [self.condition(part) for part in node.operands]
            return Both(tuple(cheapest_first([*self._windows(node.operands), *parts])))
        if isinstance(node, AnyOf):
            return Either(tuple(self.condition(part) for part in node.operands))
        return self._leaf(node)

    def fits(
        self, pattern: str, where: str = "q", *, negated: bool = False, whole: bool = False
    ) -> Sql:
        """Return the expression that a text (`$v`) fits a pattern.

        Args:
            where: the parameter's name, for error messages.
            whole: texts are stored whole; otherwise those that may have been cut short pass.
        """
        find = finder(pattern, where)
        text = plain(pattern)
        if text is None:
            name = self.function(lambda value: bool(find(value)) is not negated)
            test = Sql(f"{name}($v)")
        else:
            test = contains(text)
            if negated:
                test = Sql(f"NOT {test.text}", test.params)
        if whole:
            return test
        return Sql(f"(length($v) >= {MAX_TEXT} OR {test.text})", test.params)

    def function(self, test: Callable[[Any], SqlValue]) -> str:
        """Make a function of a value callable from SQL and return its name."""
        name = f"test{next(self._functions)}"
        self._connection.create_function(name, 1, test, deterministic=True)
        return name

    def has(self, attribute: int, number: int, head: bytes) -> bool:
        """Tell whether any entity of the tenant has a certain head at a path."""
        (found,) = self._connection.execute(
            "SELECT EXISTS (SELECT 1 FROM value INDEXED BY value_order"
            " WHERE tenant = ? AND attribute = ? AND path = ? AND value = ?)",
            (self._tenant, attribute, number, head),
        ).fetchone()
        return bool(found)

    def has_texts(self, attribute: int, number: int) -> bool:
        """Tell whether any entity of the tenant has a text at a path."""
        (found,) = self._connection.execute(
            "SELECT EXISTS (SELECT 1 FROM value INDEXED BY value_order"
            " WHERE tenant = ? AND attribute = ? AND path = ? AND value >= '' AND value < x'')",
            (self._tenant, attribute, number),
        ).fetchone()
        return bool(found)

    def scope_rows(self, where: Sql, *, exact: bool = True) -> Condition:
        """Return the condition that one of the entity's scopes has some property."""
        attribute = self._terms.find(SCOPE)
        return Never() if attribute is None else self._rows(attribute, 0, where, exact=exact)

    def exists(self, attribute: str) -> Condition:
        """Return the condition that the entity has an attribute."""
        return self._leaf(Exists(Path((attribute,))))

    def _windows(self, parts: Sequence[QNode]) -> Iterator[Condition]:
        """Yield what `a>1;a<2` finds together: each bound alone may find far more."""
        bounds: dict[tuple[Path, Kind, str], Compares] = {}
        for part in parts:
            if isinstance(part, Compares):
                bounds.setdefault((part.path, part.literal.kind, part.operator[0]), part)
        for (path, kind, side), lower in bounds.items():
            upper = bounds.get((path, kind, "<"))
            attribute = self._terms.find(path.names[0])
            if side == "<" or upper is None or attribute is None:
                continue
            if path.link is not None or ":" not in path.names[-1] or path.trailing:
                continue
            number = path_number(path.names[1:], ())
            where = Sql(
                f"{_COMPARABLE} AND $v {operator_of(lower)} ? AND $v {operator_of(upper)} ?",
                (bound(lower.literal), bound(upper.literal)),
            )
            marked = tuple(one for one in (SEVERAL, OPAQUE) if self.has(attribute, number, one))
            yield Window(
                self._rows(attribute, number, where),
                self._holding(attribute, number, marked) if marked else None,
            )

    def _leaf(self, leaf: QLeaf) -> Condition:
        if isinstance(leaf, Absent):
            return self._absent(leaf)
        name = leaf.path.names[0]
        if ":" not in name:
            return self._member(leaf)
        attribute = self._terms.find(name)
        return Never() if attribute is None else self._attribute(attribute, leaf)

    def _attribute(self, attribute: int, leaf: QLeaf) -> Condition:
        path = leaf.path
        if path.link is not None:
            return self._linked(attribute, leaf, path.link.path, path.link.types)
        if ":" not in path.names[-1]:
            return self._instance_member(attribute, leaf)
        found = self._compared(attribute, path_number(path.names[1:], path.trailing), leaf)
        if not path.trailing:
            return found
        return self._inside(attribute, path_number(path.names[1:], ()), leaf, found)

    def _absent(self, leaf: Absent) -> Condition:
        found = self._leaf(Exists(leaf.path))
        if self._views or not found.exact:
            return Anything()
        return ALWAYS if isinstance(found, Never) else Not(found)

    def _linked(self, attribute: int, leaf: QLeaf, path: Path, types: Sequence[str]) -> Condition:
        inner = Leaves(self._connection, self._terms, self._tenant, functions=self._functions)
        condition = inner.condition(replace(leaf, path=path))
        if types:
            kinds = [self._of_type(name) for name in types]
            condition = Both((condition, kinds[0] if len(kinds) == 1 else Either(tuple(kinds))))
        return Linked(self._tenant, attribute, condition)

    def _of_type(self, name: str) -> Condition:
        sets = self._terms.selected(TypeIs(Iri(name)))
        return Typed(self._tenant, sets) if sets else Never()

    def _inside(self, attribute: int, root: int, leaf: QLeaf, found: Condition) -> Condition:
        """Add what a trailing path may reach in values whose inside is not indexed by path."""
        others: list[Condition] = []
        if self.has(attribute, root, OPAQUE):
            others.append(self._holding(attribute, root, (OPAQUE,)))
        if self.has(attribute, root, LANGUAGES):
            others.append(self._language(attribute, root, leaf))
        return Either((found, *others)) if others else found

    def _language(self, attribute: int, root: int, leaf: QLeaf) -> Condition:
        if isinstance(leaf, Compares) or (isinstance(leaf, Equals) and not leaf.negated):
            where, _ = compares(leaf) if isinstance(leaf, Compares) else equals(leaf)
            text = f"{_TEXT_OF_LANGUAGE} AND {where.text}"
            return self._rows(attribute, root, Sql(text, where.params), exact=False)
        return self._holding(attribute, root, (LANGUAGES,))

    def _compared(self, attribute: int, number: int, leaf: QLeaf) -> Condition:
        if isinstance(leaf, Compares):
            where, exact = compares(leaf)
            where = Sql(f"{_COMPARABLE} AND {where.text}", where.params)
            return self._with_unknown(attribute, number, (OPAQUE,), where, exact=exact)
        if isinstance(leaf, Fits):
            return self._fitting(attribute, number, leaf)
        if not isinstance(leaf, Equals):
            return self._rows(attribute, number, Sql(_HEAD), by_value=False)
        if leaf.negated:
            return self._unequal(attribute, number, leaf)
        where, exact = equals(leaf)
        return self._with_unknown(attribute, number, (OPAQUE, LONG_ARRAY), where, exact=exact)

    def _with_unknown(
        self, attribute: int, number: int, heads: Sequence[bytes], where: Sql, *, exact: bool
    ) -> Condition:
        """Add the values whose elements are not indexed, where there are any."""
        found = self._rows(attribute, number, where, exact=exact)
        unknown = tuple(head for head in heads if self.has(attribute, number, head))
        return Either((found, self._holding(attribute, number, unknown))) if unknown else found

    def _unequal(self, attribute: int, number: int, leaf: Equals) -> Condition:
        equal, sure = equals(leaf)
        if not sure:  # a text cut short may differ behind the cut
            return self._rows(attribute, number, Sql(_HEAD), by_value=False, exact=False)
        no_element = (
            "($v <> ? AND $v <> ? OR NOT EXISTS (SELECT 1 FROM value AS w NOT INDEXED"
            " WHERE w.tenant = v.tenant AND w.attribute = v.attribute AND w.path = v.path"
            " AND w.seq = v.seq AND w.n > v.n AND w.n <= v.n + 65535"
            f" AND {equal.text.replace('$v', '+w.value')}))"
        )
        params = (ARRAY, LANGUAGES, *equal.params)
        exact = not any(self.has(attribute, number, head) for head in (OPAQUE, LONG_ARRAY))

        def rows(where: Sql, *, by_value: bool) -> Rows:
            text = f"{_HEAD} AND {where.text} AND {no_element}"
            found = Sql(text, where.params + params)
            return self._rows(
                attribute, number, found, by_value=by_value, scans=not by_value, exact=exact
            )

        whole = rows(Sql(f"NOT ({equal.text})", equal.params), by_value=False)
        ranges = gaps(leaf)
        if len(ranges) > _MAX_GAPS:
            return whole
        return Split(whole, tuple(rows(gap, by_value=True) for gap in ranges))

    def _fitting(self, attribute: int, number: int, leaf: Fits) -> Condition:
        prefix = "" if leaf.negated else literal_prefix(leaf.pattern)[:MAX_TEXT]
        fits = self.fits(leaf.pattern, negated=leaf.negated)
        end: SqlValue = prefix + _LAST_CHARACTER if prefix else b""
        texts = Sql(f"$v >= ? AND $v < ? AND {fits.text}", (prefix, end, *fits.params))
        # Of times the index has no text, and of some values nothing but that they are there.
        times = Sql("$v >= ? AND $v < ?", (_TIMES, _TIMES_END))
        heads = (OPAQUE, LANGUAGES) if leaf.negated else (OPAQUE,)
        unknown = Sql(f"$v IN ({marks(heads)})", heads)

        def rows(where: Sql, *, scans: bool) -> Rows:
            text = f"{_COMPARABLE} AND ({where.text})"
            return self._rows(attribute, number, Sql(text, where.params), scans=scans, exact=False)

        parts = (texts, times, unknown)
        whole = rows(
            Sql(
                " OR ".join(part.text for part in parts),
                tuple(param for part in parts for param in part.params),
            ),
            scans=True,
        )
        if not prefix:
            return whole
        return Split(whole, tuple(rows(part, scans=False) for part in parts))

    def _instance_member(self, attribute: int, leaf: QLeaf) -> Condition:
        names = leaf.path.names
        above = path_number(names[1:-1], ())
        column = _COLUMNS.get(names[-1])
        indexed = len(names) == 2 or column == "observed"  # noqa: PLR2004 - attribute and member
        if column is None or not indexed or leaf.path.trailing:
            return self._rows(attribute, above, Sql(_HEAD), by_value=False, exact=False)
        where = moments(column, leaf)
        return self._rows(
            attribute,
            above,
            Sql(f"{_HEAD} AND {where.text}", where.params),
            by_value=False,
            scans=True,
            exact=not isinstance(leaf, Fits),
        )

    def _member(self, leaf: QLeaf) -> Condition:
        name = leaf.path.names[0]
        if leaf.path != Path((name,)):
            return Anything()
        if name in _MEMBER_COLUMNS and isinstance(leaf, Compares):
            return self._entity_moment(name, leaf)
        if isinstance(leaf, Equals) and not leaf.negated and leaf.range is None:
            texts = tuple(str(one.value) for one in leaf.literals if one.kind is Kind.TEXT)
            if len(texts) == len(leaf.literals) and max(map(len, texts)) < MAX_TEXT:
                return self._named(name, texts)
        return Anything()

    def _named(self, name: str, texts: tuple[str, ...]) -> Condition:
        if name == "id":
            return Members(self._tenant, Sql(f"id IN ({marks(texts)})", texts))
        if name == "type":
            return Either(tuple(self._of_type(text) for text in texts))
        if name == "scope":
            return self.scope_rows(Sql(f"$v IN ({marks(texts)})", texts))
        return Anything()

    def _entity_moment(self, name: str, leaf: Compares) -> Condition:
        if leaf.literal.kind is not Kind.DATE_TIME:
            return Never()
        column, index = _MEMBER_COLUMNS[name]
        where = before_or_after(column, leaf.operator, leaf.literal)
        return Members(self._tenant, where, index)

    def _rows(
        self,
        attribute: int,
        number: int,
        where: Sql,
        *,
        by_value: bool = True,
        scans: bool = False,
        exact: bool = True,
    ) -> Rows:
        return Rows(
            self._tenant,
            attribute,
            number,
            where,
            by_value=by_value,
            scans=scans,
            exact=exact,
            type_sets=self._type_sets,
        )

    def _holding(self, attribute: int, number: int, heads: Sequence[bytes]) -> Rows:
        where = Sql(f"$v IN ({marks(heads)})", tuple(heads))
        return self._rows(attribute, number, where, exact=False)


def cheapest_first(conditions: Iterable[Condition]) -> list[Condition]:
    """Sort conditions by what they promise to cost as a source."""
    return sorted(conditions, key=_cost)


def _cost(condition: Condition) -> int:
    if isinstance(condition, Never | Members | Window):
        return 0
    if isinstance(condition, Rows):
        return 1 if condition.by_value else 3
    return 4 if isinstance(condition, Typed) else 2
