"""What a notification shows of the state before a change: previous values, and nulls (5.8.6)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from broker.core.events import AttributeChanged, Instance
from broker.core.identifiers import DEFAULT_INSTANCE, NGSI_LD_NULL, ExpandedEntity, Iri
from broker.core.notification_form import NotificationForm
from broker.core.representations import Representation, render
from broker.core.subscription import GEO_JSON
from broker.core.vocabulary import KINDS, VALUE_MEMBERS

_PREVIOUS: Final = {kind.value: kind.previous for kind in KINDS.values()}


def members_of(document: dict[str, Any], form: NotificationForm) -> dict[str, Any]:
    """Return where the attributes stand."""
    members: dict[str, Any] = document["properties"] if form.accept == GEO_JSON else document
    return members


def is_shown(change: AttributeChanged, representation: Representation) -> bool:
    """Tell whether the filter by dataset and the projection leave an attribute instance."""
    wanted = representation.dataset_ids
    if wanted is not None and change.dataset_id not in wanted:
        return False
    projection = representation.projection
    return projection is None or projection.shows(change.attribute)


def add_previous(
    after: ExpandedEntity,
    members: dict[str, Any],
    changes: Iterable[AttributeChanged],
    form: NotificationForm,
) -> None:
    """Put the previous value beside that of each attribute that was changed (showChanges)."""
    names = form.ld_context.for_types(after["type"])
    for change in changes:
        if change.before is None or change.after is None:
            continue
        if not is_shown(change, form.representation):
            continue
        previous = _previous(after, change, form)
        term = names.compact(change.attribute)
        left = _left(after, change.attribute, form)
        if len(left) > 1:
            place = list(left).index(change.dataset_id)
            members[term][place] |= previous
        else:
            members[term] = _as_instance(members[term]) | previous


def add_nulls(
    entity: ExpandedEntity,
    members: dict[str, Any],
    gone: Iterable[AttributeChanged],
    at: str,
    form: NotificationForm,
) -> None:
    """Put a null where each deleted attribute instance was (clause 5.8.6).

    Args:
        entity: as it is now.
        at: when they were deleted.
    """
    names = form.ld_context.for_types(entity["type"])
    by_attribute: dict[Iri, list[AttributeChanged]] = {}
    for change in gone:
        by_attribute.setdefault(change.attribute, []).append(change)
    for attribute, changes in by_attribute.items():
        term = names.compact(attribute)
        default = [change for change in changes if change.dataset_id == DEFAULT_INSTANCE]
        # The default instance's null stands for all of them when the whole attribute is gone.
        is_gone = attribute not in entity["attributes"]
        noted = default if is_gone and default and not form.show_changes else changes
        left = _left(entity, attribute, form)
        if form.representation.format == "simplified":
            members[term] = _simplified_nulls(members.get(term), left, noted)
        else:
            nulls = [_null(entity, change, at, form) for change in noted]
            members[term] = _with_nulls(members.get(term), len(left), nulls)


def _left(entity: ExpandedEntity, attribute: Iri, form: NotificationForm) -> Mapping[str, Instance]:
    """Return the instances of an attribute that are shown, in their order."""
    instances: Mapping[str, Instance] = entity["attributes"].get(attribute, {})
    wanted = form.representation.dataset_ids
    if wanted is None:
        return instances
    return {key: instance for key, instance in instances.items() if key in wanted}


def _with_nulls(shown: Any, count: int, nulls: list[dict[str, Any]]) -> Any:
    """Put nulls behind what is shown of some instances.

    Args:
        shown: one instance, or an array of them where there are more.
    """
    if not count and len(nulls) == 1:
        # In a concise one with nothing but a value, that stands alone.
        return NGSI_LD_NULL if len(nulls[0]) == 1 else nulls[0]
    others = shown if count > 1 else [_as_instance(shown)] if count else []
    return [*others, *nulls]


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
) -> dict[str, Any]:
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
        return {VALUE_MEMBERS[kind]: value, **more}
    return {"type": kind, VALUE_MEMBERS[kind]: value, **more}


def _previous(
    entity: ExpandedEntity, change: AttributeChanged, form: NotificationForm
) -> dict[str, Any]:
    """Return the previous value as the representation shows it, such as `previousValue`."""
    alone = {change.attribute: {DEFAULT_INSTANCE: change.before}}
    bare = ExpandedEntity({**entity, "attributes": alone})
    shown = form.representation
    as_it_was = Representation(format=shown.format, lang=shown.lang)
    found: Mapping[str, Any] = render(bare, form.ld_context, as_it_was) or {}
    term = form.ld_context.for_types(entity["type"]).compact(change.attribute)
    instance = _as_instance(found[term])
    return {_PREVIOUS[key]: value for key, value in instance.items() if key in _PREVIOUS}


def _as_instance(shown: Any) -> dict[str, Any]:
    """Return an instance as an object, where the concise representation had only its value."""
    if isinstance(shown, dict) and not _PREVIOUS.keys().isdisjoint(shown):
        return shown
    return {"value": shown}
