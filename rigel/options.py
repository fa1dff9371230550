"""What can be set: the fields of the settings classes, seen as a flat list of named options.

A settings class is a frozen dataclass; a field whose type is such a class again is a section. The
documentation of an option is the `doc` of its field's metadata. Its value is never shown where the
metadata say `secret`, or the name that it is a token or the like.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass
from typing import Any, get_type_hints

_SECRET = re.compile(r"token|password|secret|credential")


@dataclass(frozen=True, slots=True)
class Option:
    """One thing that can be set.

    Attributes:
        path: the keys that lead to it in rigel.yaml.
        type: what the value must be.
        default: what it is when nothing is said.
        doc: one paragraph on what it does.
        secret: whether the value must never be shown.
    """

    path: tuple[str, ...]
    type: Any
    default: Any
    doc: str
    secret: bool = False

    @property
    def key(self) -> str:
        """The name in rigel.yaml, such as `broker.port`."""
        return ".".join(self.path)

    @property
    def variable(self) -> str:
        """The name in the environment, such as `RIGEL_BROKER_PORT`."""
        return "_".join(("RIGEL", *self.path)).upper()


def options_of(settings: type, path: tuple[str, ...] = ()) -> Iterator[Option]:
    """Yield the options of a settings class and of its sections, in the order they are declared."""
    types = get_type_hints(settings)
    sections = sections_of(settings)
    for field in _fields(settings):
        inner = (*path, field.name)
        if field.name in sections:
            yield from options_of(sections[field.name], inner)
        else:
            doc = field.metadata.get("doc", "")
            secret = bool(field.metadata.get("secret") or _SECRET.search(field.name))
            yield Option(inner, types[field.name], _default(field), doc, secret)


def sections_of(settings: type) -> Mapping[str, type]:
    """Return the fields of a settings class that are settings classes themselves."""
    types = get_type_hints(settings)
    return {
        field.name: types[field.name]
        for field in _fields(settings)
        if isinstance(types[field.name], type) and dataclasses.is_dataclass(types[field.name])
    }


def _fields(settings: type) -> tuple[dataclasses.Field[Any], ...]:
    return tuple(field for field in dataclasses.fields(settings) if field.init)


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()
