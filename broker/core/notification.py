"""Notifications: what an entity's change looks like to a subscriber (clauses 5.3.1, 5.8.6).

A notification is a JSON object whose `data` holds the entity as it is after the change. What was
deleted stands in it as a null: an attribute in the entity that still is, or the whole entity as its
id, its type and `deletedAt`. With `showChanges` the values before the change stand beside.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from secrets import token_hex
from types import MappingProxyType
from typing import Any, Final

import msgspec

from broker.core import geojson
from broker.core.conformance import NATIVE, conform, conform_instance
from broker.core.events import AttributeChanged, EntityChanged
from broker.core.identifiers import ExpandedEntity, Iri
from broker.core.linking import Linked, Read, nowhere, reach
from broker.core.notification_changes import add_nulls, add_previous, is_shown, members_of
from broker.core.notification_form import NotificationForm
from broker.core.representations import render
from broker.core.subscription import GEO_JSON

_NONE_LINKED: Final[Mapping[Iri, Linked]] = MappingProxyType({})
_encode = msgspec.json.encode

__all__ = ["NotificationForm", "entity_data", "envelope", "merge", "state_data"]


def entity_data(
    event: EntityChanged,
    form: NotificationForm,
    changes: Sequence[AttributeChanged],
    read: Read = nowhere,
) -> bytes | None:
    """Return the `data` of a change's notification; None when the projection leaves nothing.

    Args:
        changes: the event's changes of attributes.
        read: finds the linked entities that are joined.
    """
    if form.version < NATIVE:
        event = _conformed(event, form)
        changes = [_conformed_change(change, form) for change in changes]
        read = _conforming(read, form)
    if event.after is None:
        document = _deleted(event, form, changes)
        return None if document is None else _data([document], form)
    linked = _linked(event.after, form, read)
    document = _changed(event, event.after, form, changes, linked)
    return None if document is None else _data([document, *_beside([linked], form)], form)


def state_data(
    entities: Iterable[ExpandedEntity], form: NotificationForm, read: Read = nowhere
) -> bytes | None:
    """Return the `data` of a notification about entities as they are (timeInterval).

    Returns:
        None when the projection leaves nothing of any of them.
    """
    if form.version < NATIVE:
        entities = [_conform(entity, form) for entity in entities]
        read = _conforming(read, form)
    shown, reached, given = [], [], set()
    for entity in entities:
        linked = _linked(entity, form, read)
        document = _rendered(entity, form, linked)
        if document is not None:
            shown.append(document)
            reached.append(linked)
            given.add(Iri(entity["id"]))
    return _data([*shown, *_beside(reached, form, given)], form) if shown else None


def _data(documents: list[dict[str, Any]], form: NotificationForm) -> bytes:
    if form.accept != GEO_JSON:
        if form.inline_context:
            for document in documents:
                document["@context"] = form.ld_context.source
        return _encode(documents)
    collection: dict[str, Any] = geojson.feature_collection(documents)
    if form.inline_context:
        collection["@context"] = form.ld_context.source
    return _encode(collection)


def _linked(entity: ExpandedEntity, form: NotificationForm, read: Read) -> Mapping[Iri, Linked]:
    if not form.join_level:
        return {}
    return reach(entity, form.representation, read, level=form.join_level)


def _beside(
    reached: Iterable[Mapping[Iri, Linked]],
    form: NotificationForm,
    given: Collection[Iri] = (),
) -> Iterator[dict[str, Any]]:
    """Render each linked entity once beside the others, where the join is flat (4.5.23.3)."""
    if form.join != "flat":
        return
    seen = set(given)
    for linked in reached:
        for entity_id, one in linked.items():
            if entity_id not in seen:
                seen.add(entity_id)
                shown = _rendered(one.entity, replace(form, representation=one.representation))
                if shown is not None:
                    yield shown


def _conform(entity: ExpandedEntity, form: NotificationForm) -> ExpandedEntity:
    return conform(entity, form.version, form.ld_context.for_types(entity["type"]).compact)


def _conformed(event: EntityChanged, form: NotificationForm) -> EntityChanged:
    return event._replace(
        before=None if event.before is None else _conform(event.before, form),
        after=None if event.after is None else _conform(event.after, form),
    )


def _conformed_change(change: AttributeChanged, form: NotificationForm) -> AttributeChanged:
    before, after, compact = change.before, change.after, form.ld_context.compact
    return change._replace(
        before=None if before is None else conform_instance(before, form.version, compact),
        after=None if after is None else conform_instance(after, form.version, compact),
    )


def _conforming(read: Read, form: NotificationForm) -> Read:
    def conformed(entity_id: Iri) -> ExpandedEntity | None:
        found = read(entity_id)
        return None if found is None else _conform(found, form)

    return conformed


def envelope(subscription_id: Iri, notified_at: str, data: bytes) -> tuple[Iri, bytes]:
    """Return a new notification's id, and the notification as it is sent."""
    # As good as a UUID here, and made in a quarter of the time.
    notification_id = Iri(f"urn:ngsi-ld:Notification:{token_hex(16)}")
    return notification_id, b'{"id":"%b","type":"Notification","subscriptionId":%b,%b' % (
        notification_id.encode(),
        _encode(subscription_id),
        b'"notifiedAt":"%b","data":%b}' % (notified_at.encode(), data),
    )


