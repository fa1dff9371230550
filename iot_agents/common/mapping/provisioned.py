"""FIWARE provisioning attributes as a mapping: one pipeline, one expression language.

Each attribute becomes a `let` that computes its value, in the order of the list, and puts it under
the attribute's name for the expressions that follow; then the entities take the values. Expressions
are lenient: a missing measure is JavaScript's undefined.

Deviating from the FIWARE library on purpose: an attribute that fails is left out and noted instead
of failing the measure; joining a text with a missing measure leaves the attribute out; a
`skipValue` of 0, false or "" works; an entity name that cannot be computed fails the measure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from collections.abc import Mapping as Dict
from typing import Any, Final

from broker.core.identifiers import is_uri
from iot_agents.common.mapping import attribute_types, instances
from iot_agents.common.mapping.enums import Unmapped
from iot_agents.common.mapping.explicit import explicit
from iot_agents.common.mapping.given import attribute_of, value_of
from iot_agents.common.mapping.model import (
    AttributeRule,
    EntityRule,
    InvalidMapping,
    LetRule,
    Mapping,
)
from iot_agents.common.mapping.templates import url_safe
from smart_data_models.jexl import times
from smart_data_models.jexl.expressions import compile_expression
from smart_data_models.jexl.syntax import InvalidExpression
from smart_data_models.jexl.values import MISSING, ExpressionError, Getter, Scope, same, to_text

_TIME: Final = "TimeInstant"
_RENAMED: Final = {"id": "measure_id", "type": "measure_type"}
_DEVICE: Final = ("id", "type", "service", "subservice", "entity_name")
_PLAIN: Final = re.compile(r"[\w.:\-]+")
_DEFAULT_TYPE: Final = "Thing"
_MEASURES: Final = object()
"""The scope's key of the measures' values as they came."""
_OWN: Final = object()
"""The scope's key of the entity's name as it is provisioned."""
_GIVEN: Final = object()
"""The scope's key of the measures as they came, some of them as whole attributes."""

Put = Callable[[Scope, dict[str, Any]], None]
"""Puts a metadatum on a normalized attribute."""


class BadTimestamp(ExpressionError):
    """The measure's time is none; the whole measure is refused."""

    code = "BAD_TIMESTAMP"


READ: Final = (
    "attributes",
    "static_attributes",
    "explicitAttrs",
    "entityNameExp",
    "entity_name",
    "entity_type",
)
"""The members of what is provisioned that `compile_mapping` reads."""


def compile_mapping(provisioning: Dict[str, Any], *, name: str) -> Mapping:
    """Compile what is in force for a device (device over group over defaults, already merged).

    Read are `attributes`, `static_attributes`, `explicitAttrs`, `entityNameExp`, `entity_name`,
    `entity_type`. The payload to apply it to is the dict of measures by the names the device sent,
    with `TimeInstant` (the receive time when the device gave none) as their time; `device` is a
    dict with `id`, `type` and, where known, `entity_name`, `service`, `subservice`.

    Measures that are not provisioned pass under their own names, unless `explicitAttrs` is true:
    what comes of a decoder, which tells more than is asked for, is best compiled with that default.

    Args:
        provisioning: the merged members.
        name: what errors call the mapping.

    Raises:
        InvalidMapping: an expression does not parse.
    """
    compilation = _Compilation(provisioning)
    lets = compilation.lets()
    entities = compilation.entities()
    if compilation.problems:
        raise InvalidMapping([f"{name}: {problem}" for problem in compilation.problems])
    return Mapping(
        name=name,
        source=lambda _: True,
        lets=tuple(lets),
        entities=tuple(entities),
        scope=compilation.scope,
    )


