"""Identifiers: URIs, names, tenants (clauses 4.5.1, 4.6.2, 4.14)."""

from __future__ import annotations

import re
import uuid
from typing import Any, NewType

from broker.core.errors import BadRequestData

Iri = NewType("Iri", str)
"""An absolute IRI: an entity id, or a name after @context expansion."""

Term = NewType("Term", str)
"""A short name, before @context expansion."""

Tenant = NewType("Tenant", str)
"""A tenant's name; the empty name is the default tenant."""

ExpandedEntity = NewType("ExpandedEntity", dict[str, Any])
"""An entity with expanded names and normalized attributes; its shape stands in `core.entity`."""

CompactedEntity = NewType("CompactedEntity", dict[str, Any])
"""An entity as a document: compacted names, in one of the representations of clause 4.5."""

Fragment = NewType("Fragment", dict[str, Any])
"""A partial entity in the shape of an `ExpandedEntity`, nulls included."""

DEFAULT_TENANT = Tenant("")
NGSI_LD_NULL = "urn:ngsi-ld:null"
DEFAULT_INSTANCE = "@none"
"""The key of an attribute's default instance (clause 4.5.5)."""

# RFC 3986 scheme, then anything but what 4.5.1 forbids: blanks, controls, quotes, angle brackets,
# invisible and direction-changing characters.
_URI = re.compile(
    r"[A-Za-z][A-Za-z0-9+.\-]*:"
    r"[^\x00-\x20\x7f-\xa0<>\"{}|\\^`\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    r"\u2000-\u200f\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ufdd0-\ufdef\ufe00-\ufe0f\ufeff"
    r"\uffa0\ufff0-\uffff\U000e0000-\U000e0fff]+"
)
MAX_URI_LENGTH = 2048
_NAME = re.compile(r"[^\W\d_]\w*")
_TENANT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,255}")


def is_uri(text: object) -> bool:
    """Tell whether a value is an absolute URI this broker accepts as an identifier."""
    return (
        isinstance(text, str) and len(text) <= MAX_URI_LENGTH and _URI.fullmatch(text) is not None
    )


def check_uri(text: object, where: str) -> Iri:
    """Return the value as an IRI.

    Raises:
        BadRequestData: it is not an absolute URI; the detail names `where`.
    """
    if not is_uri(text):
        raise BadRequestData(f"{where}: expected a URI, got {text!r:.120}")
    return Iri(str(text))


def check_name(text: str, where: str) -> str:
    """Return a name an attribute or type may have, before expansion (clause 4.6.2).

    Raises:
        BadRequestData: it is neither a letter with letters, digits and `_` behind it, nor an IRI.
    """
    if not (_NAME.fullmatch(text) or is_uri(text)):
        raise BadRequestData(f"{where}: expected a name, got {text!r:.120}")
    return text


def check_tenant(text: str) -> Tenant:
    """Return a tenant's name in its stored form (lower case).

    Raises:
        BadRequestData: the name has other characters than letters, digits, `_`, `.` and `-`.
    """
    if not _TENANT.fullmatch(text):
        raise BadRequestData(f"NGSILD-Tenant: {text!r:.120} is not a tenant name")
    return Tenant(text.lower())


def new_id(kind: str) -> Iri:
    """Make an id for a resource that came without one, such as `urn:ngsi-ld:Subscription:…`."""
    return Iri(f"urn:ngsi-ld:{kind}:{uuid.uuid4()}")
