"""Which entities a subscription is about: parsed, and split into what an index can tell and not."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from urllib.parse import unquote

from msgspec import UNSET

from broker.core.errors import BadRequestData
from broker.core.identifiers import ExpandedEntity, Iri
from broker.core.ld_context import LdContext
from broker.core.query import evaluate, geo, q, scope
from broker.core.query import types as type_language
from broker.core.query.entity_query import EntityQuery, EntitySelector
from broker.core.query.nodes import AllOf, AnyOf, GeoQuery, QNode, TypeIs, TypeNode
from broker.core.subscription import GeoCondition, Selector, Subscription
from broker.core.subscription_documents import selected_types

Predicate = Callable[[ExpandedEntity], bool]


def selectors_of(subscription: Subscription, names: LdContext) -> tuple[EntitySelector, ...]:
    """Return the selectors of a subscription; none mean any entity."""
    if subscription.entities is UNSET:
        return ()
    return tuple(
        _selector(selector, names, f"entities[{number}].type")
        for number, selector in enumerate(subscription.entities)
    )


def _selector(selector: Selector, names: LdContext, where: str) -> EntitySelector:
    given = selector.id
    ids = () if given is UNSET else (given,) if isinstance(given, str) else tuple(given)
    pattern = selector.id_pattern
    return EntitySelector(
        types=type_language.parse(selector.type, names.expand, where),
        ids=tuple(map(Iri, ids)),
        id_pattern=None if ids or pattern is UNSET else pattern,
    )


def index_keys(
    selectors: tuple[EntitySelector, ...],
) -> tuple[frozenset[Iri] | None, frozenset[Iri] | None]:
    """Return the types, or else the ids, that an entity must have one of."""
    if selectors and all(selector.ids for selector in selectors):
        return None, frozenset(entity_id for selector in selectors for entity_id in selector.ids)
    found = [_required(selector.types) for selector in selectors]
    return _union(found) if found else None, None


def _required(node: TypeNode | None) -> frozenset[Iri] | None:
    if node is None:
        return None
    if isinstance(node, TypeIs):
        return frozenset({node.type})
    found = [_required(operand) for operand in node.operands]
    if isinstance(node, AnyOf):
        return _union(found)
    return min((types for types in found if types is not None), key=len, default=None)


def _union(found: list[frozenset[Iri] | None]) -> frozenset[Iri] | None:
    known = [types for types in found if types is not None]
    return frozenset().union(*known) if len(known) == len(found) else None


def _is_told_by_keys(selectors: tuple[EntitySelector, ...]) -> bool:
    """Tell whether an entity found by its type is known to be selected."""
    return all(
        not selector.ids and selector.id_pattern is None and _has_no_and(selector.types)
        for selector in selectors
    )


def _has_no_and(node: TypeNode | None) -> bool:
    if node is None or isinstance(node, TypeIs):
        return True
    return not isinstance(node, AllOf) and all(_has_no_and(operand) for operand in node.operands)


def query_of(
    given: Subscription,
    selectors: tuple[EntitySelector, ...],
    *,
    names: LdContext,
    q_names: LdContext,
) -> EntityQuery:
    """Return which entities are subscribed to, as a query.

    Raises:
        BadRequestData: a text is not of its language; the detail names the member.
    """
    types = selected_types(given)
    if given.csf is not UNSET:
        q.parse(_decoded(given.csf), names.expand, where="csf")
    return EntityQuery(
        selectors=selectors,
        q=None
        if given.q is UNSET
        else _q(_decoded(given.q), given.expand_values, q_names.for_types(types)),
        geo=None if given.geo_q is UNSET else _geo(given.geo_q, names.for_types(types)),
        scope=None if given.scope_q is UNSET else scope.parse(given.scope_q),
    )


def conditions(asked: EntityQuery, *, follows: bool) -> Iterable[tuple[str, Predicate]]:
    """Yield what is to be evaluated on an entity alone, the cheapest first.

    Args:
        follows: whether `q` asks for linked entities too.
    """
    if not _is_told_by_keys(asked.selectors):
        yield "entities", evaluate.compile(EntityQuery(selectors=asked.selectors))
    if asked.scope is not None:
        yield "scopeQ", evaluate.compile(EntityQuery(scope=asked.scope))
    if asked.q is not None and not follows:
        yield "q", evaluate.compile(EntityQuery(q=asked.q))
    if asked.geo is not None:
        yield "geoQ", evaluate.compile(EntityQuery(geo=asked.geo))


def _decoded(text: str) -> str:
    """Undo percent-encoding, which clients use in bodies too, as clause 4.9 is about URLs."""
    return unquote(text)


def _q(text: str, expand_values: object, names: LdContext) -> QNode:
    expand = expand_values.split(",") if isinstance(expand_values, str) else []
    expanded = frozenset(name.strip() for name in expand)
    return q.parse(text, names.expand, expand_values=expanded)


def _geo(asked: GeoCondition, names: LdContext) -> GeoQuery:
    name = "location" if asked.geoproperty is UNSET else asked.geoproperty
    try:
        return geo.parse(asked.georel, asked.geometry, asked.coordinates, names.expand(name))
    except BadRequestData as error:
        raise BadRequestData(f"geoQ.{error.detail}") from error
