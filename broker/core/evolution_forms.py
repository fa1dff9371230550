"""Show temporal evolutions: normalized, simplified and aggregated (clauses 4.5.7–4.5.9, 4.5.19)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

from broker.core import moments
from broker.core.attribute import Instance
from broker.core.evolution import Evolution, PastInstance
from broker.core.identifiers import DEFAULT_INSTANCE, Iri
from broker.core.ld_context import LdContext
from broker.core.projection import Projection
from broker.core.query.aggregation import Bucket
from broker.core.representations import Renderer, Representation
from broker.core.vocabulary import KINDS

Style = Literal["normalized", "temporalValues", "aggregatedValues"]

_PLURALS: Final = MappingProxyType(
    {
        "value": "values",
        "object": "objects",
        "languageMap": "languageMaps",
        "vocab": "vocabs",
        "json": "jsons",
        "valueList": "valueLists",
        "objectList": "objectLists",
    }
)


@dataclass(frozen=True, slots=True)
class EvolutionForm:
    """How evolutions are to be shown.

    Attributes:
        timeproperty: the Temporal Property that simplified values stand beside.
    """

    style: Style = "normalized"
    timeproperty: str = "observedAt"
    sys_attrs: bool = False
    lang: str | None = None
    projection: Projection | None = None


def render(evolution: Evolution, ld_context: LdContext, form: EvolutionForm) -> dict[str, Any]:
    """Render an evolution without `@context`; empty when `pick` or `omit` leaves nothing (4.21)."""
    ld_context = ld_context.for_types(evolution["type"])
    compact, projection = ld_context.compact, form.projection
    types = [compact(iri) for iri in evolution["type"]]
    document: dict[str, Any] = {
        "id": evolution["id"],
        "type": types[0] if len(types) == 1 else types,
    }
    if form.sys_attrs:
        for member in ("createdAt", "modifiedAt", "deletedAt"):
            if member in evolution:
                document[member] = evolution[member]
    renderer = Renderer(ld_context, Representation(sys_attrs=form.sys_attrs, lang=form.lang))
    show = _STYLES[form.style]
    if "scope" in evolution:
        document["scope"] = show(renderer, Iri("scope"), evolution["scope"], form)
    if projection is not None:
        document = {name: item for name, item in document.items() if projection.shows(name)}
    for name, instances in evolution["attributes"].items():
        if projection is None or projection.shows(name):
            document[compact(name)] = show(renderer, name, instances, form)
    for name, kind in evolution.get("beyond", {}).items():
        if projection is None or projection.shows(name):
            document[compact(name)] = _nothing(kind, form)
    return document


def _nothing(kind: str, form: EvolutionForm) -> Any:
    """Show an attribute whose instances are cut off."""
    return [] if form.style == "normalized" else {"type": kind, _PLURALS[KINDS[kind].value]: []}


def render_row(past: PastInstance, ld_context: LdContext) -> dict[str, Any]:
    """Render an instance with the names of its entity, type and attribute, as it is imported."""
    ld_context = ld_context.for_types(past.types)
    types = [ld_context.compact(iri) for iri in past.types]
    instance = Renderer(ld_context, Representation()).instance(
        past.attribute, past.instance, past.instance.get("datasetId", DEFAULT_INSTANCE)
    )
    instance.pop("instanceId", None)
    return {
        "entityId": past.entity_id,
        "entityType": types[0] if len(types) == 1 else types,
        "attribute": ld_context.compact(past.attribute),
        **instance,
    }


def _normalized(
    renderer: Renderer, name: Iri, instances: Sequence[Instance], form: EvolutionForm
) -> Any:
    shown = ("deletedAt", form.timeproperty)
    return [
        renderer.instance(name, one, DEFAULT_INSTANCE)
        | {member: one[member] for member in shown if member in one}
        for one in instances
    ]


def _values(
    renderer: Renderer, name: Iri, instances: Sequence[Instance], form: EvolutionForm
) -> Any:
    """Show values beside their times, a series for each datasetId and kind."""
    series: dict[tuple[str, str], list[list[Any]]] = {}
    for instance in instances:
        document = renderer.instance(name, instance, DEFAULT_INSTANCE)
        kind = KINDS[document["type"]]
        value = document[kind.value] if kind.value != "objectList" else instance[kind.value]
        shown = value if kind.simplified is None else {kind.simplified: value}
        key = (instance.get("datasetId", DEFAULT_INSTANCE), kind.name)
        series.setdefault(key, []).append([shown, time_of(instance, form.timeproperty)])
    return _by_series(
        (dataset, kind, {_PLURALS[KINDS[kind].value]: pairs})
        for (dataset, kind), pairs in series.items()
    )


def _aggregated(
    renderer: Renderer, name: Iri, found: Sequence[tuple[str, str, Sequence[Bucket]]], form: Any
) -> Any:
    """Show what the methods made of each period."""
    del renderer, name, form
    return _by_series((dataset, kind, _methods(buckets)) for dataset, kind, buckets in found)


def _methods(buckets: Sequence[Bucket]) -> Mapping[str, Any]:
    methods: dict[str, list[list[Any]]] = {}
    for bucket in buckets:
        times = [moments.shortest(bucket.start), moments.shortest(bucket.end)]
        for method, value in bucket.values.items():
            methods.setdefault(method, []).append([value, *times])
    return methods


def _by_series(series: Iterable[tuple[str, str, Mapping[str, Any]]]) -> Any:
    shown = [
        {"type": kind, **members} | ({} if dataset == DEFAULT_INSTANCE else {"datasetId": dataset})
        for dataset, kind, members in series
    ]
    return shown[0] if len(shown) == 1 else shown


def time_of(instance: Instance, timeproperty: str) -> str:
    """Return the time that an instance has in a series."""
    for member in (timeproperty, "deletedAt", "modifiedAt"):
        if member in instance:
            return str(instance[member])
    return ""


_STYLES: Final[Mapping[Style, Callable[..., Any]]] = MappingProxyType(
    {"normalized": _normalized, "temporalValues": _values, "aggregatedValues": _aggregated}
)
