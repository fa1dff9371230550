"""Apply fragments to entities: pure functions that share what they leave alone (clauses 5.5.8, 5.5.12, 5.6)."""

from __future__ import annotations

from typing import NamedTuple

from broker.core.identifiers import ExpandedEntity, Fragment, Iri


class Applied(NamedTuple):
    """An entity after an operation that may do only part of what was asked (clause 5.2.18).

    Attributes:
        updated: the attributes (IRIs) that were written.
        not_updated: the attributes that were left alone, each with the reason.
    """

    entity: ExpandedEntity
    updated: tuple[Iri, ...]
    not_updated: tuple[tuple[Iri, str], ...]


def create(fragment: Fragment, now: str) -> ExpandedEntity:
    """Make an entity of a whole, checked document (clause 5.6.1)."""
    raise NotImplementedError


def append(entity: ExpandedEntity, fragment: Fragment, now: str, *, overwrite: bool) -> Applied:
    """Append attributes, replacing those of the same name unless told not to (clause 5.6.3)."""
    raise NotImplementedError


def update(entity: ExpandedEntity, fragment: Fragment, now: str) -> Applied:
    """Update attributes as a whole (clause 5.6.2)."""
    raise NotImplementedError


def partial_update(entity: ExpandedEntity, fragment: Fragment, now: str) -> ExpandedEntity:
    """Patch members of one attribute (clauses 5.5.8, 5.6.4).

    Raises:
        ResourceNotFound: the entity has no such attribute or instance.
        BadRequestData: the attribute would change its type.
    """
    raise NotImplementedError


def merge(
    entity: ExpandedEntity,
    fragment: Fragment,
    now: str,
    *,
    observed_at: str | None = None,
    lang: str | None = None,
) -> ExpandedEntity:
    """Merge a fragment into an entity (clauses 5.5.12, 5.6.17)."""
    raise NotImplementedError


def replace(entity: ExpandedEntity, fragment: Fragment, now: str) -> ExpandedEntity:
    """Replace an entity, keeping `createdAt` (clause 5.6.18)."""
    raise NotImplementedError


def replace_attribute(entity: ExpandedEntity, fragment: Fragment, now: str) -> ExpandedEntity:
    """Replace one attribute (clause 5.6.19).

    Raises:
        ResourceNotFound: the entity has no such attribute or instance.
    """
    raise NotImplementedError


def delete_attribute(
    entity: ExpandedEntity, attribute: Iri, now: str, *, dataset_id: str | None, delete_all: bool
) -> ExpandedEntity:
    """Delete an attribute's default instance, a named one, or all (clause 5.6.5).

    Raises:
        ResourceNotFound: there is no such attribute or instance.
    """
    raise NotImplementedError


def drop_expired(entity: ExpandedEntity, now: str) -> ExpandedEntity | None:
    """Leave out what has expired (clause 4.22); None if that is the entity itself."""
    raise NotImplementedError
