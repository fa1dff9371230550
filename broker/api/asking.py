"""What a retrieval, a query or a purge asks for, read from its parameters (clauses 6.4, 6.5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from broker.api import media, parameters, query_document, selection
from broker.api.rendering import Form
from broker.api.request import Request, read
from broker.core import moments, projection
from broker.core.conformance import Version
from broker.core.errors import BadRequestData, InvalidRequest
from broker.core.identifiers import Iri, check_name, check_uri
from broker.core.ld_context import LdContext
from broker.core.query.entity_query import EntityQuery, EntitySelector
from broker.core.query.nodes import TypeNode
from broker.core.representations import Format, Representation
from broker.core.timestamps import check_timestamp
from broker.operations.broker import Limits
from broker.operations.queries import ALL

SHOW = frozenset(
    {
        "attrs", "pick", "omit", "lang", "options", "format", "datasetId", "geometryProperty",
        "join", "joinLevel", "containedBy", "asOf",
    }
)  # fmt: skip
RETRIEVE = SHOW | {"type", "local", "entityMap", "entityMapLifetime"}
PURGE = selection.SELECT | {"keep", "drop"}
QUERY = (
    selection.SELECT
    | SHOW
    | parameters.PAGE
    | selection.ORDER
    | {"entityMap", "entityMapLifetime", "splitEntities"}
)

_FORMATS: Mapping[str, Format] = {
    "normalized": "normalized",
    "concise": "concise",
    "simplified": "simplified",
    "keyValues": "simplified",
}
_REMEMBERED = 2048


@dataclass(frozen=True, slots=True)
class Asked:
    """What a retrieval or query asks for.

    Attributes:
        as_of: the moment of the state that is wanted, in microseconds since the epoch; None is now.
    """

    query: EntityQuery
    representation: Representation
    types: TypeNode | None
    geometry_property: Iri | None
    join: str | None = None
    join_level: int = 0
    contained_by: frozenset[Iri] = frozenset()
    as_of: int | None = None
    limit: int = 0
    offset: int = 0
    count: bool = False
    forms: dict[tuple[str, Version], Form] = field(default_factory=dict, compare=False)

    def form(self, ld_context: LdContext, accept: str, version: Version) -> Form:
        """Return the form that is asked for, made once for each media type and version."""
        found = self.forms.get((accept, version))
        if found is None:
            found = self.forms[accept, version] = Form(
                ld_context, self.representation, accept, self.geometry_property, version
            )
        return found


@dataclass(frozen=True, slots=True)
class Purge:
    """What a purge is about: the entities, and the attributes to keep or drop instead of all."""

    query: EntityQuery
    keep: frozenset[Iri] | None
    drop: frozenset[Iri] | None


def retrieval(request: Request, ld_context: LdContext) -> Asked:
    """Read the parameters of a retrieval (table 6.5.3.1-1).

    Raises:
        BadRequestData: a value is wrong, or does not go with the media type.
    """
    _check_geometry_property(request)
    return _retrieval(request.raw.rel_url.raw_query_string, ld_context)


def query(request: Request, ld_context: LdContext) -> Asked:
    """Read the parameters of a query (table 6.4.3.2-1).

    Raises:
        BadRequestData: a value is wrong, or the query is too wide (clause 5.7.2.4).
        InvalidRequest: `format` or `options` is wrong.
    """
    _check_geometry_property(request)
    return _query(request.raw.rel_url.raw_query_string, ld_context, request.broker.limits)


def _check_geometry_property(request: Request) -> None:
    if request.accept != media.GEO_JSON and "geometryProperty" in request.params:
        raise BadRequestData(f"geometryProperty: only with Accept: {media.GEO_JSON}")


@lru_cache(maxsize=_REMEMBERED)
def _retrieval(raw: str, ld_context: LdContext) -> Asked:
    params = read(raw, RETRIEVE)
    attrs = frozenset(ld_context.expand(name) for name in parameters.listed(params, "attrs"))
    level = selection.join_level(params)
    return Asked(
        query=EntityQuery(attrs=attrs) if attrs else ALL,
        representation=_representation(params, ld_context),
        types=parameters.types(params, ld_context),
        geometry_property=_name(params, "geometryProperty", ld_context),
        join=None if level == 0 else params["join"],
        join_level=level,
        contained_by=_contained_by(params, level),
        as_of=_as_of(params, level),
    )


@lru_cache(maxsize=_REMEMBERED)
def _query(raw: str, ld_context: LdContext, limits: Limits) -> Asked:
    return _asked(read(raw, QUERY), ld_context, limits, selectors=None)


def purge(request: Request, ld_context: LdContext) -> Purge:
    """Read the parameters of a purge (table 6.4.3.3-1).

    Raises:
        BadRequestData: a value is wrong, or the purge is too wide (clause 5.6.21.4).
    """
    params = request.params
    if "keep" in params and "drop" in params:
        raise BadRequestData("keep: not together with drop")
    found = selection.entity_query(params, ld_context, None)
    selection.check_width(params, found)
    selected = selection.scoped(ld_context, found.selectors)
    return Purge(
        query=found,
        keep=_attributes(params, "keep", selected),
        drop=_attributes(params, "drop", selected),
    )


def _attributes(
    params: Mapping[str, str], name: str, ld_context: LdContext
) -> frozenset[Iri] | None:
    if name not in params:
        return None
    names = parameters.listed(params, name)
    return frozenset(ld_context.expand(check_name(one, name)) for one in names)


def document_query(request: Request, document: Mapping[str, Any], ld_context: LdContext) -> Asked:
    """Read a query by POST: its document, with the parameters of the page (clause 6.23)."""
    _check_geometry_property(request)
    params = {**query_document.parameters(document), **request.params}
    selectors = query_document.selectors(document, ld_context)
    return _asked(params, ld_context, request.broker.limits, selectors=selectors)


def parsed(params: Mapping[str, str], ld_context: LdContext, limits: Limits) -> Asked:
    """Read the parameters of a query, wherever they stand.

    Raises:
        BadRequestData: a value is wrong, or the query is too wide (clause 5.7.2.4).
        InvalidRequest: `format` or `options` is wrong.
    """
    return _asked(params, ld_context, limits, selectors=None)


def _asked(
    params: Mapping[str, str],
    ld_context: LdContext,
    limits: Limits,
    *,
    selectors: tuple[EntitySelector, ...] | None,
) -> Asked:
    level = selection.join_level(params)
    limit, offset, count = parameters.page(params, limits)
    asked = Asked(
        query=selection.entity_query(params, ld_context, selectors),
        representation=_representation(params, ld_context),
        types=None,
        geometry_property=_name(params, "geometryProperty", ld_context),
        join=None if level == 0 else params["join"],
        join_level=level,
        contained_by=_contained_by(params, level),
        as_of=_as_of(params, level),
        limit=limit,
        offset=offset,
        count=count,
    )
    selection.check_width(params, asked.query)
    return asked


def _representation(params: Mapping[str, str], ld_context: LdContext) -> Representation:
    chosen = parameters.chosen(params, frozenset({*_FORMATS, "sysAttrs"}))
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
            join_level=selection.join_level(params),
        ),
        dataset_ids=parameters.dataset_ids(params),
    )


def _contained_by(params: Mapping[str, str], level: int) -> frozenset[Iri]:
    if "containedBy" in params and level == 0:
        raise BadRequestData("containedBy: only together with join")
    return frozenset(
        check_uri(part, "containedBy") for part in parameters.listed(params, "containedBy")
    )


def _as_of(params: Mapping[str, str], level: int) -> int | None:
    if "asOf" not in params:
        return None
    if level:
        raise BadRequestData("asOf: not together with join")
    return moments.instant(check_timestamp(params["asOf"], "asOf"))


def _name(params: Mapping[str, str], name: str, ld_context: LdContext) -> Iri | None:
    return ld_context.expand(params[name]) if name in params else None
