"""Entities as bytes of an answer, rendered once per version, @context and representation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from broker.api import media
from broker.core import geojson, representations
from broker.core.conformance import NATIVE, Version, conform
from broker.core.identifiers import ExpandedEntity, Iri
from broker.core.ld_context import LdContext
from broker.core.representations import Representation
from broker.operations.linking import LinkedEntity
from broker.store.interface import StoredEntity

_encode = msgspec.json.encode
_MAX_RENDERINGS = 16
"""Forms kept of one entity; a client that asks for ever new ones pays for them itself."""


@dataclass(frozen=True, slots=True)
class Form:
    """How entities are to be shown; hashable, so that what was rendered is kept by it.

    Attributes:
        accept: the media type.
        geometry_property: the GeoProperty that becomes the geometry of GeoJSON.
        version: the version of the standard that the client is to be shown (clause 4.3.6.8).
    """

    ld_context: LdContext
    representation: Representation
    accept: str
    geometry_property: Iri | None = None
    version: Version = NATIVE
    digest: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Looked up once for every entity of every answer, so it is made once.
        members = (self.ld_context, self.representation, self.accept, self.geometry_property)
        object.__setattr__(self, "digest", hash((*members, self.version)))

    def __hash__(self) -> int:
        return self.digest


def entity_bytes(stored: StoredEntity, form: Form) -> bytes:
    """Return an entity in the form asked for; empty when its projection leaves nothing."""
    found = stored.renderings.get(form)
    if found is None:
        found = _render(stored.entity, form)
        if len(stored.renderings) >= _MAX_RENDERINGS:
            stored.renderings.clear()
        stored.renderings[form] = found
    return found


def inline_bytes(
    stored: StoredEntity,
    form: Form,
    linked: Mapping[Iri, LinkedEntity],
    *,
    join_level: int,
    contained_by: frozenset[Iri],
) -> bytes:
    """Return an entity with others inline at its relationships; not kept, as others are in it."""
    entities = {key: _conformant(one.stored.entity, form) for key, one in linked.items()}
    return _render(
        stored.entity, form, linked=entities, join_level=join_level, contained_by=contained_by
    )


def linked_bytes(linked: LinkedEntity, form: Form) -> bytes:
    """Return a linked entity beside those it is linked from, with what was picked of it."""
    return entity_bytes(linked.stored, replace(form, representation=linked.representation))


def _render(entity: ExpandedEntity, form: Form, **linking: Any) -> bytes:
    entity = _conformant(entity, form)
    if form.accept == media.GEO_JSON:
        name = form.geometry_property or form.ld_context.expand("location")
        feature = geojson.feature(
            entity, form.ld_context, form.representation, geometry_property=name, **linking
        )
        return b"" if feature is None else _encode(feature)
    document = representations.render(entity, form.ld_context, form.representation, **linking)
    if document is None:
        return b""
    if form.accept == media.LD_JSON:
        return _encode({**document, "@context": form.ld_context.source})
    return _encode(document)


def _conformant(entity: ExpandedEntity, form: Form) -> ExpandedEntity:
    """Return an entity with nothing in it that the client's version does not know (4.3.6.8)."""
    if form.version == NATIVE:
        return entity
    return conform(entity, form.version, form.ld_context.for_types(entity["type"]).compact)


def array(items: Iterable[bytes]) -> bytes:
    """Join rendered entities to a JSON array, passing over those of which nothing was left."""
    return b"[" + b",".join(item for item in items if item) + b"]"


def feature_collection(items: Iterable[bytes]) -> bytes:
    """Join rendered features to a FeatureCollection without @context."""
    return b'{"type":"FeatureCollection","features":' + array(items) + b"}"


def with_context(document: bytes, ld_context: LdContext) -> bytes:
    """Add the @context to a rendered JSON object."""
    return document[:-1] + b',"@context":' + _encode(ld_context.source) + b"}"
