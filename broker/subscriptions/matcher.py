"""Which subscriptions does a change concern, and what are they told?

The matcher runs inside the store's write, so that what it answers is committed with the change. It
holds nothing but an index of compiled subscriptions, and what it answers depends on the change and
on what the transaction reads: a write that is rolled back and tried again matches the same. Linked
entities, which `q` and `join` may ask for, are read here too, so that a notification is final when
it is committed; a change of a linked entity alone concerns no subscription to those that link.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from broker.core.events import AttributeChanged, EntityChanged, Instance
from broker.core.identifiers import ExpandedEntity, Iri, Tenant
from broker.core.linking import Read, nowhere
from broker.core.notification import entity_data, envelope
from broker.core.query import evaluate
from broker.core.timestamps import instant_key
from broker.store.interface import Delivery
from broker.subscriptions.candidates import Candidate, Candidates, Ring, merged
from broker.subscriptions.compiled import (
    ATTRIBUTE_CREATED,
    ATTRIBUTE_DELETED,
    ATTRIBUTE_UPDATED,
    ENTITY_CREATED,
    ENTITY_DELETED,
    CompiledSubscription,
)

_log = logging.getLogger(__name__)

_Postings = dict[Iri, CompiledSubscription]
_TIMES = frozenset({"createdAt", "modifiedAt", "attributes"})


class _ByAttribute(dict[Iri | None, _Postings]):
    """What of the index one key of entities leads to.

    Attributes:
        recent: the last changes that led here, whatever attributes they were of.
    """

    __slots__ = ("recent",)

    def __init__(self) -> None:
        super().__init__()
        self.recent = Ring()


@dataclass(slots=True)
class _TenantIndex:
    """The active subscriptions of a tenant, by what an entity must have and by watched attribute.

    The attribute None holds those that watch every attribute.
    """

    by_type: dict[Iri, _ByAttribute] = field(default_factory=dict)
    by_id: dict[Iri, _ByAttribute] = field(default_factory=dict)
    of_all: _ByAttribute = field(default_factory=_ByAttribute)

    def candidates(self, entity: ExpandedEntity) -> list[_ByAttribute]:
        """Return the parts of the index that an entity's id and types lead to."""
        found = [self.by_type[name] for name in entity["type"] if name in self.by_type]
        by_id = self.by_id.get(entity["id"])
        if by_id is not None:
            found.append(by_id)
        if self.of_all:
            found.append(self.of_all)
        return found

    def homes(self, compiled: CompiledSubscription) -> Iterator[tuple[dict[Any, Any], Any]]:
        """Yield where a subscription belongs: a part of the index, and its key there."""
        if compiled.ids is not None:
            for entity_id in compiled.ids:
                yield self.by_id, entity_id
        elif compiled.types is not None:
            for name in compiled.types:
                yield self.by_type, name
        else:
            yield {None: self.of_all}, None


class SubscriptionMatcher:
    """See `store.interface.Matcher`.

    Attributes:
        counts: matched changes and failed evaluations so far.
    """

    def __init__(self) -> None:
        self._tenants: dict[Tenant, _TenantIndex] = {}
        self._compiled: dict[tuple[Tenant, Iri], CompiledSubscription] = {}
        self._candidates = Candidates()
        self.counts: Counter[str] = Counter()

    def put(self, tenant: Tenant, subscription_id: Iri, compiled: Any) -> None:
        """See `Matcher.put`; one that is paused or periodic is held out of the index."""
        self.discard(tenant, subscription_id)
        if not isinstance(compiled, CompiledSubscription):
            return
        if compiled.periodic is not None:
            return
        self._compiled[tenant, subscription_id] = compiled
        if not compiled.active:
            return
        index = self._tenants.setdefault(tenant, _TenantIndex())
        watched = compiled.watched or (None,)
        for part, key in index.homes(compiled):
            by_attribute: _ByAttribute = part.setdefault(key, _ByAttribute())
            for attribute in watched:
                by_attribute.setdefault(attribute, {})[subscription_id] = compiled

    def discard(self, tenant: Tenant, subscription_id: Iri) -> None:
        """See `Matcher.discard`."""
        compiled = self._compiled.pop((tenant, subscription_id), None)
        if compiled is None:
            return
        self._candidates.forget(compiled)
        if not compiled.active:
            return
        index = self._tenants[tenant]
        for part, key in index.homes(compiled):
            by_attribute: _ByAttribute = part[key]
            for attribute in compiled.watched or (None,):
                by_attribute[attribute].pop(subscription_id)
                if not by_attribute[attribute]:
                    del by_attribute[attribute]
            if not by_attribute:
                del part[key]

    def match(self, event: EntityChanged, read: Read = nowhere) -> Sequence[Delivery]:
        """See `Matcher.match`."""
        index = self._tenants.get(event.tenant)
        entity = event.after if event.after is not None else event.before
        if index is None or entity is None:
            return ()
        parts = index.candidates(entity)
        if not parts:
            return ()
        for part in parts:
            part.recent.append(event)
        changes = Changes.of(event)
        found = _found(parts, changes.by_attribute)
        if not found:
            return ()
        rendered: dict[str, bytes | None] = {}
        deliveries = []
        note = self._candidates.note
        for compiled in found.values():
            delivery = self._deliver(event, entity, changes, compiled, rendered, read)
            if delivery is None:
                note(compiled, event, None)
            else:
                note(compiled, event, delivery.id)
                deliveries.append(delivery)
        self.counts["matched"] += len(deliveries)
        return deliveries

    def compiled(self, tenant: Tenant, subscription_id: Iri) -> CompiledSubscription | None:
        """Return a subscription as it is matched, or would be if it were not paused."""
        return self._compiled.get((tenant, subscription_id))

    def candidates(self, tenant: Tenant, compiled: CompiledSubscription) -> list[Candidate]:
        """Return the last changes that a subscription was or might have been notified of.

        Those of other attributes than it watches are among them. May be called in any thread.
        """
        index = self._tenants.get(tenant)
        homes = index.homes(compiled) if index is not None else iter(())
        parts = [part[key] for part, key in homes if key in part]
        return merged(self._candidates.of(compiled), *(part.recent.last() for part in parts))

    def _deliver(
        self,
        event: EntityChanged,
        entity: ExpandedEntity,
        changes: Changes,
        compiled: CompiledSubscription,
        rendered: dict[str, bytes | None],
        read: Read,
    ) -> Delivery | None:
        try:
            if stopped_by(event, entity, changes, compiled, read) is not None:
                return None
            key = compiled.form_key
            if key not in rendered:
                rendered[key] = entity_data(event, compiled.form, changes.attributes, read)
            data = rendered[key]
        except Exception as error:  # noqa: BLE001 - whatever it is, the others must be matched
            # The write must not fail because a notification about it cannot be made.
            self.counts["broken"] += 1
            problem = f"the broker failed: {type(error).__name__}; its log has more"
            self._candidates.note(compiled, event, None, problem)
            _log.exception(
                "subscription %s could not be matched with %s",
                compiled.subscription_id,
                event.entity_id,
            )
            return None
        if data is None:
            return None
        subscription_id = compiled.subscription_id
        notification_id, body = envelope(subscription_id, event.at, data)
        return Delivery(
            notification_id, event.tenant, subscription_id, event.entity_id, body, event.at
        )


