"""Notifications: what an entity's change looks like to a subscriber (clauses 5.3.1, 5.8.6).

A notification is a JSON object whose `data` holds the entity as it is after the change. What was
deleted stands in it as a null: an attribute in the entity that still is, or the whole entity as its
id, its type and `deletedAt`. With `showChanges` the values before the change stand beside.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import msgspec

from broker.core import geojson
from broker.core.conformance import NATIVE, Version, conform, conform_instance
from broker.core.events import AttributeChanged, EntityChanged, Instance
from broker.core.identifiers import (
    DEFAULT_INSTANCE,
    NGSI_LD_NULL,
    ExpandedEntity,
    Iri,
    new_id,
)
from broker.core.linking import Linked, Read, nowhere, reach
from broker.core.representations import Representation, render
from broker.core.subscription import GEO_JSON, JSON

if TYPE_CHECKING:
    from broker.core.ld_context import LdContext

_VALUE_MEMBERS: Final = {
    "Property": "value",
    "GeoProperty": "value",
    "Relationship": "object",
    "LanguageProperty": "languageMap",
    "VocabProperty": "vocab",
    "JsonProperty": "json",
    "ListProperty": "valueList",
    "ListRelationship": "objectList",
}
_PREVIOUS: Final = {
    member: f"previous{member[0].upper()}{member[1:]}" for member in _VALUE_MEMBERS.values()
}
_NONE_LINKED: Final[Mapping[Iri, Linked]] = MappingProxyType({})
_encode = msgspec.json.encode


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
        event = _conformed(event, form.version)
        changes = [_conformed_change(change, form.version) for change in changes]
        read = _conforming(read, form.version)
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
        entities = [conform(entity, form.version) for entity in entities]
        read = _conforming(read, form.version)
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


def _conformed(event: EntityChanged, version: Version) -> EntityChanged:
    return replace(
        event,
        before=None if event.before is None else conform(event.before, version),
        after=None if event.after is None else conform(event.after, version),
    )


def _conformed_change(change: AttributeChanged, version: Version) -> AttributeChanged:
    before, after = change.before, change.after
    return replace(
        change,
        before=None if before is None else conform_instance(before, version),
        after=None if after is None else conform_instance(after, version),
    )


def _conforming(read: Read, version: Version) -> Read:
    def conformed(entity_id: Iri) -> ExpandedEntity | None:
        found = read(entity_id)
        return None if found is None else conform(found, version)

    return conformed


def envelope(subscription_id: Iri, notified_at: str, data: bytes) -> tuple[Iri, bytes]:
    """Return a new notification's id, and the notification as it is sent."""
    notification_id = new_id("Notification")
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
        _add_previous(after, _members(document, form), changes, form)
    gone = [c for c in changes if c.after is None and _is_shown(c, form.representation)]
    if not gone:
        return document
    document = document or _empty(form)
    _add_nulls(after, _members(document, form), gone, event.at, form)
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
    members = _members(document, form)
    members.pop("scope", None)
    members["deletedAt"] = event.at
    nulls = form.nulls
    gone = [
        change
        for change in changes
        if (nulls is None or change.attribute in nulls) and _is_shown(change, form.representation)
    ]
    _add_nulls(bare, members, gone, event.at, form)
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
    return {"type": "Feature", "properties": {}} if form.accept == GEO_JSON else {}


def _members(document: dict[str, Any], form: NotificationForm) -> dict[str, Any]:
    """Return where the attributes stand."""
    members: dict[str, Any] = document["properties"] if form.accept == GEO_JSON else document
    return members


def _is_shown(change: AttributeChanged, representation: Representation) -> bool:
    """Tell whether the filter by dataset and the projection leave an attribute instance."""
    wanted = representation.dataset_ids
    if wanted is not None and change.dataset_id not in wanted:
        return False
    projection = representation.projection
    return projection is None or projection.shows(change.attribute)


def _add_previous(
    after: ExpandedEntity,
    members: dict[str, Any],
    changes: Iterable[AttributeChanged],
    form: NotificationForm,
) -> None:
    names = form.ld_context.for_types(after["type"])
    for change in changes:
        term = names.compact(change.attribute)
        if change.before is None or change.after is None or term not in members:
            continue
        previous = _previous(after, change, form)
        shown = members[term]
        if isinstance(shown, list):
            place = next(n for n, one in enumerate(shown) if _dataset(one) == change.dataset_id)
            shown[place] = _as_instance(shown[place]) | previous
        else:
            members[term] = _as_instance(shown) | previous