class _Compilation:
    def __init__(self, provisioning: Dict[str, Any]) -> None:
        self._provisioning = provisioning
        self._type = provisioning.get("entity_type") or ""
        self._active: Sequence[Dict[str, Any]] = provisioning.get("attributes") or ()
        self._static: Sequence[Dict[str, Any]] = provisioning.get("static_attributes") or ()
        self._consumed = {_TIME} | {_object_id(each) for each in self._active}
        self.problems: list[str] = []

    def scope(self, payload: Any, device: Dict[str, Any] | None) -> Scope:
        """Return the names that expressions read: constants, the device, the measures."""
        scope: Scope = {static["name"]: static.get("value") for static in self._static}
        for member in _DEVICE:
            if device is not None and device.get(member):
                scope[member] = device[member]
        # Not even a measure of this name may change whose entity it is.
        scope[_OWN] = scope.get("entity_name")
        measures = {_RENAMED.get(name, name): value_of(each) for name, each in payload.items()}
        scope.update(measures)
        scope[_MEASURES] = measures
        scope[_GIVEN] = {_RENAMED.get(name, name): each for name, each in payload.items()}
        return scope

    def lets(self) -> list[LetRule]:
        lets = []
        for index, attribute in enumerate(self._active):
            field = f"attributes[{index}]"
            value = self._value(attribute, field)
            lets += [
                LetRule((_MEASURES, index), field, value),
                LetRule(_name(attribute), field, _slot((_MEASURES, index))),
            ]
        return lets

    def entities(self) -> list[EntityRule]:
        """Return the rule of the device's entity, then those of the others it writes to."""
        targets: dict[tuple[str, str], list[AttributeRule]] = {("", ""): []}
        for index, static in enumerate(self._static):
            targets["", ""].append(self._static_rule(index, static))
        for index, attribute in enumerate(self._active):
            target = attribute.get("entity_name") or "", attribute.get("entity_type") or ""
            rule = self._active_rule(index, attribute)
            targets.setdefault(target, []).append(rule)
        keep, passing = explicit(
            self._provisioning.get("explicitAttrs"),
            {_object_id(each): _name(each) for each in self._active},
            self._expression,
        )
        return [
            EntityRule(
                field=f"entity {name}" if name else "entity",
                type=kind or self._type or _DEFAULT_TYPE,
                identify=self._identify(name, kind),
                attributes=tuple(rules),
                observed_at=_moment,
                passing=self._passing(passing) if not name and not kind else None,
                keep=keep,
            )
            for (name, kind), rules in targets.items()
        ]

    def _passing(self, passing: Getter) -> Callable[[Scope], Dict[str, Any]]:
        """Return what gives the measures that nobody provisioned, as normalized attributes."""
        consumed = self._consumed

        def passed(scope: Scope) -> Dict[str, Any]:
            if not passing(scope):
                return {}
            return {
                name: attribute_of(measure)
                for name, measure in scope[_GIVEN].items()
                if name not in consumed and measure is not None
            }

        return passed

    def _value(self, attribute: Dict[str, Any], field: str) -> Getter:
        """Compile the value of an attribute as the device or its expression gives it."""
        object_id, skip = _object_id(attribute), attribute.get("skipValue")
        expression = attribute.get("expression")
        if isinstance(expression, str):
            get = self._expression(expression, f"{field}.expression")
        else:
            get = _measure(object_id)

        def value(scope: Scope) -> Any:
            try:
                found = get(scope)
            except ExpressionError as error:
                raise Unmapped(str(error)) from error
            if found is MISSING or found is None or (skip is not None and same(found, skip)):
                return MISSING
            return found

        return value

    def _active_rule(self, index: int, attribute: Dict[str, Any]) -> AttributeRule:
        return self._rule(f"attributes[{index}]", attribute, _slot((_MEASURES, index)))

    def _static_rule(self, index: int, attribute: Dict[str, Any]) -> AttributeRule:
        constant = attribute.get("value")
        return self._rule(f"static_attributes[{index}]", attribute, lambda _: constant)

    def _rule(self, field: str, attribute: Dict[str, Any], get: Getter) -> AttributeRule:
        kind, convert = attribute_types.kind_and_conversion(attribute.get("type") or "")
        build = instances.builder(kind)
        metadata = self._metadata(attribute.get("metadata") or {}, f"{field}.metadata")

        def value(scope: Scope) -> Any:
            found = get(scope)
            if found is MISSING or found is None:
                return MISSING
            converted = convert(found)
            if converted is MISSING:
                raise Unmapped(f"{found!r:.60} is no {attribute.get('type')}")
            instance = build(converted, None)
            for put in metadata:
                put(scope, instance)
            return instance

        return AttributeRule(
            name=_name(attribute),
            field=field,
            value=value,
            instance=lambda instance, at: {"observedAt": at, **instance},
            observed=True,
        )

    def _metadata(self, metadata: Dict[str, Any], field: str) -> list[Put]:
        return [
            self._metadatum(name, element, f"{field}.{name}") for name, element in metadata.items()
        ]

    def _metadatum(self, name: str, element: Any, field: str) -> Put:
        """Compile a metadatum: a member of the attribute, or a sub-Property."""
        element = element if isinstance(element, dict) else {"value": element}
        kind, convert = attribute_types.kind_and_conversion(element.get("type") or "")
        build = instances.builder(kind)
        constant, expression = element.get("value"), element.get("expression")
        get = self._expression(expression, field) if expression else lambda _: constant

        def put(scope: Scope, instance: dict[str, Any]) -> None:
            value = convert(get(scope))
            if value is MISSING or value is None:
                return
            if name == "unitCode":
                instance["unitCode"] = value
            elif name == _TIME:
                instance["observedAt"] = _utc(value)
            else:
                instance[name] = build(value, None)

        return put

    def _identify(self, name: str, kind: str) -> Getter:
        """Compile where an entity's id comes from."""
        kind = kind or self._type or _DEFAULT_TYPE
        if name:
            return self._named(name, kind, "entity_name")
        expression = self._provisioning.get("entityNameExp")
        if expression:
            return _required(self._expression(expression, "entityNameExp"), kind)
        own = self._provisioning.get("entity_name") or ""

        def identify(scope: Scope) -> Any:
            name = own or scope.get(_OWN) or scope.get("entity_name") or scope.get("id") or ""
            return _uri(name, kind)

        return identify

    def _named(self, name: str, kind: str, field: str) -> Getter:
        if is_uri(name):
            return lambda _: name
        try:
            get = compile_expression(name, strict=False)
        except InvalidExpression as error:
            if not _PLAIN.fullmatch(name):
                self.problems.append(f"{field}: {error}")
            return lambda _: _uri(name, kind)
        if not _PLAIN.fullmatch(name):
            return _required(get, kind)

        def named(scope: Scope) -> Any:
            # A plain word may be the name of a measure, and is the entity's name otherwise.
            found = get(scope)
            return _uri(found if isinstance(found, str) and found else name, kind)

        return named

    def _expression(self, text: str, field: str) -> Getter:
        try:
            return compile_expression(text, strict=False)
        except InvalidExpression as error:
            self.problems.append(f"{field}: {error}")
            return lambda _: MISSING


def _object_id(attribute: Dict[str, Any]) -> str:
    return str(attribute.get("object_id") or attribute["name"])


def _name(attribute: Dict[str, Any]) -> str:
    return str(attribute.get("name") or attribute["object_id"])


def _slot(key: Any) -> Getter:
    return lambda scope: scope.get(key, MISSING)


def _measure(object_id: str) -> Getter:
    return lambda scope: scope[_MEASURES].get(object_id, MISSING)


def _moment(scope: Scope) -> str:
    return _utc(scope.get(_TIME))


def _utc(value: Any) -> str:
    try:
        if not isinstance(value, str):
            raise ValueError(value)  # noqa: TRY004, TRY301 - one way out
        return times.utc_text(value)
    except ValueError as error:
        raise BadTimestamp(f"{_TIME} must be ISO 8601, got {value!r:.40}") from error


def _required(get: Getter, kind: str) -> Getter:
    def identify(scope: Scope) -> Any:
        found = get(scope)
        return MISSING if found is MISSING or found is None else _uri(to_text(found), kind)

    return identify


def _uri(name: str, kind: str) -> Any:
    if not name:
        return MISSING
    return name if is_uri(name) else f"urn:ngsi-ld:{kind}:{url_safe(name)}"
