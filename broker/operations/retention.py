"""How long history is kept: policies as an operator writes them, and the sweep.

    policy = [type] ["@" tenant] "=" duration / duration

The type is an IRI, or a name that is the last part of one. The duration is an ISO 8601 one, such as
`P1Y` or `PT36H`; a month counts as 31 days, so that nothing goes before its time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from broker.core.errors import NgsiLdError
from broker.core.identifiers import Iri, check_tenant
from broker.core.query.aggregation import parse_duration
from broker.store.temporal import Retention, TemporalStore

_STEP: Final = 2_000
_MONTH: Final = 31 * 86_400 * 1_000_000


class InvalidRetention(ValueError):
    """A policy is not written as one; the text says how."""


def parse(text: str) -> Retention:
    """Read a policy.

    Raises:
        InvalidRetention: it is none.
    """
    meant, _, written = text.rpartition("=")
    kind, _, tenant = meant.partition("@")
    try:
        duration = parse_duration(written.strip(), "retention")
        checked = check_tenant(tenant.strip()) if tenant.strip() else None
    except NgsiLdError as error:
        raise InvalidRetention(error.detail) from error
    if duration is None:
        raise InvalidRetention(f"retention: expected more than no time, got {text!r:.80}")
    keep = duration.months * _MONTH + duration.micros
    return Retention(keep, checked, Iri(kind.strip()) if kind.strip() else None)


async def sweep(store: TemporalStore, policies: Sequence[Retention]) -> None:
    """Delete what was kept too long of some of the entities, in small steps."""
    if policies:
        while await store.sweep(policies, _STEP) >= _STEP:
            pass