def _add_nulls(
    entity: ExpandedEntity,
    members: dict[str, Any],
    gone: Iterable[AttributeChanged],
    at: str,
    form: NotificationForm,
) -> None:
    names = form.ld_context.for_types(entity["type"])
    by_attribute: dict[Iri, list[AttributeChanged]] = {}
    for change in gone:
        by_attribute.setdefault(change.attribute, []).append(change)
    for attribute, changes in by_attribute.items():
        term = names.compact(attribute)
        left = entity["attributes"].get(attribute)
        default = [change for change in changes if change.dataset_id == DEFAULT_INSTANCE]
        # The default instance's null stands for all of them when the whole attribute is gone.
        all_at_once = left is None and bool(default) and not form.show_changes
        noted = default if all_at_once else changes
        if form.representation.format == "simplified":
            members[term] = _simplified_nulls(members.get(term), left or {}, noted)
        else:
            nulls = [_null(entity, change, at, form) for change in noted]
            shown = [*_as_list(members, term), *nulls]
            members[term] = shown if len(shown) > 1 else shown[0]


def _simplified_nulls(
    shown: Any, left: Mapping[str, Instance], gone: Iterable[AttributeChanged]
) -> Any:
    nulls = {change.dataset_id: NGSI_LD_NULL for change in gone}
    if len(left) > 1:
        return {"dataset": {**shown["dataset"], **nulls}}
    if left:
        return {"dataset": {next(iter(left)): shown, **nulls}}
    return {"dataset": nulls} if len(nulls) > 1 else NGSI_LD_NULL


def _null(
    entity: ExpandedEntity, change: AttributeChanged, at: str, form: NotificationForm
) -> dict[str, Any] | str:
    """Return what stands for a deleted instance."""
    before = change.before or {}
    kind = before["type"]
    more: dict[str, Any] = {}
    if change.dataset_id != DEFAULT_INSTANCE:
        more["datasetId"] = change.dataset_id
    if form.show_changes:
        more |= _previous(entity, change, form)
    if form.representation.sys_attrs:
        more |= {key: before[key] for key in ("createdAt", "modifiedAt") if key in before}
        more["deletedAt"] = at
    value = {DEFAULT_INSTANCE: NGSI_LD_NULL} if kind == "LanguageProperty" else NGSI_LD_NULL
    if form.representation.format == "concise":
        return {_VALUE_MEMBERS[kind]: value, **more} if more else NGSI_LD_NULL
    return {"type": kind, _VALUE_MEMBERS[kind]: value, **more}


def _previous(
    entity: ExpandedEntity, change: AttributeChanged, form: NotificationForm
) -> dict[str, Any]:
    """Return the previous value as the representation shows it, such as `previousValue`."""
    alone = {change.attribute: {DEFAULT_INSTANCE: change.before}}
    bare = ExpandedEntity({**entity, "attributes": alone})
    as_it_was = Representation(lang=form.representation.lang)
    shown: Mapping[str, Any] = render(bare, form.ld_context, as_it_was) or {}
    instance = shown[form.ld_context.for_types(entity["type"]).compact(change.attribute)]
    return {_PREVIOUS[key]: value for key, value in instance.items() if key in _PREVIOUS}


def _as_instance(shown: Any) -> dict[str, Any]:
    """Return an instance as an object, where the concise representation had only its value."""
    if isinstance(shown, dict) and not _PREVIOUS.keys().isdisjoint(shown):
        return shown
    return {"value": shown}


def _as_list(members: Mapping[str, Any], term: str) -> Iterator[Any]:
    if term not in members:
        return iter(())
    shown = members[term]
    return iter(shown if isinstance(shown, list) else [shown])


def _dataset(shown: Any) -> str:
    """Return which instance an item of an array is."""
    found = shown.get("datasetId", DEFAULT_INSTANCE) if isinstance(shown, dict) else None
    return str(found or DEFAULT_INSTANCE)
