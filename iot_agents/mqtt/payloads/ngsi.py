"""Entities of NGSI as measures, for groups and devices whose `payloadType` says so.

`ngsiv2` takes an entity, an array of them or a batch (`actionType` and `entities`); `ngsild` takes
an entity or an array. An entity is one set of measures: its attributes keep what they say about
themselves (unit, time, kind, sub-attributes), its `id` and `type` become measures as any others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from broker.core.vocabulary import VALUE_MEMBERS
from iot_agents.common.mapping.attribute_types import kind_and_conversion
from iot_agents.common.mapping.given import Given
from iot_agents.common.mapping.instances import builder
from iot_agents.mqtt.payloads.iota_json import sets_of
from iot_agents.mqtt.payloads.language import BadPayload, Measures
from smart_data_models.jexl import times
from smart_data_models.jexl.values import MISSING, ExpressionError

NGSI_V2: Final = "ngsiv2"
NGSI_LD: Final = "ngsild"
_IDENTITY: Final = ("id", "type", "@context", "TimeInstant")


def sets_of_entities(document: Any, payload_type: str) -> list[Measures]:
    """Return the sets of measures that entities give.

    Raises:
        BadPayload: a document is no entity.
    """
    if payload_type == NGSI_LD:
        return [_of_ld(entity) for entity in sets_of(document)]
    if isinstance(document, dict) and "entities" in document and "actionType" in document:
        document = document["entities"]
    return [_of_v2(entity) for entity in sets_of(document)]


def _of_ld(entity: Mapping[str, Any]) -> Measures:
    measures: Measures = {}
    for name, attribute in entity.items():
        if name == "@context":
            continue
        kind = attribute.get("type") if isinstance(attribute, dict) else None
        member = VALUE_MEMBERS.get(str(kind))
        if name in _IDENTITY or member is None or member not in attribute:
            measures[name] = attribute
            continue
        measures[name] = Given(attribute[member], attribute)
    return measures


def _of_v2(entity: Mapping[str, Any]) -> Measures:
    measures: Measures = {}
    for name, attribute in entity.items():
        if name in _IDENTITY or not isinstance(attribute, dict) or "value" not in attribute:
            measures[name] = _plain(attribute)
            continue
        measures[name] = _attribute(name, attribute)
    return measures


def _plain(attribute: Any) -> Any:
    """Return the value of a TimeInstant that is written as an attribute."""
    return attribute["value"] if isinstance(attribute, dict) and "value" in attribute else attribute


def _attribute(name: str, attribute: Mapping[str, Any]) -> Any:
    metadata = attribute.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise BadPayload(f"{name}: metadata is no object")
    kind, convert = kind_and_conversion(str(attribute.get("type") or ""))
    try:
        value = convert(attribute["value"])
        if value is MISSING or value is None:
            return None
        instance = builder(kind)(value, None)
        for key, metadatum in metadata.items():
            _describe(instance, key, _plain(metadatum))
    except (ExpressionError, ValueError) as error:
        raise BadPayload(f"{name}: {error}") from error
    return Given(value, instance)


def _describe(instance: dict[str, Any], key: str, value: Any) -> None:
    if key == "TimeInstant":
        instance["observedAt"] = times.utc_text(value)
    elif key == "unitCode":
        instance["unitCode"] = value
    elif value is not None:
        instance.setdefault(key, {"type": "Property", "value": value})
