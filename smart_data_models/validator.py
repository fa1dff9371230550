"""Check entities against their Smart Data Model, per type as strictly as the operator wants.

A model's schema describes the simplified form, so a normalized entity is simplified first. Of an
attribute with several instances, all links are checked, and of other kinds the first instance.
Texts in several languages are not checked: models do not know them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import jsonschema_rs

from smart_data_models.catalogue import Catalogue, Model

_VALUE_MEMBERS: Final = {
    "Property": "value",
    "GeoProperty": "value",
    "Relationship": "object",
    "VocabProperty": "vocab",
    "JsonProperty": "json",
    "ListProperty": "valueList",
    "ListRelationship": "objectList",
}
_INTERCHANGEABLE: Final = {
    # A model that says Property leaves open how the value is written.
    "Property": frozenset(
        ("Property", "LanguageProperty", "VocabProperty", "JsonProperty", "ListProperty")
    ),
    "Relationship": frozenset(("Relationship", "ListRelationship")),
}
_NOT_ATTRIBUTES: Final = frozenset(
    ("id", "type", "@context", "scope", "createdAt", "modifiedAt", "expiresAt")
)
_CHOICES: Final = frozenset(("anyOf", "oneOf"))
_WORDINGS: Final = {
    "enum": "one of {}",
    "const": "{}",
    "type": "a value of type {}",
    "format": "the format {}",
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minItems": "at least {} items",
    "pattern": "the pattern {}",
}


class Mode(StrEnum):
    """What a problem means for an entity of a type."""

    OFF = "off"
    WARN = "warn"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Problem:
    """One rule of a model that an entity breaks.

    Attributes:
        attribute: its short name, with the path inside its value where there is one.
        rule: the rule in words, such as `one of free, occupied, unknown`.
        value: what the entity has instead.
        breaks: whether the model forbids it; a name the model does not know is only odd.
    """

    attribute: str
    rule: str
    value: Any
    breaks: bool = True

    def __str__(self) -> str:
        return f"{self.attribute}: expected {self.rule}, got {self.value!r:.80}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the check of an entity found, and what to do with the entity."""

    mode: Mode
    problems: tuple[Problem, ...] = ()

    @property
    def rejected(self) -> bool:
        """Whether the entity must not be written."""
        return self.mode is Mode.REJECT and any(problem.breaks for problem in self.problems)


_UNCHECKED: Final = Verdict(Mode.OFF)


class Validator:
    """The check of normalized entities with short names."""

    def __init__(
        self,
        catalogue: Catalogue,
        modes: Mapping[str, Mode] | None = None,
        default: Mode = Mode.WARN,
    ) -> None:
        """Choose the modes: per type, and for the types not named. Unknown types are always off."""
        self._catalogue = catalogue
        self._modes = dict(modes or {})
        self._default = default
        self._checks: dict[str, _Check | None] = {}

    def check(self, entity: Mapping[str, Any], *, whole: bool = False) -> Verdict:
        """Check an entity, or a fragment of one.

        An entity of several types is checked against each, with the strictest mode of them.

        Args:
            whole: also ask for the attributes that the model requires.
        """
        types = entity.get("type")
        if isinstance(types, str):
            return self._verdict(types, entity, whole=whole)
        verdicts = [self._verdict(each, entity, whole=whole) for each in types or ()]
        worst = max((v.mode for v in verdicts), key=list(Mode).index, default=Mode.OFF)
        return Verdict(worst, tuple(problem for v in verdicts for problem in v.problems))

    def _verdict(self, entity_type: str, entity: Mapping[str, Any], *, whole: bool) -> Verdict:
        check = self._check(entity_type)
        if check is None:
            return _UNCHECKED
        problems = check.problems(entity, whole=whole)
        return Verdict(check.mode, problems) if problems else check.passed

    def _check(self, entity_type: str) -> _Check | None:
        try:
            return self._checks[entity_type]
        except KeyError:
            mode = self._modes.get(entity_type, self._default)
            model = self._catalogue.model(entity_type) if mode is not Mode.OFF else None
            if model is None:
                # Names of unknown types come from outside: they are not remembered.
                return None
            check = self._checks[entity_type] = _Check(model, mode, self._catalogue)
            return check


