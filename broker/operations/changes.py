"""What single operations and batches do to an entity, as changes for the store to run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from broker.core import fragments
from broker.core.errors import AlreadyExists, PreconditionFailed, ResourceNotFound
from broker.core.etag import entity_tag
from broker.core.identifiers import ExpandedEntity, Fragment, Iri
from broker.core.query.evaluate import of_types
from broker.core.query.nodes import TypeNode
from broker.store.interface import Change, Changed

ChangeExisting = Callable[[ExpandedEntity], Changed]


@dataclass(frozen=True, slots=True)
class Narrowing:
    """What must be true of the entity for an operation to touch it.

    Attributes:
        types: the type selection (clause 4.17); None is any type.
        tags: the entity tags of which its state must have one; None is any state.
        keep_newer: an instance observed earlier than the present one becomes history only.
    """

    types: TypeNode | None = None
    tags: frozenset[str] | None = None
    keep_newer: bool = False


ANY = Narrowing()


def existing(entity_id: Iri, change: ChangeExisting, narrowing: Narrowing = ANY) -> Change:
    """Return a change that needs the entity to be there, and as the narrowing has it.

    The change raises:
        ResourceNotFound: there is no such entity, or it is of another type.
        PreconditionFailed: it is in another state.
    """

    def checked(current: ExpandedEntity | None) -> Changed:
        if current is None:
            raise ResourceNotFound(f"there is no entity {entity_id}")
        if narrowing.types is not None and not of_types(narrowing.types, current):
            raise ResourceNotFound(f"entity {entity_id} is not of the type asked for")
        if narrowing.tags is not None and entity_tag(current) not in narrowing.tags:
            raise PreconditionFailed(f"If-Match: entity {entity_id} is in another state")
        return change(current)

    return checked


def creating(fragment: Fragment, now: str) -> Change:
    """Return the change that creates an entity."""

    def change(current: ExpandedEntity | None) -> Changed:
        if current is not None:
            raise AlreadyExists(f"there is an entity {fragment['id']}")
        return Changed(fragments.create(fragment, now), True)

    return change


def upserting(fragment: Fragment, now: str, *, update: bool) -> Change:
    """Return the change that creates an entity or changes it; its answer tells whether it created.

    Args:
        update: add to the attributes that are there, instead of replacing the entity (5.6.2).
    """

    def change(current: ExpandedEntity | None) -> Changed:
        if current is None:
            return Changed(fragments.create(fragment, now), True)
        if update:
            return Changed(fragments.update(current, fragment, now).entity, False)
        return Changed(fragments.replace(current, fragment, now), False)

    return change


def appending(fragment: Fragment, now: str, *, overwrite: bool) -> ChangeExisting:
    """Return the change that appends attributes; its answer is what was applied."""

    def change(current: ExpandedEntity) -> Changed:
        applied = fragments.append(current, fragment, now, overwrite=overwrite)
        return Changed(applied.entity, applied)

    return change


def updating(fragment: Fragment, now: str) -> ChangeExisting:
    """Return the change that replaces the attributes a fragment names; answers what was applied."""

    def change(current: ExpandedEntity) -> Changed:
        applied = fragments.update(current, fragment, now)
        return Changed(applied.entity, applied)

    return change


def partially_updating(fragment: Fragment, now: str) -> ChangeExisting:
    """Return the change that patches one attribute."""

    def change(current: ExpandedEntity) -> Changed:
        return Changed(fragments.partial_update(current, fragment, now), None)

    return change


def replacing_attribute(fragment: Fragment, now: str) -> ChangeExisting:
    """Return the change that replaces one attribute."""

    def change(current: ExpandedEntity) -> Changed:
        return Changed(fragments.replace_attribute(current, fragment, now), None)

    return change


def deleting_attribute(
    attribute: Iri, now: str, *, dataset_id: str | None, delete_all: bool
) -> ChangeExisting:
    """Return the change that deletes one attribute, or instances of it."""

    def change(current: ExpandedEntity) -> Changed:
        left = fragments.delete_attribute(
            current, attribute, now, dataset_id=dataset_id, delete_all=delete_all
        )
        return Changed(left, None)

    return change


def merging(
    fragment: Fragment, now: str, *, observed_at: str | None = None, lang: str | None = None
) -> ChangeExisting:
    """Return the change that merges a fragment into an entity."""

    def change(current: ExpandedEntity) -> Changed:
        merged = fragments.merge(current, fragment, now, observed_at=observed_at, lang=lang)
        return Changed(merged, None)

    return change


def replacing(fragment: Fragment, now: str) -> ChangeExisting:
    """Return the change that replaces an entity."""

    def change(current: ExpandedEntity) -> Changed:
        return Changed(fragments.replace(current, fragment, now), None)

    return change


def deleting(current: ExpandedEntity) -> Changed:
    """Delete an entity."""
    del current
    return Changed(None, None)
