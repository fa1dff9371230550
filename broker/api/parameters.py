"""Query parameters of the operations on entities (clauses 6.3.20, 6.4, 6.5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from broker.api import media
from broker.api.request import Request, read
from broker.core import projection
from broker.core.errors import BadRequestData, InvalidRequest
from broker.core.identifiers import Iri, check_name, check_uri
from broker.core.ld_context import LdContext
from broker.core.query import geo, ordering, patterns, q, scope
from broker.core.query import types as type_language
from broker.core.query.entity_query import EntityQuery, EntitySelector
from broker.core.query.nodes import OrderBy, TypeNode
from broker.core.representations import Format, Representation
from broker.operations.broker import Limits

SELECT = frozenset(
    {
        "id", "type", "idPattern", "attrs", "q", "csf", "geometry", "georel", "coordinates",
        "geoproperty", "scopeQ", "expandValues", "jsonKeys", "local",
    }
)  # fmt: skip
SHOW = frozenset(
    {
        "attrs", "pick", "omit", "lang", "options", "format", "datasetId", "geometryProperty",
        "join", "joinLevel", "containedBy",
    }
)  # fmt: skip
PAGE = frozenset({"limit", "offset", "count"})
ORDER = frozenset({"orderBy", "orderFrom", "orderGeometry", "collation"})
RETRIEVE = SHOW | {"type", "local", "entityMap", "entityMapLifetime"}
QUERY = SELECT | SHOW | PAGE | ORDER | {"entityMap", "entityMapLifetime", "splitEntities"}

_FORMATS: Mapping[str, Format] = {
    "normalized": "normalized",
    "concise": "concise",
    "simplified": "simplified",
    "keyValues": "simplified",
}
_REMEMBERED = 2048
_MOST_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Asked:
    """What a retrieval or query asks for."""

    query: EntityQuery
    representation: Representation
    types: TypeNode | None
    geometry_property: Iri | None
    limit: int = 0
    offset: int = 0
    count: bool = False


def retrieval(request: Request, ld_context: LdContext) -> Asked:
    """Read the parameters of a retrieval (table 6.5.3.1-1)."""
    return _retrieval(request.raw.rel_url.raw_query_string, ld_context)


def query(request: Request, ld_context: LdContext) -> Asked:
    """Read the parameters of a query (table 6.4.3.2-1).

    Raises:
        BadRequestData: a value is wrong, or the query is too wide (clause 5.7.2.4).
        InvalidRequest: `format` or `options` is wrong.
    """
    asked = _query(request.raw.rel_url.raw_query_string, ld_context, request.broker.limits)
    if request.accept != media.GEO_JSON and "geometryProperty" in request.params:
        raise BadRequestData(f"geometryProperty: only with Accept: {media.GEO_JSON}")
    return asked


@lru_cache(maxsize=_REMEMBERED)
def _retrieval(raw: str, ld_context: LdContext) -> Asked:
    params = read(raw, RETRIEVE)
    return Asked(
        query=EntityQuery(),
        representation=_representation(params, ld_context),
        types=_types(params, ld_context),
        geometry_property=_name(params, "geometryProperty", ld_context),
    )


@lru_cache(maxsize=_REMEMBERED)
def _query(raw: str, ld_context: LdContext, limits: Limits) -> Asked:
    params = read(raw, QUERY)
    asked = Asked(
        query=_entity_query(params, ld_context),
        representation=_representation(params, ld_context),
        types=None,
        geometry_property=_name(params, "geometryProperty", ld_context),
        limit=_number(params, "limit", limits.default_limit, most=limits.max_limit),
        offset=_number(params, "offset", 0),
        count=_flag(params, "count"),
    )
    _check_width(params, asked.query)
    return asked


def _entity_query(params: Mapping[str, str], ld_context: LdContext) -> EntityQuery:
    types = _types(params, ld_context)
    ids = tuple(check_uri(part.strip(), "id") for part in _list(params, "id"))
    pattern = params.get("idPattern")
    if pattern is not None:
        patterns.check(pattern, "idPattern")
    selectors = (
        (EntitySelector(types, ids, pattern),)
        if types is not None or ids or pattern is not None
        else ()
    )
    selected = ld_context.for_types(type_language.names(types)) if types else ld_context
    expand = frozenset(selected.expand(name) for name in _list(params, "expandValues"))
    return EntityQuery(
        selectors=selectors,
        attrs=frozenset(selected.expand(name) for name in _list(params, "attrs")),
        q=q.parse(params["q"], selected, expand_values=expand) if "q" in params else None,
        geo=geo.parse(
            georel=params.get("georel"),
            geometry=params.get("geometry"),
            coordinates=params.get("coordinates"),
            geoproperty=selected.expand(params.get("geoproperty", "location")),
        ),
        scope=scope.parse(params["scopeQ"]) if "scopeQ" in params else None,
        order=_order(params, selected),
        dataset_ids=_datasets(params) or frozenset(),
    )


def _order(params: Mapping[str, str], ld_context: LdContext) -> tuple[OrderBy, ...]:
    if "orderBy" not in params:
        return ()
    return ordering.parse(
        params["orderBy"],
        ld_context,
        collation=params.get("collation"),
        order_from=params.get("orderFrom"),
        order_geometry=params.get("orderGeometry"),
    )


def _check_width(params: Mapping[str, str], asked: EntityQuery) -> None:
    """Refuse a query that would answer with everything there is (clause 5.7.2.4)."""
    if _flag(params, "local"):
        return
    if params.get("type", "").strip() == "*":
        if params.get("local") == "false":
            raise BadRequestData("type: * means local=true, which cannot be false then")
        return
    wide = (
        not any(selector.types is not None for selector in asked.selectors)
        and not asked.attrs
        and asked.geo is None
        and (asked.q is None or not q.names_attribute(asked.q))
    )
    if wide:
        raise BadRequestData("the query is too wide: give type, attrs, q, georel or local=true")


def _representation(params: Mapping[str, str], ld_context: LdContext) -> Representation:
    chosen = _chosen(params, frozenset({*_FORMATS, "sysAttrs"}))
    name = params.get("format")
    if name is not None and name not in _FORMATS:
        raise InvalidRequest(f"format: expected one of {', '.join(_FORMATS)}, got {name!r:.80}")
    formats = [_FORMATS[option] for option in chosen if option in _FORMATS]
    return Representation(
        format=_FORMATS[name] if name is not None else formats[0] if formats else "normalized",
        sys_attrs="sysAttrs" in chosen,
        lang=params.get("lang"),
        projection=projection.parse(
            ld_context,
            pick=params.get("pick"),
            omit=params.get("omit"),
            attrs=params.get("attrs"),
        ),
        dataset_ids=_datasets(params),
    )


def options(request: Request, known: frozenset[str]) -> list[str]:
    """Return the keywords of `options` (clause 6.3.20).

    Raises:
        InvalidRequest: one of them is not known to the operation.
    """
    return _chosen(request.params, known)


def simplified(request: Request) -> bool:
    """Tell whether the body of a merge is in simplified representation (table 6.5.3.4-1).

    Raises:
        InvalidRequest: `format` or `options` is something else.
    """
    known = frozenset({"simplified", "keyValues"})
    chosen = _chosen(request.params, known)
    name = request.params.get("format")
    if name is not None and name not in known:
        raise InvalidRequest(f"format: expected simplified or keyValues, got {name!r:.80}")
    return bool(name or chosen)


def types(request: Request, ld_context: LdContext) -> TypeNode | None:
    """Return the type selection that narrows what an operation is about (clause 4.17)."""
    return _types(request.params, ld_context)


def attribute(request: Request, ld_context: LdContext) -> Iri:
    """Return the attribute a path names, as an IRI.

    Raises:
        BadRequestData: it is no attribute name.
    """
    return ld_context.expand(check_name(request.path("attrId"), "attrId"))


def _types(params: Mapping[str, str], ld_context: LdContext) -> TypeNode | None:
    text = params.get("type")
    if text is None or text.strip() == "*":
        return None
    return type_language.parse(text, ld_context)


def _name(params: Mapping[str, str], name: str, ld_context: LdContext) -> Iri | None:
    return ld_context.expand(params[name]) if name in params else None


def _list(params: Mapping[str, str], name: str) -> list[str]:
    if name not in params:
        return []
    parts = [part.strip() for part in params[name].split(",")]
    if not all(parts):
        raise BadRequestData(
            f"{name}: expected a list separated by commas, got {params[name]!r:.80}"
        )
    return parts


def _datasets(params: Mapping[str, str]) -> frozenset[str] | None:
    parts = _list(params, "datasetId")
    if not parts:
        return None
    return frozenset(part if part == "@none" else check_uri(part, "datasetId") for part in parts)


def _chosen(params: Mapping[str, str], known: frozenset[str]) -> list[str]:
    chosen = [part.strip() for part in params.get("options", "").split(",") if part.strip()]
    for option in chosen:
        if option not in known:
            expected = ", ".join(sorted(known))
            raise InvalidRequest(f"options: expected some of {expected}, got {option!r:.80}")
    return chosen


def _flag(params: Mapping[str, str], name: str) -> bool:
    value = params.get(name, "false").lower()
    if value not in {"true", "false"}:
        raise InvalidRequest(f"{name}: expected true or false, got {value!r:.80}")
    return value == "true"


def page(request: Request) -> tuple[int, int, bool]:
    """Return `limit`, `offset` and whether `count` is asked for, of any list."""
    limits = request.broker.limits
    return (
        _number(request.params, "limit", limits.default_limit, most=limits.max_limit),
        _number(request.params, "offset", 0),
        _flag(request.params, "count"),
    )


def _number(params: Mapping[str, str], name: str, default: int, *, most: int | None = None) -> int:
    text = params.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > _MOST_DIGITS:
        raise BadRequestData(f"{name}: expected a whole number from 0, got {text!r:.80}")
    number = int(text)
    if most is not None and number > most:
        raise BadRequestData(f"{name}: at most {most}, got {number}")
    return number
