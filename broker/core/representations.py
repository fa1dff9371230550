"""Render entities as documents: normalized, concise and simplified (clauses 4.5.2–4.5.24)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from broker.core.identifiers import CompactedEntity, ExpandedEntity, Iri
from broker.core.projection import Projection

if TYPE_CHECKING:
    from broker.core.ld_context import LdContext

Format = Literal["normalized", "concise", "simplified"]


@dataclass(frozen=True, slots=True)
class Representation:
    """How an entity is to be shown; hashable, so that renderings can be cached by it.

    Attributes:
        lang: the language filter of clause 4.15.
        dataset_ids: the instances to show, "@none" for the default one; None shows all.
    """

    format: Format = "normalized"
    sys_attrs: bool = False
    lang: str | None = None
    projection: Projection | None = None
    dataset_ids: frozenset[str] | None = None


def render(
    entity: ExpandedEntity,
    ld_context: LdContext,
    representation: Representation,
    *,
    linked: Mapping[Iri, ExpandedEntity] | None = None,
) -> CompactedEntity | None:
    """Render an entity without `@context`; None when the projection leaves nothing (clause 4.21).

    Args:
        linked: entities to put inline at the relationships that point to them (clause 4.5.23.2).
    """
    raise NotImplementedError
