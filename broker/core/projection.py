"""Which members of an entity are asked for: `attrs`, `pick` and `omit` (clause 4.21)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from broker.core.identifiers import Iri

if TYPE_CHECKING:
    from broker.core.ld_context import LdContext


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """Parsed `pick`, `omit` and `attrs`.

    Attributes:
        pick: members and attribute IRIs to keep, each with the projection of the entities linked by
            it; None keeps all. `attrs` is a pick that keeps id, type and scope.
        omit: members and attribute IRIs to leave out.
    """

    pick: Mapping[str, Projection | None] | None = None
    omit: Mapping[str, Projection | None] | None = None
    attrs: frozenset[Iri] | None = None


def parse(
    ld_context: LdContext,
    *,
    pick: str | None = None,
    omit: str | None = None,
    attrs: str | None = None,
    join_level: int = 0,
) -> Projection | None:
    """Parse the projection parameters of a request; None when there are none.

    Args:
        join_level: how deep linked entities are joined; 0 without `join`.

    Raises:
        BadRequestData: wrong syntax, a member both picked and omitted, `attrs` beside another,
            or braces deeper than `join_level`.
    """
    raise NotImplementedError
