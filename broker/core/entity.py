"""Check entity documents once and bring them into the broker's own form (clauses 4.5, 5.5.4).

The expanded form is a plain dict with expanded names and normalized attributes, never mutated after:

    {"id": iri, "type": [iri, …], "scope"?: ["/a/b", …], "createdAt": ts, "modifiedAt": ts, "expiresAt"?: ts,
     "attributes": {attribute iri: {dataset_id or "@none": instance, …}, …}}

An instance has its `type`, the value member of that type, other members such as `unitCode` and
`observedAt`, and its sub-attributes under `attributes`, in the same shape as those of an entity.
A `Fragment` has what was sent of this; a deletion in it is an instance that is None.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.identifiers import Fragment, Iri

if TYPE_CHECKING:
    from broker.core.ld_context import LdContext


def expand_entity(document: object, ld_context: LdContext) -> Fragment:
    """Expand a whole entity, normalized or concise, for create and replace (clause 5.6.1).

    Raises:
        BadRequestData: the document is no entity, or it contains a null.
    """
    raise NotImplementedError


def expand_simplified(
    document: object, ld_context: LdContext, *, entity_id: Iri | None = None, whole: bool = True
) -> Fragment:
    """Expand an entity in simplified representation (clause 4.5.4); `whole` as in `expand_entity`."""
    raise NotImplementedError


def expand_fragment(
    document: object, ld_context: LdContext, *, entity_id: Iri | None = None
) -> Fragment:
    """Expand an entity fragment for append, update and merge; nulls mean deletion (clause 5.5.4)."""
    raise NotImplementedError


def expand_attribute(document: object, attribute: Iri, ld_context: LdContext) -> Fragment:
    """Expand one attribute, an instance or an array of them, to a fragment with that attribute."""
    raise NotImplementedError