def merge(notification_id: Iri, bodies: Iterable[bytes]) -> bytes:
    """Return one notification with the data of several of the same subscription, in their order."""
    parts = [msgspec.json.decode(body, type=_Envelope) for body in bodies]
    last = parts[-1]
    if isinstance(last.data, list):
        data: Any = [item for part in parts for item in part.data]
    else:
        features = [item for part in parts for item in part.data["features"]]
        data = {**last.data, "features": features}
    return _encode(
        {
            "id": notification_id,
            "type": last.type,
            "subscriptionId": last.subscriptionId,
            "notifiedAt": last.notifiedAt,
            "data": data,
        }
    )


class _Envelope(msgspec.Struct):
    type: str
    subscriptionId: str  # noqa: N815 - the member's name
    notifiedAt: str  # noqa: N815 - the member's name
    data: Any


def _changed(
    event: EntityChanged,
    after: ExpandedEntity,
    form: NotificationForm,
    changes: Sequence[AttributeChanged],
    linked: Mapping[Iri, Linked],
) -> dict[str, Any] | None:
    document = _rendered(after, form, linked)
    if form.show_changes and document is not None:
        add_previous(after, members_of(document, form), changes, form)
    gone = [c for c in changes if c.after is None and is_shown(c, form.representation)]
    if not gone:
        return document
    document = document or _empty(form)
    add_nulls(after, members_of(document, form), gone, event.at, form)
    return document


def _deleted(
    event: EntityChanged, form: NotificationForm, changes: Iterable[AttributeChanged]
) -> dict[str, Any] | None:
    """Render a deleted entity: id, type and times, with nulls where they are asked for."""
    before = event.before
    if before is None:
        return None
    bare = ExpandedEntity({**before, "attributes": {}})
    document = _rendered(bare, form) or _empty(form)
    members = members_of(document, form)
    members.pop("scope", None)
    members["deletedAt"] = event.at
    nulls = form.nulls
    gone = [
        change
        for change in changes
        if (nulls is None or change.attribute in nulls) and is_shown(change, form.representation)
    ]
    add_nulls(bare, members, gone, event.at, form)
    return document


def _rendered(
    entity: ExpandedEntity, form: NotificationForm, linked: Mapping[Iri, Linked] = _NONE_LINKED
) -> dict[str, Any] | None:
    inline = form.join == "inline" and bool(linked)
    others = {key: one.entity for key, one in linked.items()} if inline else None
    show = geojson.feature if form.accept == GEO_JSON else render
    return show(
        entity, form.ld_context, form.representation, linked=others, join_level=form.join_level
    )


def _empty(form: NotificationForm) -> dict[str, Any]:
    """Return the document of an entity of which the projection left nothing."""
    return (
        {"type": "Feature", "geometry": None, "properties": {}} if form.accept == GEO_JSON else {}
    )
