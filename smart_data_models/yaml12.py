"""YAML by the 1.2 core schema, with the line of every value.

PyYAML follows YAML 1.1, where the names `no` and `on` are booleans, `12:30` is 750 and a bare date
is no text. Here only `true` and `false` are booleans, only `null`, `~` and nothing are null,
numbers are decimal (or `0o17`, `0x1f`), and all else is text. Keys may not repeat, tags other than
those of the core schema are refused, and so are merge keys, which YAML 1.2 does not have.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

Key = str | int | float | bool | None
Path = tuple[Key, ...]
"""How to get from the top to a value: keys of mappings and indexes of sequences."""

_TAG: Final = "tag:yaml.org,2002:"
_MAX_DEPTH: Final = 64
_MAX_VALUES: Final = 100_000
"""Aliases count each time they are used: a few lines cannot stand for millions of values."""

_SCALARS: Final = (
    ("null", re.compile(r"null|Null|NULL|~|"), "nN~"),
    ("bool", re.compile(r"true|True|TRUE|false|False|FALSE"), "tTfF"),
    ("int", re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"), "-+0123456789"),
    (
        "float",
        re.compile(
            r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
            r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
        ),
        "-+.0123456789",
    ),
)


class YamlError(ValueError):
    """The text is not YAML, or not YAML that is accepted here.

    Attributes:
        problem: what is wrong, without the place.
        line: where, counted from 1.
    """

    def __init__(self, problem: str, line: int) -> None:
        super().__init__(f"line {line}: {problem}")
        self.problem = problem
        self.line = line


@dataclass(frozen=True, slots=True)
class Document:
    """What a file says, and where.

    Attributes:
        lines: the line of each value, counted from 1; of a mapping's value it is its key's line.
    """

    value: Any
    lines: Mapping[Path, int] = field(repr=False)

    def line(self, path: Path) -> int:
        """Return the line of a value, or of the nearest one around it that exists."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


class _CoreLoader(yaml.SafeLoader):
    """Composes nodes; their plain scalars are resolved by the core schema."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's name


for _name, _pattern, _first in _SCALARS:
    # The empty text is a null, and PyYAML looks it up by an empty first character.
    for _character in [*_first, ""] if _name == "null" else _first:
        _CoreLoader.yaml_implicit_resolvers.setdefault(_character, []).append(
            (_TAG + _name, re.compile(f"(?:{_pattern.pattern})$"))
        )


def load(text: str) -> Document:
    """Read one YAML document.

    Raises:
        YamlError: with the line.
    """
    try:
        node = yaml.compose(text, Loader=_CoreLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(
            " ".join(part for part in (error.context, error.problem) if part),
            mark.line + 1 if mark is not None else 1,
        ) from error
    except yaml.YAMLError as error:
        raise YamlError(str(error), 1) from error
    if node is None:
        return Document(None, {(): 1})
    lines: dict[Path, int] = {(): _line(node)}
    return Document(_construct(node, (), lines), lines)


def _construct(node: yaml.Node, path: Path, lines: dict[Path, int]) -> Any:
    if len(path) > _MAX_DEPTH:
        raise YamlError(f"nested deeper than {_MAX_DEPTH} levels", _line(node))
    if len(lines) > _MAX_VALUES:
        raise YamlError(f"more than {_MAX_VALUES} values", _line(node))
    if isinstance(node, yaml.MappingNode):
        return _construct_mapping(node, path, lines)
    if isinstance(node, yaml.SequenceNode):
        _expect(node, "seq")
        values = []
        for index, item in enumerate(node.value):
            lines[(*path, index)] = _line(item)
            values.append(_construct(item, (*path, index), lines))
        return values
    return _scalar(node)


def _construct_mapping(
    node: yaml.MappingNode, path: Path, lines: dict[Path, int]
) -> dict[Key, Any]:
    _expect(node, "map")
    values: dict[Key, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise YamlError("a key must be a scalar", _line(key_node))
        key = _scalar(key_node)
        if key == "<<" and key_node.style is None:
            raise YamlError("merge keys are not part of YAML 1.2", _line(key_node))
        if key in values:
            raise YamlError(f"the key {key_node.value!r} stands twice", _line(key_node))
        inner = (*path, key)
        lines[inner] = _line(key_node)
        values[key] = _construct(value_node, inner, lines)
    return values


def _scalar(node: yaml.Node) -> Key:
    text = str(node.value)
    match node.tag.removeprefix(_TAG):
        case "str":
            return text
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int":
            return _int(text, node)
        case "float":
            return _float(text, node)
    raise YamlError(f"the tag {node.tag!r} is not known", _line(node))


def _int(text: str, node: yaml.Node) -> int:
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    try:
        return int(text, base)
    except ValueError as error:
        raise YamlError(f"{text:.40} is no integer", _line(node)) from error


def _float(text: str, node: yaml.Node) -> float:
    try:
        if text.lower().endswith((".inf", ".nan")):
            return math.copysign(float(text[-3:]), -1 if text[0] == "-" else 1)
        return float(text)
    except ValueError as error:
        raise YamlError(f"{text:.40} is no number", _line(node)) from error


def _expect(node: yaml.Node, kind: str) -> None:
    if node.tag != _TAG + kind:
        raise YamlError(f"the tag {node.tag!r} is not known", _line(node))


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
