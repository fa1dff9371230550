"""Words and bounds of the core model: kinds of attributes, their members, reserved names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from broker.core.errors import BadRequestData
from broker.core.identifiers import MAX_URI_LENGTH, NGSI_LD_NULL, Iri, is_uri

MAX_ATTRIBUTES: Final = 1_000
"""Attributes of one entity, and sub-attributes of one attribute instance."""
MAX_INSTANCES: Final = 1_000
"""Instances of one attribute."""
MAX_ATTRIBUTE_DEPTH: Final = 16
"""How deep sub-attributes may have sub-attributes."""
MAX_VALUE_DEPTH: Final = 64
"""How deep arrays and objects may be nested in a value."""
MAX_NAME_LENGTH: Final = 256
"""Characters of a short name; IRIs have their own limit."""
MAX_TYPES: Final = 64
"""Types of one entity, and of one relationship's objects."""
MAX_SCOPES: Final = 64
MAX_OBJECTS: Final = 10_000
"""Objects of one relationship."""
MAX_TEXT_LENGTH: Final = 256
"""Characters of a unit code or a language tag."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One type of attribute.

    Attributes:
        name: what `type` says.
        value: the member that holds its value.
        previous: the member that holds the former value in notifications (5.8.6).
        simplified: the key that wraps its value when simplified (4.5.4); None: it stands bare.
    """

    name: str
    value: str
    previous: str
    simplified: str | None = None


KINDS: Final = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            Kind("Property", "value", "previousValue"),
            Kind("GeoProperty", "value", "previousValue"),
            Kind("Relationship", "object", "previousObject"),
            Kind("LanguageProperty", "languageMap", "previousLanguageMap", "languageMap"),
            Kind("VocabProperty", "vocab", "previousVocab", "vocab"),
            Kind("JsonProperty", "json", "previousJson", "json"),
            Kind("ListProperty", "valueList", "previousValueList"),
            Kind("ListRelationship", "objectList", "previousObjectList"),
        )
    }
)

VALUE_MEMBERS: Final[Mapping[str, str]] = {kind.name: kind.value for kind in KINDS.values()}
"""Where an instance of each kind keeps its value or object."""

VALUE_KINDS: Final = MappingProxyType(
    {kind.value: kind.name for kind in KINDS.values() if kind.name != "GeoProperty"}
)
"""The kind that a value member stands for when `type` is left out (4.5.2.3, 4.5.3.3 …)."""

PREVIOUS_MEMBERS: Final = frozenset(kind.previous for kind in KINDS.values())

READ_ONLY_MEMBERS: Final = frozenset(("createdAt", "modifiedAt", "deletedAt"))
"""Made by the broker; ignored when a client sends them (5.2.2)."""

INSTANCE_MEMBERS: Final = frozenset(
    ("datasetId", "observedAt", "unitCode", "valueType", "objectType", "expiresAt")
)
"""Members beside type and value that a client may give an attribute instance."""

GEO_NAMES: Final = frozenset(("location", "observationSpace", "operationSpace"))
"""Attributes that are GeoProperties wherever they stand in an entity (4.7.1)."""

PROOF: Final = "ngsildproof"
PROOF_MEMBERS: Final = frozenset(("entityIdSealed", "entityTypeSealed"))

SCOPE: Final = Iri("https://uri.etsi.org/ngsi-ld/scope")
"""The name under which an operation on attributes addresses the scope (5.6.4, 5.6.5, 5.6.19)."""

RESERVED_NAMES: Final = (
    (INSTANCE_MEMBERS - {"expiresAt"})
    | PREVIOUS_MEMBERS
    | PROOF_MEMBERS
    | {"instanceId", "entity", "entityList"}
)
"""Core terms that are no attribute names (4.5.1).

Deviates: 4.5.1 excludes the names of value members as well, such as `value` and `vocab`; the
Device of Smart Data Models has an attribute `value`, and beside the members of an entity these
names mean nothing else.
"""


def name_error(name: str) -> str | None:
    """Say what is wrong with a name of a type or an attribute, None if nothing is (clause 4.6.2).

    A name is a letter followed by letters, numbers and `_`, also with a prefix, or an IRI.
    """
    prefix, colon, local = name.partition(":")
    limit = MAX_URI_LENGTH if colon else MAX_NAME_LENGTH
    if len(name) > limit:
        return f"is longer than {limit}"
    if name == NGSI_LD_NULL:
        return "deletes nothing here"
    if is_word(name) or (colon and (is_uri(name) or (is_word(prefix) and is_word(local)))):
        return None
    return "is no name: expected a letter, then letters, numbers and _, or an IRI"


def is_word(text: str) -> bool:
    """Tell whether a text is a letter, then letters, numbers and `_` (clauses 4.6.2, 4.18)."""
    return text[:1].isalpha() and text.replace("_", "a").isalnum()


def check_scope(text: object, where: str) -> str:
    """Return a scope with its leading slash (clause 4.18).

    Raises:
        BadRequestData: it is no scope.
    """
    if isinstance(text, str) and len(text) <= MAX_URI_LENGTH:
        levels = text.removeprefix("/").split("/")
        if all(map(is_word, levels)):
            return "/" + "/".join(levels)
    raise BadRequestData(f"{where}: expected a scope such as /Madrid/Gardens, got {text!r:.120}")
