"""The shape of mapping files: `mappings/schema.json`, with messages for those who write them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

import jsonschema
import jsonschema_rs

from iot_agents.common.mapping.document import InvalidField
from smart_data_models.nearest import suggestion

_CHOICES: Final = frozenset(("oneOf", "anyOf"))
_UNKNOWN: Final = frozenset(("additionalProperties", "unevaluatedProperties"))


class Shape:
    """Checks documents against the schema of mapping files."""

    def __init__(self, schema: str | bytes) -> None:
        self._schema = json.loads(schema)
        self._validator = jsonschema.Draft202012Validator(self._schema)
        self._quick = jsonschema_rs.Draft202012Validator(self._schema)

    def problems(self, document: Any) -> list[InvalidField]:
        """Return everything that is wrong with the shape of a document."""
        if self._is_right(document):
            return []
        found = (
            problem
            for error in self._validator.iter_errors(document)
            for inner in _innermost(error)
            for problem in self._described(inner)
        )
        # Each of several missing words is an error of its own that names them all.
        return list({(problem.path, problem.reason): problem for problem in found}.values())

    def _is_right(self, document: Any) -> bool:
        """Tell quickly of most documents that nothing is wrong; what is wrong is found slowly."""
        try:
            return self._quick.is_valid(document)
        except (TypeError, ValueError):  # it holds what JSON has not, such as a number as a key
            return False

    # jsonschema's errors have optional members that are always there once an error is raised.
    def _described(self, error: Any) -> Iterable[InvalidField]:
        path = tuple(error.absolute_path)
        if error.validator not in _UNKNOWN:
            yield InvalidField(path, _reason(error))
            return
        # Words count as unevaluated also when something inside them is wrong: those are known.
        known = self._known(error.schema)
        for word in error.instance:
            if word not in known:
                near = suggestion(str(word), known)
                yield InvalidField((*path, word), f"is not a word here{near}")

    def _known(self, schema: Mapping[str, Any]) -> set[str]:
        known = set(schema.get("properties", {}))
        for part in schema.get("allOf", ()):
            name = part.get("$ref", "").rpartition("/")[2]
            known |= set(self._schema["$defs"][name]["properties"])
        return known


def _reason(error: Any) -> str:
    match error.validator:
        case "required":
            missing = [name for name in error.validator_value if name not in error.instance]
            return f"{' and '.join(missing)} must be there"
        case "enum":
            words = [str(word) for word in error.validator_value]
            near = suggestion(str(error.instance), words)
            return f"{error.instance!r} is not one of {', '.join(words)}{near}"
        case "type":
            return f"expected {_kinds(error.validator_value)}, got {error.instance!r:.60}"
    return str(error.message)


def _innermost(error: jsonschema.ValidationError) -> Iterable[jsonschema.ValidationError]:
    """Return the errors that say most: of a choice, those of the branch that fits best."""
    if error.validator not in _CHOICES or not error.context:
        yield error
        return
    branches: dict[Any, list[jsonschema.ValidationError]] = {}
    for inner in error.context:
        branches.setdefault(inner.schema_path[0], []).append(inner)
    fitting = [
        branch
        for branch in branches.values()
        if all(len(inner.path) > 0 or inner.validator != "type" for inner in branch)
    ]
    if len(fitting) != 1:
        yield error
        return
    for inner in fitting[0]:
        yield from _innermost(inner)


def _kinds(kinds: str | list[str]) -> str:
    names = {"object": "a mapping of words", "array": "a list", "string": "text"}
    listed = [kinds] if isinstance(kinds, str) else kinds
    return " or ".join(names.get(kind, f"a {kind}") for kind in listed)
