"""Entities as GeoJSON features (clauses 4.5.16, 4.5.17)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from broker.core.identifiers import DEFAULT_INSTANCE, ExpandedEntity, Iri
from broker.core.ld_context import CORE
from broker.core.representations import Representation, render

if TYPE_CHECKING:
    from broker.core.ld_context import LdContext

LOCATION: Final = CORE.expand("location")


def feature(
    entity: ExpandedEntity,
    ld_context: LdContext,
    representation: Representation,
    *,
    geometry_property: Iri = LOCATION,
    linked: Mapping[Iri, ExpandedEntity] | None = None,
    join_level: int = 1,
    contained_by: frozenset[Iri] = frozenset(),
) -> dict[str, Any] | None:
    """Render an entity as a GeoJSON Feature without `@context`; None when nothing is left of it.

    Args:
        geometry_property: the GeoProperty that becomes the feature's geometry.
        linked: see `representations.render`, also for what follows.
    """
    properties = render(
        entity,
        ld_context,
        representation,
        linked=linked,
        join_level=join_level,
        contained_by=contained_by,
    )
    if properties is None:
        return None
    found: dict[str, Any] = {}
    if "id" in properties:
        found["id"] = properties.pop("id")
    found["type"] = "Feature"
    found["geometry"] = _geometry(entity, representation, geometry_property)
    found["properties"] = properties
    return found


def feature_collection(features: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Put features into a FeatureCollection without `@context`."""
    return {"type": "FeatureCollection", "features": list(features)}


def _geometry(
    entity: ExpandedEntity, representation: Representation, name: Iri
) -> dict[str, Any] | None:
    """Return the geometry of an entity, as far as it is shown (clause 4.5.16.1).

    Of several instances it is the default one, or else one whose datasetId was asked for.
    """
    projection = representation.projection
    if projection is not None and not projection.shows(name):
        return None
    wanted = representation.dataset_ids
    for key in (DEFAULT_INSTANCE, *sorted(wanted or ())):
        instance = entity["attributes"].get(name, {}).get(key)
        if (
            instance is not None
            and (wanted is None or key in wanted)
            and instance["type"] == "GeoProperty"
            and isinstance(instance["value"], dict)
        ):
            return dict(instance["value"])
    return None
