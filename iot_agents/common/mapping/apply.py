"""Turn a payload into entities by a mapping."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping as Dict
from typing import Any

from iot_agents.common.codecs.interface import PayloadError
from iot_agents.common.mapping.enums import Unmapped
from iot_agents.common.mapping.model import (
    AttributeRule,
    Decoding,
    Drop,
    Drops,
    Entity,
    EntityRule,
    Mapping,
    MappingError,
)
from smart_data_models.jexl.values import MISSING, ExpressionError, Scope, truthy


def apply(
    mapping: Mapping,
    payload: Any,
    device: Dict[str, Any] | None = None,
    *,
    drops: Drops | None = None,
    decoded: Dict[str, Any] | None = None,
) -> list[Entity]:
    """Return the normalized entities (short names, no @context) a payload gives.

    An entity left without attributes is not returned.

    Args:
        device: what is provisioned of the device: `id`, `type`, `entity_name`, `service`,
            `subservice`, and its constants by their names. Mappings read it as `device`.
        drops: where attributes that had to be left out are noted.
        decoded: what the mapping's codec made of the bytes, where that is known already.

    Raises:
        MappingError: an expression failed or a value cannot be.
    """
    run = _Run(mapping, drops)
    scope = run.scope(payload, device, decoded)
    return [entity for rule in mapping.entities for entity in run.entities(rule, scope)]


def scope_of(mapping: Mapping, payload: Any, device: Dict[str, Any] | None = None) -> Scope:
    """Return the names that the entities of a mapping read, with those of `let`.

    Raises:
        MappingError: see `apply`.
    """
    return _Run(mapping, None).scope(payload, device)


class _Run:
    __slots__ = ("_drops", "_mapping")

    def __init__(self, mapping: Mapping, drops: Drops | None) -> None:
        self._mapping = mapping
        self._drops = drops

    def scope(
        self,
        payload: Any,
        device: Dict[str, Any] | None,
        decoded: Dict[str, Any] | None = None,
    ) -> Scope:
        mapping = self._mapping
        scope = mapping.scope(payload, device)
        if mapping.decoding is not None and decoded is not None:
            scope[mapping.decoding.into] = decoded
        elif mapping.decoding is not None:
            self._decode(mapping.decoding, scope)
        for let in mapping.lets:
            try:
                value = let.value(scope)
            except ExpressionError as error:
                raise self._failed(let.field, error) from error
            except Unmapped as unmapped:
                self._drop(let.field, unmapped)
            else:
                if value is not MISSING:
                    scope[let.name] = value
        return scope

    def entities(self, rule: EntityRule, scope: Scope) -> Iterator[Entity]:
        if rule.each is None:
            scopes = [scope]
        else:
            items = rule.each(scope)
            scopes = [{**scope, rule.item_name: item} for item in items or ()]
        for inner in scopes:
            try:
                entity = self._entity(rule, inner)
            except ExpressionError as error:
                raise self._failed(rule.field, error) from error
            if entity is not None:
                yield entity

    def _entity(self, rule: EntityRule, scope: Scope) -> Entity | None:
        if rule.when is not None and not truthy(rule.when(scope)):
            return None
        entity: Entity = {"id": None, "type": rule.type}
        observed_at = None if rule.observed_at is None else self._moment(rule, scope)
        for attribute in rule.attributes:
            try:
                value = attribute.value(scope)
                if value is MISSING or value is None:
                    continue
                if attribute.when is not None and not truthy(attribute.when(scope)):
                    continue
                moment = self._own(attribute, scope, observed_at) if attribute.observed else None
                entity[attribute.name] = _with_unit(
                    attribute, scope, attribute.instance(value, moment)
                )
            except ExpressionError as error:
                raise self._failed(attribute.field, error) from error
            except Unmapped as unmapped:
                self._drop(attribute.field, unmapped)
        if rule.passing is not None or rule.keep is not None:
            entity = _completed(rule, scope, entity, observed_at)
        if len(entity) == 2:  # noqa: PLR2004 - id and type
            return None
        entity["id"] = self._id(rule, scope)
        return entity

    def _own(self, attribute: AttributeRule, scope: Scope, moment: str | None) -> str | None:
        if attribute.observed_at is None:
            return moment
        own: str = attribute.observed_at(scope)
        return own

    def _moment(self, rule: EntityRule, scope: Scope) -> str | None:
        try:
            return rule.observed_at(scope) if rule.observed_at is not None else None
        except ExpressionError as error:
            raise self._failed(f"{rule.field}.at", error, "BAD_TIMESTAMP") from error

    def _id(self, rule: EntityRule, scope: Scope) -> str:
        try:
            identifier = rule.identify(scope)
        except ExpressionError as error:
            raise self._failed(f"{rule.field}.id", error) from error
        if identifier is MISSING:
            raise MappingError(
                self._mapping.name, f"{rule.field}.id", "a part of the id is not in the payload"
            )
        return str(identifier)

    def _decode(self, decoding: Decoding, scope: Scope) -> None:
        try:
            frame = decoding.frame(scope)
            if frame is not None:
                scope[decoding.into] = decoding.codec.decode(*frame)
        except PayloadError as error:
            raise self._failed("decode", error, "BAD_PAYLOAD") from error

    def _drop(self, field: str, unmapped: Unmapped) -> None:
        if self._drops is not None:
            self._drops.append(Drop(field, str(unmapped)))

    def _failed(
        self, field: str, error: Exception, code: str = "INVALID_EXPRESSION"
    ) -> MappingError:
        return MappingError(self._mapping.name, field, str(error), getattr(error, "code", code))


def _with_unit(attribute: AttributeRule, scope: Scope, instance: dict[str, Any]) -> dict[str, Any]:
    unit = MISSING if attribute.unit is None else attribute.unit(scope)
    return instance if unit is MISSING else {**instance, "unitCode": unit}


def _completed(rule: EntityRule, scope: Scope, entity: Entity, moment: str | None) -> Entity:
    if rule.passing is not None:
        for name, instance in rule.passing(scope).items():
            entity.setdefault(name, {"observedAt": moment, **instance})
    names = None if rule.keep is None else rule.keep(scope)
    if names is None:
        return entity
    return {n: member for n, member in entity.items() if n in names or n in ("id", "type")}