def stopped_by(
    event: EntityChanged,
    entity: ExpandedEntity,
    changes: Changes,
    compiled: CompiledSubscription,
    read: Read = nowhere,
) -> str | None:
    """Return the member of the subscription that keeps a change from it; None lets it pass."""
    if not changes.mask(compiled.watched) & compiled.triggers:
        return "notificationTrigger"
    if compiled.expires is not None and compiled.expires <= instant_key(event.at):
        return "expiresAt"
    for member, holds in compiled.conditions:
        if not holds(entity):
            return member
    if compiled.linked is not None and not evaluate.matches(compiled.linked, entity, linked=read):
        return "q"
    return None


@dataclass(frozen=True, slots=True)
class Changes:
    """The kinds of change an event holds, as bits.

    Attributes:
        in_all: all of them.
        of_entity: those of the entity as a whole.
        by_attribute: those of each attribute that changed.
        attributes: the changes themselves.
    """

    in_all: int
    of_entity: int
    by_attribute: dict[Iri, int]
    attributes: Sequence[AttributeChanged]

    @classmethod
    def of(cls, event: EntityChanged) -> Changes:
        """Find out what changed; writing an equal value again is no change (clause 5.8.6)."""
        of_entity = 0
        if event.before is None:
            of_entity = ENTITY_CREATED
        elif event.after is None:
            of_entity = ENTITY_DELETED
        by_attribute: dict[Iri, int] = {}
        in_all = of_entity
        attributes = list(event.attributes())
        for change in attributes:
            kind = _kind(change.before, change.after)
            if kind:
                by_attribute[change.attribute] = by_attribute.get(change.attribute, 0) | kind
                in_all |= kind
        return cls(in_all, of_entity, by_attribute, attributes)

    def mask(self, watched: frozenset[Iri] | None) -> int:
        """Return the kinds of change that concern some attributes."""
        if watched is None:
            return self.in_all
        mask = 0
        for attribute in watched & self.by_attribute.keys():
            mask |= self.by_attribute[attribute]
        return mask | self.of_entity if mask else 0


def _kind(before: Instance | None, after: Instance | None) -> int:
    if before is None:
        return ATTRIBUTE_CREATED
    if after is None:
        return ATTRIBUTE_DELETED
    return 0 if _is_same(before, after) else ATTRIBUTE_UPDATED


def _is_same(before: Instance, after: Instance) -> bool:
    """Tell whether two instances differ at most in when they were written."""
    if len(before) != len(after):
        return False
    for name, value in after.items():
        if name not in _TIMES and (name not in before or not _is_equal(before[name], value)):
            return False
    old, new = before.get("attributes", {}), after.get("attributes", {})
    return old is new or (old.keys() == new.keys() and all(_are_same(old[n], new[n]) for n in new))


def _is_equal(before: object, after: object) -> bool:
    return before == after and _has_same_booleans(before, after)


def _has_same_booleans(before: Any, after: Any) -> bool:
    """Tell whether equal values have true and false in the same places, not 1 and 0."""
    if isinstance(before, dict):
        return all(_has_same_booleans(item, after[name]) for name, item in before.items())
    if isinstance(before, list):
        return all(map(_has_same_booleans, before, after))
    return isinstance(before, bool) is isinstance(after, bool)


def _are_same(before: Mapping[str, Instance], after: Mapping[str, Instance]) -> bool:
    return before.keys() == after.keys() and all(_is_same(before[key], after[key]) for key in after)


def _found(parts: list[_ByAttribute], changed: Mapping[Iri, int]) -> _Postings:
    """Return the subscriptions that watch something that changed."""
    postings = [part[None] for part in parts if None in part]
    for part in parts:
        if len(part) < len(changed):
            postings += [found for name, found in part.items() if name in changed]
        else:
            postings += [part[name] for name in changed if name in part]
    if len(postings) == 1:
        return postings[0]
    merged: _Postings = {}
    for found in postings:
        merged.update(found)
    return merged
