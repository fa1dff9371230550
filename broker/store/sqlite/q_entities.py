"""A query over entities as conditions on the index: types, ids, scopes, places and attributes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from broker.core.query import geo
from broker.core.query.entity_query import EntityQuery, EntitySelector
from broker.core.query.nodes import AllOf, AnyOf, GeoQuery, ScopeIs, ScopeNode
from broker.core.query.patterns import literal_prefix
from broker.store.sqlite.index import space
from broker.store.sqlite.index_terms import Terms
from broker.store.sqlite.q_conditions import Both, Condition, Either, Never, Sql, marks
from broker.store.sqlite.q_leaves import ALWAYS, Leaves, cheapest_first
from broker.store.sqlite.q_look_ups import Boxes, Members, Placed, Rows, Split, Typed, Window

_LAST_CHARACTER = "\U0010ffff"
_AFTER_SLASH = "0"


@dataclass(frozen=True, slots=True)
class Translated:
    """The conditions of a query, all of which must be met, those that find least first.

    Attributes:
        typed: the one on the types, if there is one that stands alone.
        placed: the one on the geometry, if there is one.
        exact: the evaluator need not look again, but for the geometry.
    """

    conditions: tuple[Condition, ...]
    typed: Typed | None
    placed: Placed | None
    exact: bool

    def knows_types(self, condition: Condition) -> bool:
        """Tell whether what a condition finds has the types asked for already."""
        wanted = None if self.typed is None else self.typed.type_sets
        if isinstance(condition, Rows | Boxes):
            return condition.type_sets == wanted
        if isinstance(condition, Split):
            return condition.whole.type_sets == wanted
        if isinstance(condition, Window):
            return self.knows_types(condition.inside)
        if isinstance(condition, Either):
            return all(self.knows_types(part) for part in condition.conditions)
        if isinstance(condition, Both):  # the first leads
            return self.knows_types(condition.conditions[0])
        return False


def translate(
    connection: sqlite3.Connection, terms: Terms, tenant: int, query: EntityQuery
) -> tuple[Translated, Leaves]:
    """Translate a query, looking up what its names stand for."""
    type_sets = _type_sets(terms, query.selectors)
    leaves = Leaves(connection, terms, tenant, type_sets=type_sets, views=bool(query.dataset_ids))
    found = [
        *_selected(query.selectors, leaves, terms, tenant),
        *([] if query.scope is None else [_scope(query.scope, leaves)]),
        *([] if not query.attrs else [Either(tuple(leaves.exists(a) for a in query.attrs))]),
        *([] if query.geo is None else _placed(query.geo, leaves, terms, tenant, type_sets)),
    ]
    if query.q is not None:
        q = leaves.condition(query.q)
        found += q.conditions if isinstance(q, Both) else [q]
    placed = next((one for one in found if isinstance(one, Placed)), None)
    exact = all(one.exact for one in found if one is not placed) and not (
        query.dataset_ids and (query.attrs or query.q or query.geo)
    )
    conditions = tuple(cheapest_first(condition for condition in found if condition != ALWAYS))
    typed = next((one for one in conditions if isinstance(one, Typed)), None)
    return Translated(conditions, typed, placed, exact), leaves


def _type_sets(terms: Terms, selectors: Iterable[EntitySelector]) -> tuple[int, ...] | None:
    """Return the type sets that any match has; None if they may be any."""
    found: dict[int, None] = {}
    for selector in selectors:
        if selector.types is None:
            return None
        found.update(dict.fromkeys(terms.selected(selector.types)))
    return tuple(found) if selectors else None


def _selected(
    selectors: tuple[EntitySelector, ...], leaves: Leaves, terms: Terms, tenant: int
) -> list[Condition]:
    if not selectors:
        return []
    if len(selectors) == 1:
        return _selector(selectors[0], leaves, terms, tenant)
    if all(not (one.ids or one.id_pattern) and one.types is not None for one in selectors):
        sets = _type_sets(terms, selectors)
        return [Typed(tenant, sets) if sets else Never()]
    return [Either(tuple(Both(tuple(_selector(one, leaves, terms, tenant))) for one in selectors))]


def _selector(
    selector: EntitySelector, leaves: Leaves, terms: Terms, tenant: int
) -> list[Condition]:
    found: list[Condition] = []
    if selector.ids:
        found.append(Members(tenant, Sql(f"id IN ({marks(selector.ids)})", selector.ids)))
    elif selector.id_pattern is not None:
        found.append(_id_pattern(selector.id_pattern, leaves, tenant))
    if selector.types is not None:
        sets = terms.selected(selector.types)
        found.append(Typed(tenant, sets) if sets else Never())
    return found or [ALWAYS]


def _id_pattern(pattern: str, leaves: Leaves, tenant: int) -> Condition:
    fits = leaves.fits(pattern, "idPattern", whole=True)
    where = Sql(fits.text.replace("$v", "id"), fits.params)
    prefix = literal_prefix(pattern)
    if not prefix:
        return Members(tenant, where, scans=True)
    start = (prefix, prefix + _LAST_CHARACTER)
    return Members(tenant, Sql(f"id >= ? AND id < ? AND {where.text}", (*start, *where.params)))


def _scope(node: ScopeNode, leaves: Leaves) -> Condition:
    if isinstance(node, AllOf):
        return Both(tuple(_scope(operand, leaves) for operand in node.operands))
    if isinstance(node, AnyOf):
        return Either(tuple(_scope(operand, leaves) for operand in node.operands))
    # Below a scope there may be more than `+` stands for: that is looked at more closely.
    exact = not (node.subtree and "+" in node.levels)
    return leaves.scope_rows(_scope_range(node), exact=exact)


def _scope_range(node: ScopeIs) -> Sql:
    fixed = node.levels[: node.levels.index("+")] if "+" in node.levels else node.levels
    start = "".join(f"/{level}" for level in fixed)
    if fixed == node.levels and not node.subtree:
        return Sql("$v = ?", (start,))
    if not node.levels:
        return Sql("$v >= ''")
    # A slash is followed by "0": between the two stands what lies below the scope.
    if fixed == node.levels:
        return Sql(
            "$v >= ? AND $v < ? AND ($v = ? OR $v >= ?)",
            (start, start + _AFTER_SLASH, start, start + "/"),
        )
    below = Sql("$v >= ? AND $v < ?", (start + "/", start + "/" + _LAST_CHARACTER))
    glob = "".join("/*" if level == "+" else f"/{level}" for level in node.levels)
    if node.subtree:
        return Sql(f"{below.text} AND $v GLOB ?", (*below.params, glob + "*"))
    return Sql(
        f"{below.text} AND $v GLOB ? AND length($v) - length(replace($v, '/', '')) = ?",
        (*below.params, glob, len(node.levels)),
    )


def _placed(
    query: GeoQuery,
    leaves: Leaves,
    terms: Terms,
    tenant: int,
    type_sets: tuple[int, ...] | None,
) -> list[Condition]:
    attribute = terms.find(query.geoproperty)
    number = terms.find(space(tenant, query.geoproperty))
    if attribute is None or number is None:
        return [Never()]
    boxes = geo.boxes(query)
    placed = Placed(tenant, attribute, boxes or ())
    if boxes is None:
        return [placed, leaves.exists(query.geoproperty)]
    return [placed, Boxes.of(number, boxes, type_sets)]
