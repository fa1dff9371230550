"""What a committed write changed: the event that matching, history and delivery work on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from broker.core.identifiers import ExpandedEntity, Iri, Tenant

Instance = Mapping[str, Any]
"""One instance of an attribute, in the shape given in `core.entity`."""

_NONE: Final[Mapping[Any, Any]] = MappingProxyType({})


class AttributeChanged(NamedTuple):
    """One attribute instance: created (`before` is None), changed, or deleted (`after` is None)."""

    attribute: Iri
    dataset_id: str
    before: Instance | None
    after: Instance | None


class EntityChanged(NamedTuple):
    """An entity was created (`before` is None), changed, or deleted (`after` is None).

    Attributes:
        at: when the write was made, as a DateTime text.
        version: the entity's version after the write; it starts at 1 and grows by 1.
    """

    tenant: Tenant
    entity_id: Iri
    before: ExpandedEntity | None
    after: ExpandedEntity | None
    at: str
    version: int

    def attributes(self) -> list[AttributeChanged]:
        """Return what changed, attribute by attribute.

        Update functions share what they leave alone, so an instance that is the same object before
        and after is unchanged; one that was written again with an equal value did change.
        """
        old = self.before["attributes"] if self.before is not None else {}
        new = self.after["attributes"] if self.after is not None else {}
        found: list[AttributeChanged] = []
        for name, instances in new.items():
            previous = old.get(name, _NONE)
            if previous is instances:
                continue
            for dataset_id, instance in instances.items():
                before = previous.get(dataset_id)
                if before is not instance:
                    found.append(AttributeChanged(name, dataset_id, before, instance))
            if previous:
                found += _deleted(name, previous, instances)
        for name, instances in old.items():
            if name not in new:
                found += _deleted(name, instances, _NONE)
        return found


def _deleted(
    name: Iri, old: Mapping[str, Instance], new: Mapping[str, Instance]
) -> Iterator[AttributeChanged]:
    for dataset_id, instance in old.items():
        if dataset_id not in new:
            yield AttributeChanged(name, dataset_id, instance, None)
