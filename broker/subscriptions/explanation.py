"""Why was a subscription notified of a change, or why not: every condition and what it saw.

The conditions are asked in the order in which the matcher asks them, but all of them, so that the
second obstacle is known before the first is removed. Linked entities, which `q` may ask for, are
looked at as they are when somebody asks; what they were at a change is not kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from msgspec import UNSET

from broker.core.identifiers import ExpandedEntity, Iri
from broker.core.ld_context import LdContext
from broker.core.linking import links_of
from broker.core.notification import state_data
from broker.core.query import evaluate
from broker.core.representations import Representation, render
from broker.core.subscription import Subscription
from broker.core.timestamps import instant_key
from broker.subscriptions.candidates import Candidate
from broker.subscriptions.compiled import (
    ATTRIBUTE_CREATED,
    ATTRIBUTE_DELETED,
    ATTRIBUTE_UPDATED,
    ENTITY_CREATED,
    ENTITY_DELETED,
    CompiledSubscription,
)
from broker.subscriptions.matcher import Changes
from broker.subscriptions.selection import Predicate

_KINDS: Final = {
    ENTITY_CREATED: "entityCreated",
    ENTITY_DELETED: "entityDeleted",
    ATTRIBUTE_CREATED: "attributeCreated",
    ATTRIBUTE_UPDATED: "attributeUpdated",
    ATTRIBUTE_DELETED: "attributeDeleted",
}
_SIMPLE: Final = Representation(format="simplified")


@dataclass(frozen=True, slots=True)
class Explained:
    """What is explained: a subscription as it is served, as it is matched, and what it looks at.

    Attributes:
        served: the subscription as its client is shown it.
        looked_at: the attributes that `q` and `geoQ` are about, and `q` of linked entities.
        linked: the linked entities that `q` asks for; None for one that is not here.
    """

    subscription: Subscription
    served: Mapping[str, Any]
    compiled: CompiledSubscription
    looked_at: Mapping[str, frozenset[Iri]]
    linked: Mapping[Iri, ExpandedEntity | None] = field(default_factory=dict)

    @property
    def names(self) -> LdContext:
        """The @context in which what was seen is shown."""
        return self.compiled.form.ld_context


def explain_change(explained: Explained, candidate: Candidate) -> dict[str, Any]:
    """Tell of one change which conditions let it pass and which stopped it."""
    event = candidate.event
    entity = event.after if event.after is not None else event.before
    changes = Changes.of(event)
    names = explained.names
    conditions = [
        *_of_state(explained, instant_key(event.at)),
        *_of_change(explained, changes),
        *(() if entity is None else _of_entity(explained, entity)),
    ]
    if candidate.notification is not None:  # what is linked may have changed since
        conditions = [one | {"holds": True} for one in conditions]
    stopped_by = _first_obstacle(conditions)
    if stopped_by is None and candidate.notification is None:
        stopped_by = "pick"  # all conditions hold, and the projection left nothing to tell
    told: dict[str, Any] = {
        "entityId": event.entity_id,
        "at": event.at,
        "version": event.version,
        "changed": sorted(names.compact(name) for name in changes.by_attribute),
        "notified": candidate.notification is not None,
        "conditions": conditions,
    }
    if candidate.notification is not None:
        return told | {"notificationId": candidate.notification}
    if candidate.problem is not None:
        return told | {"stoppedBy": "problem", "problem": candidate.problem}
    return told | {"stoppedBy": stopped_by}


def explain_entity(explained: Explained, entity: ExpandedEntity, now: float) -> dict[str, Any]:
    """Tell whether an entity as it is now would be notified: at the interval, or if updated."""
    conditions = [*_of_state(explained, now), *_of_entity(explained, entity)]
    compiled, names = explained.compiled, explained.names
    if compiled.periodic is None and not compiled.triggers & ATTRIBUTE_UPDATED:
        asked = list(explained.subscription.triggers)
        conditions.append(_condition("notificationTrigger", False, asked, ["attributeUpdated"]))
    if compiled.watched is not None:
        has = sorted(names.compact(name) for name in compiled.watched & entity["attributes"].keys())
        watched = sorted(map(names.compact, compiled.watched))
        conditions.append(_condition("watchedAttributes", bool(has), watched, has))
    stopped_by = _first_obstacle(conditions)
    if stopped_by is None and state_data([entity], compiled.form) is None:
        stopped_by = "pick"
    told = {"id": entity["id"], "wouldBeNotified": stopped_by is None, "conditions": conditions}
    return told if stopped_by is None else told | {"stoppedBy": stopped_by}


def state_obstacle(explained: Explained, now: float) -> str | None:
    """Return what keeps a subscription from telling anything now, whatever happens."""
    return _first_obstacle(list(_of_state(explained, now)))


def _first_obstacle(conditions: list[dict[str, Any]]) -> str | None:
    return next((str(one["condition"]) for one in conditions if not one["holds"]), None)


def _condition(name: str, holds: bool, asked: Any, seen: Any) -> dict[str, Any]:  # noqa: FBT001 - a member
    return {"condition": name, "holds": holds, "asked": asked, "seen": seen}


def _of_state(explained: Explained, at: float) -> Iterator[dict[str, Any]]:
    """Yield what does not depend on entities."""
    subscription = explained.subscription
    if not explained.compiled.active:
        yield _condition("isActive", False, True, False)
    if subscription.expires_at is not UNSET:
        expires = instant_key(subscription.expires_at)
        yield _condition("expiresAt", expires > at, subscription.expires_at, None)


def _of_change(explained: Explained, changes: Changes) -> Iterator[dict[str, Any]]:
    """Yield what depends on what was changed, and how."""
    compiled, names = explained.compiled, explained.names
    mask = changes.mask(compiled.watched)
    if compiled.watched is not None:
        watched = sorted(map(names.compact, compiled.watched))
        seen = sorted(map(names.compact, changes.by_attribute))
        holds = not compiled.watched.isdisjoint(changes.by_attribute)
        yield _condition("watchedAttributes", holds, watched, seen)
    mask = mask or changes.in_all
    yield _condition(
        "notificationTrigger",
        bool(mask & compiled.triggers),
        list(explained.subscription.triggers),
        [name for bit, name in _KINDS.items() if mask & bit],
    )


def _of_entity(explained: Explained, entity: ExpandedEntity) -> Iterator[dict[str, Any]]:
    """Yield what depends on the entity: selectors, scope, values and place."""
    compiled = explained.compiled
    conditions: dict[str, Predicate] = dict(compiled.conditions)
    if "entities" not in conditions and compiled.types is not None:
        types = compiled.types
        conditions = {"entities": lambda one: not types.isdisjoint(one["type"]), **conditions}
    for member, holds in conditions.items():
        yield _condition(
            member,
            _holds(holds, entity),
            explained.served.get(member),
            _seen(explained, member, entity),
        )
    if compiled.linked is not None:
        asked, find = compiled.linked, explained.linked.get
        yield _condition(
            "q",
            _holds(lambda one: evaluate.matches(asked, one, linked=find), entity),
            explained.served.get("q"),
            {**_shown(explained, "q", entity), "linked": _linked(explained, entity)},
        )


def _linked(explained: Explained, entity: ExpandedEntity) -> dict[Iri, dict[str, Any] | None]:
    """Return of the entities that `q` reached from one what it looks at; None is not here."""
    found: dict[Iri, dict[str, Any] | None] = {}
    front = [entity]
    while front:
        targets = [to for one in front for _, to in links_of(one)]
        front = []
        for target in targets:
            if target in explained.linked and target not in found:
                reached = explained.linked[target]
                found[target] = None if reached is None else _shown(explained, "linked", reached)
                front += [] if reached is None else [reached]
    return found


def _holds(holds: Predicate, entity: ExpandedEntity) -> bool:
    try:
        return bool(holds(entity))
    except Exception:  # noqa: BLE001 - the matcher takes a condition that breaks as one that fails
        return False


def _seen(explained: Explained, member: str, entity: ExpandedEntity) -> Any:
    """Return of an entity what a condition looks at."""
    names = explained.names
    if member == "entities":
        return {"id": entity["id"], "type": [names.compact(one) for one in entity["type"]]}
    if member == "scopeQ":
        return entity.get("scope", [])
    return _shown(explained, member, entity)


def _shown(explained: Explained, member: str, entity: ExpandedEntity) -> dict[str, Any]:
    """Return the attributes of an entity that a condition is about, simplified."""
    looked_at = explained.looked_at.get(member, frozenset())
    kept = {k: v for k, v in entity["attributes"].items() if k in looked_at}
    shown: Mapping[str, Any] = (
        render(ExpandedEntity({**entity, "attributes": kept}), explained.names, _SIMPLE) or {}
    )
    return {key: value for key, value in shown.items() if key not in {"id", "type", "scope"}}
