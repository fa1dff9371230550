"""What an entity in a notification or an answer says: attribute by attribute, with its time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from broker.core.errors import BadRequestData
from broker.core.identifiers import NGSI_LD_NULL, is_uri
from broker.core.vocabulary import VALUE_KINDS
from subscribers.common.instants import Instant, read_instant

_NO_ATTRIBUTES: Final = frozenset(
    {"id", "type", "@context", "scope", "createdAt", "modifiedAt", "deletedAt", "expiresAt"}
)


@dataclass(frozen=True, slots=True)
class Reading:
    """One attribute as it was told.

    Attributes:
        observed_at: None where the attribute does not say.
        instance: the attribute as it came, with a value.
    """

    observed_at: Instant | None
    instance: dict[str, Any]

    @property
    def value(self) -> Any:
        """The value, see `value_of`."""
        return value_of(self.instance)


@dataclass(frozen=True, slots=True)
class Observation:
    """One entity as it was told, with those of its attributes that were asked for.

    Attributes:
        is_gone: it was deleted, and nothing else is told.
    """

    entity_id: str
    readings: Mapping[str, Reading]
    is_gone: bool = False


def read_entity(document: object) -> Observation:
    """Read an entity in normalized or concise representation.

    Raises:
        BadRequestData: it has no id, or an observedAt that is no DateTime.
    """
    if not isinstance(document, Mapping) or not is_uri(document.get("id")):
        raise BadRequestData("expected an entity with an id")
    if "deletedAt" in document:
        return Observation(document["id"], {}, is_gone=True)
    readings: dict[str, Reading] = {}
    for name, attribute in document.items():
        if name in _NO_ATTRIBUTES:
            continue
        reading = _read_attribute(attribute, name)
        if reading is not None:
            readings[name] = reading
    return Observation(document["id"], readings)


def objects(value: Any) -> tuple[str, ...]:
    """Return the ids a relationship points to."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, Sequence):
        return tuple(item for item in value if isinstance(item, str))
    return ()


def value_of(instance: Mapping[str, Any]) -> Any:
    """Return a Property's value (of a DateTime its text) or a Relationship's object, or None."""
    value = next((instance[member] for member in VALUE_KINDS if member in instance), None)
    if isinstance(value, Mapping) and "@value" in value:
        value = value["@value"]
    return None if value == NGSI_LD_NULL else value


def _read_attribute(attribute: Any, name: str) -> Reading | None:
    if isinstance(attribute, list):
        # Several instances: the default one speaks for the attribute, else the first.
        instances = [item for item in attribute if isinstance(item, dict)]
        first = instances[0] if instances else None
        attribute = next((item for item in instances if "datasetId" not in item), first)
    if not isinstance(attribute, dict) or value_of(attribute) is None:
        return None
    at = attribute.get("observedAt")
    return Reading(None if at is None else read_instant(at, f"{name}.observedAt"), attribute)
