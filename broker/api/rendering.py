"""Entities as bytes of an answer, rendered once per version, @context and representation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from broker.api import media
from broker.core import geojson, representations
from broker.core.identifiers import ExpandedEntity, Iri
from broker.core.ld_context import LdContext
from broker.core.representations import Representation
from broker.store.interface import StoredEntity

_encode = msgspec.json.encode
_MAX_RENDERINGS = 16
"""Forms kept of one entity; a client that asks for ever new ones pays for them itself."""


def entity_bytes(
    stored: StoredEntity,
    ld_context: LdContext,
    representation: Representation,
    accept: str,
    geometry_property: Iri | None = None,
) -> bytes:
    """Return an entity in the form asked for; empty when its projection leaves nothing."""
    key = (ld_context.key, representation, accept, geometry_property)
    found = stored.renderings.get(key)
    if found is None:
        found = _render(stored, ld_context, representation, accept, geometry_property)
        if len(stored.renderings) >= _MAX_RENDERINGS:
            stored.renderings.clear()
        stored.renderings[key] = found
    return found


def _render(
    stored: StoredEntity,
    ld_context: LdContext,
    representation: Representation,
    accept: str,
    geometry_property: Iri | None,
    linked: Mapping[Iri, ExpandedEntity] | None = None,
) -> bytes:
    entity = stored.entity
    if accept == media.GEO_JSON:
        name = geometry_property or ld_context.expand("location")
        feature = geojson.feature(
            entity, ld_context, representation, geometry_property=name, linked=linked
        )
        return b"" if feature is None else _encode(feature)
    document = representations.render(entity, ld_context, representation, linked=linked)
    if document is None:
        return b""
    if accept == media.LD_JSON:
        return _encode({**document, "@context": ld_context.source})
    return _encode(document)


def linked_bytes(
    stored: StoredEntity,
    ld_context: LdContext,
    representation: Representation,
    accept: str,
    geometry_property: Iri | None,
    linked: Mapping[Iri, StoredEntity],
) -> bytes:
    """Return an entity with others inline at its relationships; not kept, as others are in it."""
    entities = {key: one.entity for key, one in linked.items()}
    return _render(stored, ld_context, representation, accept, geometry_property, linked=entities)


def array(items: Iterable[bytes]) -> bytes:
    """Join rendered entities to a JSON array, passing over those of which nothing was left."""
    return b"[" + b",".join(item for item in items if item) + b"]"


def feature_collection(items: Iterable[bytes]) -> bytes:
    """Join rendered features to a FeatureCollection without @context."""
    return b'{"type":"FeatureCollection","features":' + array(items) + b"}"


def with_context(document: bytes, ld_context: LdContext) -> bytes:
    """Add the @context to a rendered JSON object."""
    return document[:-1] + b',"@context":' + _encode(ld_context.source) + b"}"