class _Check:
    """The compiled check of one type."""

    def __init__(self, model: Model, mode: Mode, catalogue: Catalogue) -> None:
        self.mode = mode
        self.passed = Verdict(mode)
        self._model = model
        self._catalogue = catalogue
        self._kinds = {
            name: _INTERCHANGEABLE.get(attribute.kind, frozenset((attribute.kind,)))
            for name, attribute in model.attributes.items()
        }
        self._whole = jsonschema_rs.validator_for(dict(model.schema), validate_formats=True)
        partial = {**model.schema, "required": []}
        self._partial = jsonschema_rs.validator_for(partial, validate_formats=True)

    def problems(self, entity: Mapping[str, Any], *, whole: bool) -> tuple[Problem, ...]:
        simplified, problems = self._simplified(entity)
        schema = self._whole if whole else self._partial
        if not schema.is_valid(simplified):
            for error in schema.iter_errors(simplified):
                if not _is_there(error, entity):
                    problems.extend(_problems(error))
        return tuple(problems)

    def _simplified(self, entity: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
        problems: list[Problem] = []
        simplified: dict[str, Any] = {"id": entity.get("id"), "type": entity.get("type")}
        kinds = self._kinds
        for name, attribute in entity.items():
            if name in _NOT_ATTRIBUTES:
                continue
            allowed = kinds.get(name)
            instance = attribute[0] if isinstance(attribute, list) and attribute else attribute
            kind = instance.get("type") if isinstance(instance, Mapping) else None
            if allowed is None:
                problems.append(self._unknown(name, attribute))
                continue
            if kind not in allowed:
                wanted = f"a {self._model.attributes[name].kind}"
                problems.append(Problem(name, wanted, kind if kind is not None else instance))
            member = _VALUE_MEMBERS.get(str(kind))
            if member is not None:
                simplified[name] = _value(attribute, member)
        return simplified, problems

    def _unknown(self, name: str, value: Any) -> Problem:
        near = self._catalogue.nearest_attribute(self._model.name, name)
        return Problem(name, f"an attribute of {self._model.name}{near}", value, breaks=False)


def _is_there(error: jsonschema_rs.ValidationError, entity: Mapping[str, Any]) -> bool:
    """Tell whether an attribute is only missing since its value is not checked."""
    kind: Any = error.kind
    return kind.name == "required" and not error.instance_path and kind.property in entity


def _value(attribute: Any, member: str) -> Any:
    if isinstance(attribute, list):
        values = [_value(instance, member) for instance in attribute]
        return values if member == "object" else values[0]
    value = attribute.get(member)
    if isinstance(value, dict) and "@value" in value:
        return value["@value"]
    if member == "objectList" and isinstance(value, list):
        return [item["object"] if _is_target(item) else item for item in value]
    return value


def _is_target(item: Any) -> bool:
    return isinstance(item, dict) and "object" in item


def _problems(error: jsonschema_rs.ValidationError) -> Iterator[Problem]:
    kind: Any = error.kind
    if kind.name in _CHOICES:
        # Of a choice only the branch for this kind of value says something.
        branches = [b for b in kind.context if all(inner.kind.name != "type" for inner in b)]
        for inner in branches[0] if len(branches) == 1 else ():
            yield from _problems(inner)
        if len(branches) != 1:
            yield Problem(_path(error), "another form of value", error.instance)
        return
    if kind.name == "required":
        yield Problem(_path(error, kind.property), "to be there", None)
        return
    yield Problem(_path(error), _wording(kind), error.instance)


def _path(error: jsonschema_rs.ValidationError, last: str | None = None) -> str:
    steps = [*error.instance_path, *([last] if last is not None else [])]
    return ".".join(str(step) for step in steps)


def _wording(kind: Any) -> str:
    value = kind.value
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return _WORDINGS.get(kind.name, f"{kind.name} {{}}").format(text)
