"""A query over entities as one hashable value: what the API parsed and the store answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from broker.core.identifiers import Iri
    from broker.core.query.nodes import GeoQuery, OrderBy, QNode, ScopeNode, TypeNode


@dataclass(frozen=True, slots=True)
class EntitySelector:
    """Which entities are meant, by type and id (clause 5.2.33); all that is given must match.

    Attributes:
        types: the type selection; None is any type.
        ids: the entity has one of these ids; none given is any id.
        id_pattern: a regular expression the id must fit; ignored where ids are given.
    """

    types: TypeNode | None = None
    ids: tuple[Iri, ...] = ()
    id_pattern: str | None = None


@dataclass(frozen=True, slots=True)
class EntityQuery:
    """All conditions on an entity, joined by and; `EntityQuery()` means every entity.

    Attributes:
        selectors: one of them must match; none given is any entity.
        attrs: the entity has at least one of these attributes.
        dataset_ids: only these instances of attributes are looked at (`@none` is the default
            one); none given is every instance.
        order: none given is the order of creation.
    """

    selectors: tuple[EntitySelector, ...] = ()
    attrs: frozenset[Iri] = frozenset()
    q: QNode | None = None
    geo: GeoQuery | None = None
    scope: ScopeNode | None = None
    order: tuple[OrderBy, ...] = ()
    dataset_ids: frozenset[str] = frozenset()

    @property
    def by_membership(self) -> bool:
        """Whether only types and ids decide, so that no change of attributes alters the answer."""
        return (
            not self.attrs
            and self.q is None
            and self.geo is None
            and self.scope is None
            and not self.order
        )
