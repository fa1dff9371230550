"""A subscription in the form that matching needs: everything parsed, looked up and decided once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from msgspec import UNSET

from broker.core.errors import BadRequestData, OperationNotSupported
from broker.core.identifiers import ExpandedEntity, Iri
from broker.core.ld_context import LdContext
from broker.core.notification import NotificationForm
from broker.core.projection import Projection
from broker.core.query import evaluate, geo, q, scope
from broker.core.query import types as type_language
from broker.core.query.entity_query import EntityQuery, EntitySelector
from broker.core.query.nodes import AllOf, AnyOf, TypeIs, TypeNode
from broker.core.representations import Format, Representation
from broker.core.subscription import GeoCondition, Selector, Subscription
from broker.core.subscription_documents import selected_types

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

Predicate = Callable[[ExpandedEntity], bool]


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


def compile_subscription(subscription: Subscription, contexts: Contexts) -> CompiledSubscription:
    """Parse what a subscription says in the query languages, and decide how it is indexed.

    Raises:
        BadRequestData: a text is not of its language; the detail names the member.
        OperationNotSupported: it needs what this broker does not offer.
    """
    selectors = _selectors(subscription, contexts.names)
    types, ids = index_keys(selectors)
    form = _form(subscription, contexts.notified)
    watched = subscription.watched_attributes
    return CompiledSubscription(
        subscription_id=Iri(subscription.id),
        active=subscription.is_active is not False,
        expires=subscription.expires,
        types=types,
        ids=ids,
        watched=None if watched is UNSET else frozenset(map(Iri, watched)),
        triggers=_mask(subscription.triggers),
        conditions=tuple(_conditions(subscription, selectors, contexts)),
        form=form,
        form_key=_form_key(subscription, form),
    )


def _mask(triggers: Iterable[str]) -> int:
    mask = 0
    for trigger in triggers:
        mask |= _TRIGGERS[trigger]
    return mask


def _selectors(subscription: Subscription, names: LdContext) -> tuple[EntitySelector, ...]:
    if subscription.entities is UNSET:
        return ()
    return tuple(
        _selector(selector, names, f"entities[{number}].type")
        for number, selector in enumerate(subscription.entities)
    )


def _selector(selector: Selector, names: LdContext, where: str) -> EntitySelector:
    given = selector.id
    ids = () if given is UNSET else (given,) if isinstance(given, str) else tuple(given)
    pattern = selector.id_pattern
    return EntitySelector(
        types=type_language.parse(selector.type, names.expand, where),
        ids=tuple(map(Iri, ids)),
        id_pattern=None if ids or pattern is UNSET else pattern,
    )


def index_keys(
    selectors: tuple[EntitySelector, ...],
) -> tuple[frozenset[Iri] | None, frozenset[Iri] | None]:
    """Return the types, or else the ids, that an entity must have one of; None where not known."""
    if selectors and all(selector.ids for selector in selectors):
        return None, frozenset(entity_id for selector in selectors for entity_id in selector.ids)
    found = [_required(selector.types) for selector in selectors]
    return _union(found) if found else None, None


def _required(node: TypeNode | None) -> frozenset[Iri] | None:
    if node is None:
        return None
    if isinstance(node, TypeIs):
        return frozenset({node.type})
    found = [_required(operand) for operand in node.operands]
    if isinstance(node, AnyOf):
        return _union(found)
    return min((types for types in found if types is not None), key=len, default=None)


def _union(found: list[frozenset[Iri] | None]) -> frozenset[Iri] | None:
    known = [types for types in found if types is not None]
    return frozenset().union(*known) if len(known) == len(found) else None


def _is_told_by_keys(selectors: tuple[EntitySelector, ...]) -> bool:
    """Tell whether an entity found by its type is known to be selected."""
    return all(
        not selector.ids and selector.id_pattern is None and _has_no_and(selector.types)
        for selector in selectors
    )


def _has_no_and(node: TypeNode | None) -> bool:
    if node is None or isinstance(node, TypeIs):
        return True
    return not isinstance(node, AllOf) and all(_has_no_and(operand) for operand in node.operands)


def _conditions(
    subscription: Subscription, selectors: tuple[EntitySelector, ...], contexts: Contexts
) -> Iterable[tuple[str, Predicate]]:
    if not _is_told_by_keys(selectors):
        yield "entities", evaluate.compile(EntityQuery(selectors=selectors))
    types = selected_types(subscription)
    if subscription.scope_q is not UNSET:
        yield "scopeQ", evaluate.compile(EntityQuery(scope=scope.parse(subscription.scope_q)))
    if subscription.q is not UNSET:
        q_names = contexts.q.for_types(types)
        yield "q", _q(_decoded(subscription.q), subscription.expand_values, q_names)
    if subscription.geo_q is not UNSET:
        yield "geoQ", _geo(subscription.geo_q, contexts.names.for_types(types))
    if subscription.csf is not UNSET:
        q.parse(_decoded(subscription.csf), contexts.names.expand, where="csf")


def _decoded(text: str) -> str:
    """Undo percent-encoding, which clients use in bodies too, as clause 4.9 is about URLs."""
    return unquote(text)


def _q(text: str, expand_values: object, names: LdContext) -> Predicate:
    expand = expand_values.split(",") if isinstance(expand_values, str) else []
    expanded = frozenset(name.strip() for name in expand)
    parsed = q.parse(text, names.expand, expand_values=expanded)
    if q.linked_depth(parsed):
        raise OperationNotSupported("q: conditions on linked entities are not offered here yet")
    return evaluate.compile(EntityQuery(q=parsed))


def _geo(asked: GeoCondition, names: LdContext) -> Predicate:
    name = "location" if asked.geoproperty is UNSET else asked.geoproperty
    try:
        parsed = geo.parse(asked.georel, asked.geometry, asked.coordinates, names.expand(name))
    except BadRequestData as error:
        raise BadRequestData(f"geoQ.{error.detail}") from error
    return evaluate.compile(EntityQuery(geo=parsed))


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
    )


def _projection(subscription: Subscription) -> Projection | None:
    asked = subscription.notification
    if asked.attributes is not UNSET:
        return Projection(attrs=frozenset(map(Iri, asked.attributes)))
    if asked.pick is UNSET and asked.omit is UNSET:
        return None
    return Projection(
        pick=None if asked.pick is UNSET else dict.fromkeys(asked.pick),
        omit=None if asked.omit is UNSET else dict.fromkeys(asked.omit),
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
        )
    )
