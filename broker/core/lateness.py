"""Part from a change what is older than what is there: late measures that are history only."""

from __future__ import annotations

from typing import Any

from broker.core import moments
from broker.core.events import AttributeChanged, Instance
from broker.core.identifiers import ExpandedEntity

_MEMBERS = ("type", "scope", "expiresAt")


def keep_newer(
    before: ExpandedEntity, after: ExpandedEntity
) -> tuple[ExpandedEntity, list[AttributeChanged]]:
    """Return a change without instances observed earlier than the current ones, and those.

    When nothing else changed, the entity that is returned is `before` itself.
    """
    late: list[AttributeChanged] = []
    attributes: dict[str, Any] = {}
    old = before["attributes"]
    for name, instances in after["attributes"].items():
        previous = old.get(name)
        attributes[name] = instances
        if previous is None or previous is instances:
            continue
        kept = {
            key: previous[key] if _is_late(previous.get(key), instance) else instance
            for key, instance in instances.items()
        }
        late += [
            AttributeChanged(name, key, kept[key], instance)
            for key, instance in instances.items()
            if kept[key] is not instance
        ]
        attributes[name] = previous if _are_same(previous, kept) else kept
    if not late:
        return after, late
    if _are_same(old, attributes) and all(
        before.get(member) == after.get(member) for member in _MEMBERS
    ):
        return before, late
    return ExpandedEntity({**after, "attributes": attributes}), late


def _is_late(before: Instance | None, after: Instance) -> bool:
    if before is None or "observedAt" not in before or "observedAt" not in after:
        return False
    return moments.instant(after["observedAt"]) < moments.instant(before["observedAt"])


def _are_same(old: dict[str, Any], new: dict[str, Any]) -> bool:
    return old.keys() == new.keys() and all(new[key] is item for key, item in old.items())
