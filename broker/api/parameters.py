"""Query parameters of the operations on entities, read once and remembered (clauses 6.3.20, 6.4, 6.5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from broker.api.request import Request
from broker.core import projection
from broker.core.errors import BadRequestData, InvalidRequest
from broker.core.identifiers import Iri, check_uri
from broker.core.ld_context import LdContext
from broker.core.query import geo, ordering, q, scope
from broker.core.query import types as type_language
from broker.core.query.entity_query import EntityQuery, EntitySelector
from broker.core.query.nodes import TypeNode
from broker.core.representations import Format, Representation

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


class AskedCache:
    """What parameters with an @context were read as before; the oldest are forgotten first."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, str], Asked] = {}

    def get(self, kind: str, request: Request, ld_context: LdContext) -> Asked | None:
        """Return what these very parameters mean, if they were read before."""
        return self._known.get((kind, ld_context.key, request.raw.rel_url.raw_query_string))

    def put(self, kind: str, request: Request, ld_context: LdContext, asked: Asked) -> Asked:
        """Remember what they mean."""
        if len(self._known) >= _REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[kind, ld_context.key, request.raw.rel_url.raw_query_string] = asked
        return asked
