"""Rules and KPIs are YAML files: find them, read them strictly, say where they are wrong."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Generic, Protocol, TypeVar

import msgspec
from msgspec import inspect

from smart_data_models import yaml12
from subscribers.common.instants import Duration

T = TypeVar("T")
N = TypeVar("N", bound="Named")

Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z][A-Za-z0-9-]*$", max_length=100)]
"""The name of a definition; it becomes part of ids and paths."""

_AT: Final = re.compile(r"(?s)(.*) - at `\$(.*)`")
_STEP: Final = re.compile(r"\.([^.\[]+)|\[(\d+)\]|\[\.\.\.\]")
_UNKNOWN: Final = re.compile(r"unknown field `(.*)`")


class InvalidDefinition(Exception):
    """Definitions are wrong; the text has one line per mistake, with file, line and field."""


@dataclass(frozen=True, slots=True)
class Definition(Generic[T]):
    """One definition as it was found.

    Attributes:
        file: where it stands.
        digest: tells one content from another.
        content: what it says.
    """

    file: Path
    digest: str
    content: T


def load_definitions(directories: Iterable[Path], kind: type[T]) -> list[Definition[T]]:
    """Read all files of some directories that end in `.yaml` or `.yml`.

    Raises:
        InvalidDefinition: with the mistakes of all files.
    """
    found: list[Definition[T]] = []
    mistakes: list[str] = []
    for file in _files(directories, mistakes):
        try:
            found.append(load_definition(file, kind))
        except InvalidDefinition as error:
            mistakes.append(str(error))
    if mistakes:
        raise InvalidDefinition("\n".join(mistakes))
    return found


def load_definition(file: Path, kind: type[T]) -> Definition[T]:
    """Read one file.

    Raises:
        InvalidDefinition: with file, line and field.
    """
    try:
        text = file.read_text(encoding="utf-8")
        document = yaml12.load(text)
    except yaml12.YamlError as error:
        raise InvalidDefinition(f"{file}:{error.line}: {error.problem}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidDefinition(f"{file}: {error}") from error
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    try:
        content = msgspec.convert(document.value, kind, dec_hook=decode_own_type)
    except msgspec.ValidationError as error:
        raise InvalidDefinition(_explain(file, document, kind, str(error))) from error
    return Definition(file, digest, content)


class Named(Protocol):
    """What a definition says, at least."""

    @property
    def name(self) -> str:
        """Its name."""


def refuse_repeated_names(found: Iterable[Definition[N]]) -> None:
    """Check that each name stands in one file.

    Raises:
        InvalidDefinition: with both files.
    """
    files: dict[str, Path] = {}
    for definition in found:
        first = files.setdefault(definition.content.name, definition.file)
        if first is not definition.file:
            raise InvalidDefinition(
                f"{definition.file}: the name {definition.content.name} stands in {first} too"
            )


def _files(directories: Iterable[Path], mistakes: list[str]) -> Iterator[Path]:
    for directory in directories:
        if not directory.is_dir():
            mistakes.append(f"{directory}: is not a directory")
        yield from sorted(directory.glob("*.y*ml"))


def decode_own_type(kind: type, value: Any) -> Any:
    """Read a value of a type msgspec does not know; for its `dec_hook`."""
    if kind is Duration:
        return Duration.read(value)
    raise NotImplementedError(kind)


def _explain(file: Path, document: yaml12.Document, kind: type, message: str) -> str:
    match = _AT.fullmatch(message)
    text, place = (match[1], match[2]) if match is not None else (message, "")
    path: tuple[str | int, ...] = tuple(
        int(step[2]) if step[2] else step[1] for step in _STEP.finditer(place) if step[0] != "[...]"
    )
    unknown = _UNKNOWN.search(text)
    if unknown is not None:
        path = (*path, unknown[1])
        text = f"unknown field; the nearest known one is {_nearest(kind, path)}"
    field = ".".join(str(step) for step in path) or "document"
    return f"{file}:{document.line(path)}: {field}: {text[:1].lower()}{text[1:]}"


def _nearest(kind: type, path: tuple[str | int, ...]) -> str:
    known = sorted(_field_names([inspect.type_info(kind)], path[:-1]))
    # Without a cut-off there is always a nearest one, and naming it beats saying nothing.
    return get_close_matches(str(path[-1]), known, n=1, cutoff=0.0)[0]


def _field_names(types: Iterable[inspect.Type], path: tuple[str | int, ...]) -> set[str]:
    """Return the fields of the structs that stand at a path."""
    structs = [found for found in _flat(types) if isinstance(found, inspect.StructType)]
    if not path:
        return {field.encode_name for found in structs for field in found.fields}
    if isinstance(path[0], int):
        return _field_names([item for found in _flat(types) for item in _items(found)], path[1:])
    inner = [f.type for found in structs for f in found.fields if f.encode_name == path[0]]
    return _field_names(inner, path[1:])


def _flat(types: Iterable[inspect.Type]) -> Iterator[inspect.Type]:
    for found in types:
        if isinstance(found, inspect.UnionType):
            yield from _flat(found.types)
        else:
            yield found


def _items(found: inspect.Type) -> tuple[inspect.Type, ...]:
    if isinstance(found, inspect.VarTupleType | inspect.ListType):
        return (found.item_type,)
    return ()
