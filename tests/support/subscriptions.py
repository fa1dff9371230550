"""Entities, changes and compiled subscriptions for tests of matching."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from broker.core import fragments
from broker.core.entity import expand_entity, expand_fragment
from broker.core.events import EntityChanged
from broker.core.identifiers import DEFAULT_TENANT, ExpandedEntity, Iri, Tenant
from broker.core.ld_context import CORE, LdContext
from broker.core.subscription_documents import parse
from broker.subscriptions.compiled import CompiledSubscription, Contexts, compile_subscription

CREATED = "2026-05-01T12:00:00.000Z"
CHANGED = "2026-05-01T12:00:01.000Z"
MOMENT = datetime(2026, 5, 1, 11, tzinfo=UTC)


def compiled(
    ld_context: LdContext = CORE, /, *, notification: dict[str, Any] | None = None, **members: Any
) -> CompiledSubscription:
    """Compile a subscription to roads, unless `entities` says otherwise."""
    document = {
        "type": "Subscription",
        "entities": [{"type": "Road"}],
        "notification": {"endpoint": {"uri": "http://receiver.example/"}, **(notification or {})},
        **members,
    }
    document = {name: value for name, value in document.items() if value is not None}
    subscription = parse(document, ld_context, MOMENT)
    return compile_subscription(subscription, Contexts(ld_context, ld_context, ld_context))


def road(number: int = 1, **members: Any) -> ExpandedEntity:
    """Return a stored road; members are written as in a document."""
    document = {"id": f"urn:ngsi-ld:Road:{number}", "type": "Road", **members}
    return fragments.create(expand_entity(document, CORE), CREATED)


def changed(before: ExpandedEntity, /, **members: Any) -> ExpandedEntity:
    """Return an entity after an update of attributes; null deletes."""
    return fragments.update(before, expand_fragment(members, CORE), CHANGED).entity


def event(
    before: ExpandedEntity | None,
    after: ExpandedEntity | None,
    *,
    tenant: Tenant = DEFAULT_TENANT,
) -> EntityChanged:
    """Return what a store tells about a write."""
    entity = after if after is not None else before
    assert entity is not None
    at = CREATED if before is None else CHANGED
    return EntityChanged(tenant, Iri(entity["id"]), before, after, at, 1 if before is None else 2)
