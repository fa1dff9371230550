"""Which entities a request is about: its parameters as an entity query (5.7.2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from broker.api import parameters
from broker.core.attribute import RESERVED_IRIS
from broker.core.errors import BadRequestData
from broker.core.identifiers import Iri, check_uri
from broker.core.ld_context import LdContext
from broker.core.query import collation, geo, ordering, patterns, q, scope
from broker.core.query.entity_query import EntityQuery, EntitySelector
from broker.core.query.nodes import GeoQuery, OrderBy, QNode, TypeIs, TypeNode

SELECT = frozenset(
    {
        "id", "type", "idPattern", "attrs", "q", "csf", "geometry", "georel", "coordinates",
        "geoproperty", "scopeQ", "expandValues", "jsonKeys", "local",
    }
)  # fmt: skip
ORDER = frozenset({"orderBy", "orderFrom", "orderGeometry", "collation"})

_MOST_JOINED = 10
_ROOT_COLLATION = "und"
"""How texts are sorted unless asked otherwise (clause 4.23.1)."""
_GEO = ("georel", "geometry", "coordinates")


def entity_query(
    params: Mapping[str, str],
    ld_context: LdContext,
    selectors: tuple[EntitySelector, ...] | None,
) -> EntityQuery:
    """Return the query that parameters are, with selectors from elsewhere or their own.

    Raises:
        BadRequestData: a parameter does not follow its grammar.
    """
    if selectors is None:
        selectors = _selectors(params, ld_context)
    selected = scoped(ld_context, selectors)
    if "csf" in params:  # for other context sources, of which there are none here yet (5.7.2.4)
        q.parse(params["csf"], ld_context.expand, where="csf")
    return EntityQuery(
        selectors=selectors,
        attrs=frozenset(selected.expand(name) for name in parameters.listed(params, "attrs")),
        q=_q(params, selected),
        geo=_geo(params, selected),
        scope=scope.parse(params["scopeQ"]) if "scopeQ" in params else None,
        order=_order(params, selected),
    )


def check_width(params: Mapping[str, str], asked: EntityQuery) -> None:
    """Refuse a query that would answer with everything there is (clause 5.7.2.4)."""
    if parameters.flag(params, "local"):
        return
    if params.get("type", "").strip() == "*":
        if params.get("local") == "false":
            raise BadRequestData("type: * means local=true, which cannot be false then")
        return
    wide = (
        not any(selector.types is not None for selector in asked.selectors)
        and asked.attrs <= RESERVED_IRIS
        and asked.geo is None
        and (asked.q is None or not q.attributes(asked.q))
    )
    if wide:
        raise BadRequestData("the query is too wide: give type, attrs, q, georel or local=true")


def join_level(params: Mapping[str, str]) -> int:
    """Return how deep linked entities are to be joined, 0 without `join` (clause 4.5.23)."""
    join = params.get("join", "@none")
    if join not in {"inline", "flat", "@none"}:
        raise BadRequestData(f"join: expected inline, flat or @none, got {join!r:.80}")
    level = parameters.number(params, "joinLevel", 1, least=1, most=_MOST_JOINED)
    return 0 if join == "@none" else level


def _q(params: Mapping[str, str], ld_context: LdContext) -> QNode | None:
    if "q" not in params:
        return None
    node = q.parse(
        params["q"],
        ld_context.expand,
        expand_values=frozenset(parameters.listed(params, "expandValues")),
    )
    level = join_level(params)
    if q.linked_depth(node) > level:
        raise BadRequestData(f"q: it follows more relationships than joinLevel ({level}) lets it")
    return node


def _geo(params: Mapping[str, str], ld_context: LdContext) -> GeoQuery | None:
    given = [name for name in _GEO if name in params]
    if not given:
        return None
    for name in _GEO:
        if name not in params:
            raise BadRequestData(f"{name}: expected beside {given[0]}")
    return geo.parse(
        params["georel"],
        params["geometry"],
        params["coordinates"],
        ld_context.expand(params.get("geoproperty", "location")),
    )


def scoped(ld_context: LdContext, selectors: tuple[EntitySelector, ...]) -> LdContext:
    """Return the @context as it is for entities of the types that selectors name."""
    types = [selector.types for selector in selectors if selector.types is not None]
    return ld_context.for_types([name for node in types for name in _named(node)])


def _named(node: TypeNode) -> Iterator[Iri]:
    if isinstance(node, TypeIs):
        yield node.type
        return
    for operand in node.operands:
        yield from _named(operand)


def _selectors(params: Mapping[str, str], ld_context: LdContext) -> tuple[EntitySelector, ...]:
    types = parameters.types(params, ld_context)
    ids = tuple(check_uri(part.strip(), "id") for part in parameters.listed(params, "id"))
    pattern = params.get("idPattern")
    if pattern is not None:
        patterns.finder(pattern, "idPattern")
    if types is None and not ids and pattern is None:
        return ()
    return (EntitySelector(types, ids, None if ids else pattern),)


def _order(params: Mapping[str, str], ld_context: LdContext) -> tuple[OrderBy, ...]:
    origin = None
    if "orderFrom" in params:
        kind = params.get("orderGeometry", "Point")
        origin = geo.parse_geometry(kind, params["orderFrom"], "orderFrom")
    if "collation" in params:
        collation.check(params["collation"])
    if "orderBy" not in params:
        return ()
    return ordering.parse(
        params["orderBy"],
        ld_context.expand,
        distance_from=origin,
        collation=params.get("collation", _ROOT_COLLATION),
    )
