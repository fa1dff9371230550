"""What a temporal request asks for, read from its parameters (clauses 6.18.3, 6.19.3, 6.24)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from broker.api import parameters, query_document, selection
from broker.api.request import Request
from broker.core import projection
from broker.core.errors import BadRequestData, InvalidRequest
from broker.core.evolution_forms import EvolutionForm, Style
from broker.core.identifiers import Iri
from broker.core.ld_context import LdContext
from broker.core.query import aggregation, temporal
from broker.core.query.entity_query import EntityQuery, EntitySelector
from broker.operations.broker import Limits
from broker.store.temporal import TemporalSelection

WINDOW = frozenset(
    {"timerel", "timeAt", "endTimeAt", "timeproperty", "lastN", "aggrMethods", "aggrPeriodDuration"}
)
SHOW = WINDOW | {
    "attrs", "pick", "omit", "lang", "options", "format", "datasetId", "local", "instances",
}  # fmt: skip
RETRIEVE = SHOW | {"entityMap", "entityMapLifetime"}
QUERY = (
    selection.SELECT
    | SHOW
    | parameters.PAGE
    | {"orderBy", "collation", "entityMap", "entityMapLifetime", "splitEntities"}
)

EXPORT = frozenset(
    {
        "id", "type", "idPattern", "attrs", "pick", "omit", "datasetId", "timerel", "timeAt",
        "endTimeAt", "timeproperty",
    }
)  # fmt: skip

_STYLES: Mapping[str, Style] = {
    "normalized": "normalized",
    "temporalValues": "temporalValues",
    "simplified": "temporalValues",
    "aggregatedValues": "aggregatedValues",
}
_MOST_LAST = 1_000_000


@dataclass(frozen=True, slots=True)
class Asked:
    """What a temporal retrieval or query asks for."""

    query: EntityQuery
    selection: TemporalSelection
    form: EvolutionForm
    limit: int = 0
    offset: int = 0
    count: bool = False


def retrieval(request: Request, ld_context: LdContext) -> Asked:
    """Read the parameters of a retrieval (table 6.19.3.1-1).

    Raises:
        BadRequestData: a value is wrong.
        InvalidRequest: `format` or `options` is wrong.
    """
    return _asked(request.params, ld_context, request.broker.limits, EntityQuery())


def query(request: Request, ld_context: LdContext) -> Asked:
    """Read the parameters of a query (table 6.18.3.2-1).

    Raises:
        BadRequestData: a value is wrong, there is no temporal query, or the query is too wide.
        InvalidRequest: `format` or `options` is wrong.
    """
    return _query(request, request.params, ld_context, selectors=None)


def export(request: Request, ld_context: LdContext) -> Asked:
    """Read the parameters of an export; it may be of all there is, and of all time.

    Raises:
        BadRequestData: a value is wrong.
    """
    found = selection.entity_query(request.params, ld_context, None)
    return _asked(request.params, ld_context, request.broker.limits, found)


def document_query(
    request: Request, document: Mapping[str, object], ld_context: LdContext
) -> Asked:
    """Read a query by POST: its document, with the parameters of the page (clause 6.24).

    Raises:
        BadRequestData: see `query`.
    """
    params = {**query_document.temporal_parameters(document), **request.params}
    selectors = query_document.selectors(document, ld_context)
    return _query(request, params, ld_context, selectors=selectors)


def _query(
    request: Request,
    params: Mapping[str, str],
    ld_context: LdContext,
    *,
    selectors: tuple[EntitySelector, ...] | None,
) -> Asked:
    if "timerel" not in params:
        raise BadRequestData("timerel: expected, a temporal query needs one (clause 5.7.4.4)")
    if params.get("orderBy", "id").partition(";")[0].strip() != "id":
        raise BadRequestData("orderBy: a temporal query is ordered by id only (clause 5.7.4.4)")
    found = selection.entity_query(params, ld_context, selectors)
    selection.check_width(params, found)
    return _asked(params, ld_context, request.broker.limits, found)


def _asked(
    params: Mapping[str, str], ld_context: LdContext, limits: Limits, found: EntityQuery
) -> Asked:
    selected = selection.scoped(ld_context, found.selectors)
    shown = projection.parse(
        selected, pick=params.get("pick"), omit=params.get("omit"), attrs=params.get("attrs")
    )
    form = _form(params, shown)
    limit, offset, count = parameters.page(params, limits)
    return Asked(
        query=found,
        selection=TemporalSelection(
            window=_window(params, aggregated=form.style == "aggregatedValues"),
            attributes=_attributes(shown),
            omitted=_omitted(shown),
            scopes=shown is None or shown.shows("scope"),
            dataset_ids=parameters.dataset_ids(params),
            instances=parameters.number(
                params,
                "instances",
                limits.default_instances,
                least=1,
                most=limits.max_instances,
            ),
        ),
        form=form,
        limit=limit,
        offset=offset,
        count=count,
    )


def _form(params: Mapping[str, str], shown: projection.Projection | None) -> EvolutionForm:
    options = parameters.chosen(params, frozenset({*_STYLES, "sysAttrs"}))
    name = params.get("format")
    if name is not None and name not in _STYLES:
        raise InvalidRequest(f"format: expected one of {', '.join(_STYLES)}, got {name!r:.80}")
    styles = {_STYLES[option] for option in options if option in _STYLES}
    if name is not None:
        styles = {_STYLES[name]}
    if len(styles) > 1:
        raise InvalidRequest(f"options: expected one of {', '.join(sorted(styles))}, not both")
    return EvolutionForm(
        style=styles.pop() if styles else "normalized",
        timeproperty=params.get("timeproperty", "observedAt"),
        sys_attrs="sysAttrs" in options,
        lang=params.get("lang"),
        projection=shown,
    )


def _window(params: Mapping[str, str], *, aggregated: bool) -> temporal.TemporalQuery:
    last_n = None
    if "lastN" in params:
        last_n = parameters.number(params, "lastN", 1, least=1, most=_MOST_LAST)
    found = None
    if "aggrMethods" in params or aggregated:
        found = aggregation.parse(params.get("aggrMethods"), params.get("aggrPeriodDuration"))
    return temporal.parse(params, last_n=last_n, aggregation=found if aggregated else None)


def _attributes(shown: projection.Projection | None) -> frozenset[Iri] | None:
    """Return the attributes that are wanted; None is all."""
    if shown is None or (shown.attrs is None and shown.pick is None):
        return None
    return _names(shown.pick or ()) if shown.attrs is None else shown.attrs


def _omitted(shown: projection.Projection | None) -> frozenset[Iri]:
    return frozenset() if shown is None else _names(shown.omit or ())


def _names(members: Iterable[str]) -> frozenset[Iri]:
    return frozenset(Iri(name) for name in members if name not in projection.ENTITY_MEMBERS)
