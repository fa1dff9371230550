"""How the notifications of a subscription look (clauses 5.2.14, 5.3.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from broker.core.conformance import NATIVE, Version
from broker.core.identifiers import Iri
from broker.core.representations import Representation
from broker.core.subscription import JSON

if TYPE_CHECKING:
    from broker.core.ld_context import LdContext


@dataclass(frozen=True, slots=True)
class NotificationForm:
    """How a subscription's notifications look.

    Attributes:
        accept: the media type of the body.
        inline_context: whether the @context stands in the body instead of in a Link header.
        show_changes: whether previous values are shown.
        nulls: the attributes shown as null when their entity is deleted; None is all of them.
        join: `inline` or `flat` where linked entities are shown too, and how deep (4.5.23).
        version: the version of the standard that the receiver is to be shown (4.3.6.8).
    """

    ld_context: LdContext
    representation: Representation
    accept: str = JSON
    inline_context: bool = False
    show_changes: bool = False
    nulls: frozenset[Iri] | None = frozenset()
    join: str = "@none"
    join_level: int = 0
    version: Version = NATIVE
