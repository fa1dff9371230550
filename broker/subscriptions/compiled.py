"""A subscription in the form that matching needs: everything parsed, looked up and decided once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from msgspec import UNSET, UnsetType

from broker.core import projection
from broker.core.conformance import NATIVE, Version, parse_version
from broker.core.identifiers import Iri
from broker.core.ld_context import CORE, LdContext
from broker.core.notification import NotificationForm
from broker.core.projection import Projection
from broker.core.query import q
from broker.core.query.entity_query import EntityQuery
from broker.core.representations import Format, Representation
from broker.core.subscription import Subscription
from broker.subscriptions.selection import Predicate, conditions, index_keys, query_of, selectors_of

ENTITY_CREATED: Final = 1
ENTITY_DELETED: Final = 2
ATTRIBUTE_CREATED: Final = 4
ATTRIBUTE_UPDATED: Final = 8
ATTRIBUTE_DELETED: Final = 16

EVERY_TRIGGER: Final = (
    ENTITY_CREATED | ENTITY_DELETED | ATTRIBUTE_CREATED | ATTRIBUTE_UPDATED | ATTRIBUTE_DELETED
)

_TRIGGERS: Final = {
    "entityCreated": ENTITY_CREATED,
    "entityDeleted": ENTITY_DELETED,
    "attributeCreated": ATTRIBUTE_CREATED,
    "attributeUpdated": ATTRIBUTE_UPDATED,
    "attributeDeleted": ATTRIBUTE_DELETED,
    "entityUpdated": ATTRIBUTE_CREATED | ATTRIBUTE_UPDATED | ATTRIBUTE_DELETED,
}
_FORMATS: Final[dict[str, Format]] = {
    "normalized": "normalized",
    "concise": "concise",
    "simplified": "simplified",
    "keyValues": "simplified",
}


@dataclass(frozen=True, slots=True)
class Contexts:
    """The resolved @contexts of one subscription.

    Attributes:
        names: what its names were given in.
        q: what `q` was given in.
        notified: what its notifications are compacted with.
    """

    names: LdContext
    q: LdContext
    notified: LdContext


@dataclass(frozen=True, slots=True, eq=False)
class CompiledSubscription:
    """What the matcher looks at.

    Attributes:
        active: whether it is matched at all; a paused one is not.
        expires: when it ends, in seconds since the epoch.
        types: the types one of which an entity must have to be a candidate; None is any.
        ids: the ids one of which it must have instead, where all selectors give ids.
        watched: the attributes one of which must have changed; None is any.
        triggers: the kinds of change it asks for, as bits.
        conditions: what else must hold, by the member that says so.
        form: how its notifications look.
        form_key: equal for subscriptions whose notifications of one change have the same data.
        linked: what `q` asks of linked entities, which are read where the change is written.
        periodic: which entities it tells of at intervals, regardless of changes; None if it tells
            of changes.
    """

    subscription_id: Iri
    active: bool
    expires: float | None
    types: frozenset[Iri] | None
    ids: frozenset[Iri] | None
    watched: frozenset[Iri] | None
    triggers: int
    conditions: tuple[tuple[str, Predicate], ...]
    form: NotificationForm
    form_key: str
    linked: EntityQuery | None = None
    periodic: EntityQuery | None = None


def compile_subscription(subscription: Subscription, contexts: Contexts) -> CompiledSubscription:
    """Parse what a subscription says in the query languages, and decide how it is indexed.

    Raises:
        BadRequestData: a text is not of its language; the detail names the member.
    """
    selectors = selectors_of(subscription, contexts.names)
    types, ids = index_keys(selectors)
    form = _form(subscription, contexts.notified)
    watched = subscription.watched_attributes
    asked = query_of(subscription, selectors, names=contexts.names, q_names=contexts.q)
    follows = asked.q is not None and q.linked_depth(asked.q) > 0
    return CompiledSubscription(
        subscription_id=Iri(subscription.id),
        active=subscription.is_active is not False,
        expires=subscription.expires,
        types=types,
        ids=ids,
        watched=None if watched is UNSET else frozenset(map(Iri, watched)),
        triggers=_mask(subscription.triggers),
        conditions=tuple(conditions(asked, follows=follows)),
        form=form,
        form_key=_form_key(subscription, form),
        linked=EntityQuery(q=asked.q) if follows else None,
        periodic=None if subscription.time_interval is UNSET else asked,
    )


def _mask(triggers: Iterable[str]) -> int:
    mask = 0
    for trigger in triggers:
        mask |= _TRIGGERS[trigger]
    return mask


def _form(subscription: Subscription, ld_context: LdContext) -> NotificationForm:
    asked = subscription.notification
    datasets = subscription.dataset_id
    representation = Representation(
        format="normalized" if asked.format is UNSET else _FORMATS[asked.format],
        sys_attrs=asked.sys_attrs is True,
        lang=None if subscription.lang is UNSET else subscription.lang,
        projection=_projection(subscription),
        dataset_ids=None if datasets is UNSET else frozenset(datasets),
    )
    show_changes = asked.show_changes is True
    return NotificationForm(
        ld_context=ld_context,
        representation=representation,
        accept=asked.endpoint.media_type,
        inline_context=asked.endpoint.context_in_body,
        show_changes=show_changes,
        nulls=_nulls(subscription, show_changes=show_changes),
        join="@none" if asked.join is UNSET else asked.join,
        join_level=asked.linked_level,
        version=_version(subscription.ngsild_conformance),
    )


def _version(text: str | UnsetType) -> Version:
    return NATIVE if text is UNSET else parse_version(text)


def _projection(subscription: Subscription) -> Projection | None:
    asked = subscription.notification
    if asked.attributes is not UNSET:
        return Projection(attrs=frozenset(map(Iri, asked.attributes)))
    if asked.pick is UNSET and asked.omit is UNSET:
        return None
    # The names are expanded already, and expand to themselves in the core @context.
    return projection.parse(
        CORE,
        pick=None if asked.pick is UNSET else asked.pick,
        omit=None if asked.omit is UNSET else asked.omit,
        join_level=asked.linked_level,
    )


def _nulls(subscription: Subscription, *, show_changes: bool) -> frozenset[Iri] | None:
    """Return which attributes the notification of an entity's deletion shows as null."""
    triggers = subscription.triggers
    if "entityDeleted" in triggers:
        return None if show_changes else frozenset()
    watched = subscription.watched_attributes
    return None if watched is UNSET else frozenset(map(Iri, watched))


def _form_key(subscription: Subscription, form: NotificationForm) -> str:
    asked, shown = subscription.notification, form.representation
    return repr(
        (
            form.ld_context.key,
            shown.format,
            shown.sys_attrs,
            shown.lang,
            sorted(shown.dataset_ids) if shown.dataset_ids is not None else None,
            asked.attributes,
            asked.pick,
            asked.omit,
            form.accept,
            form.inline_context,
            form.show_changes,
            sorted(form.nulls) if form.nulls is not None else None,
            form.join,
            form.join_level,
            form.version,
        )
    )
