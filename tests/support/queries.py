"""The vectors of the query languages, and entities in the short notation they use."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from broker.core.identifiers import DEFAULT_INSTANCE, ExpandedEntity, Iri
from broker.core.query import q
from broker.core.query.nodes import QNode

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
CREATED = "2026-05-01T00:00:00.000Z"
MODIFIED = "2026-05-02T00:00:00.000Z"

_TYPES = {
    "value": "Property",
    "object": "Relationship",
    "languageMap": "LanguageProperty",
    "vocab": "VocabProperty",
    "json": "JsonProperty",
    "valueList": "ListProperty",
    "objectList": "ListRelationship",
    "geometry": "GeoProperty",
}


def expand(name: str) -> Iri:
    """Stand in for the expansion of an @context."""
    return Iri(name if ":" in name else f"ex:{name}")


def q_vectors() -> dict[str, Any]:
    """Return the vectors of the Query Language."""
    document: dict[str, Any] = yaml.safe_load((VECTORS / "q.yaml").read_text(encoding="utf-8"))
    return document


def title(row: Mapping[str, Any]) -> str:
    """Name a row of the vectors."""
    return " ".join([row["q"] or "nothing", *row.get("expandValues", ())])


def q_node(row: Mapping[str, Any]) -> QNode:
    """Parse the query of a row."""
    return q.parse(row["q"], expand, expand_values=frozenset(row.get("expandValues", ())))


def q_entities() -> dict[str, ExpandedEntity]:
    """Return the entities of the vectors by their short names, in order of creation."""
    return {name: entity(name, **parts) for name, parts in q_vectors()["entities"].items()}


def entity(
    name: str,
    attributes: Mapping[str, Any] = MappingProxyType({}),
    type: list[str] | None = None,  # noqa: A002 - the member's name
    scope: list[str] | None = None,
) -> ExpandedEntity:
    """Make an entity of the short notation."""
    found = {
        "id": f"urn:ngsi-ld:{name}",
        "type": [expand(one) for one in type or ["T"]],
        "createdAt": CREATED,
        "modifiedAt": MODIFIED,
        "attributes": _attributes(attributes),
    }
    if scope is not None:
        found["scope"] = scope
    return ExpandedEntity(found)


def _attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        expand(name): dict(
            _instance(one) for one in (instances if isinstance(instances, list) else [instances])
        )
        for name, instances in attributes.items()
    }


def _instance(parts: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    members = dict(parts)
    dataset_id = members.pop("datasetId", DEFAULT_INSTANCE)
    below = members.pop("attributes", None)
    kind = next(kind for member, kind in _TYPES.items() if member in members)
    if kind == "GeoProperty":
        members["value"] = members.pop("geometry")
    if below is not None:
        members["attributes"] = _attributes(below)
    return dataset_id, {"type": kind, "createdAt": CREATED, "modifiedAt": MODIFIED, **members}
