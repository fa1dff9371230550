"""GeoJSON: the values of GeoProperties, and entities as features (clauses 4.7, 4.5.16, 4.5.17)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from broker.core.identifiers import CompactedEntity, ExpandedEntity, Iri
from broker.core.representations import Representation

if TYPE_CHECKING:
    from broker.core.ld_context import LdContext


def feature(
    entity: ExpandedEntity,
    ld_context: LdContext,
    representation: Representation,
    *,
    geometry_property: str = "location",
    linked: Mapping[Iri, ExpandedEntity] | None = None,
) -> dict[str, Any] | None:
    """Render an entity as a GeoJSON Feature without `@context`; None when nothing is left of it."""
    raise NotImplementedError


def feature_collection(features: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Put features into a FeatureCollection without `@context`."""
    raise NotImplementedError


def check_geometry(value: object, where: str) -> CompactedEntity:
    """Check a GeoJSON geometry (RFC 7946; clause 4.7) and return it.

    Raises:
        BadRequestData: it is none, it is a GeometryCollection, or its coordinates are wrong.
    """
    raise NotImplementedError
