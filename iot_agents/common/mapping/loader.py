"""Mapping files: read, checked against the format and the Smart Data Models, compiled."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping as Dict
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final

from iot_agents.common.codecs.catalogue import Codecs
from iot_agents.common.mapping import model_check
from iot_agents.common.mapping.compiling import Compilation
from iot_agents.common.mapping.document import InvalidField, written
from iot_agents.common.mapping.fields import Fields
from iot_agents.common.mapping.hints import hints_of
from iot_agents.common.mapping.model import InvalidMapping, Mapping, Mappings
from iot_agents.common.mapping.shape import Shape
from smart_data_models import yaml12
from smart_data_models.catalogue import Catalogue

TABLES: Final = "tables"
"""The directory of the tables of words that `enum:` can name; it holds no mappings."""


class Loader:
    """Loads mapping files; it reads the format, the models and the tables once."""

    def __init__(self, catalogue: Catalogue | None = None, codecs: Codecs | None = None) -> None:
        self._codecs = codecs or Codecs()
        self._catalogue = catalogue or Catalogue.packaged()
        self._packaged = packaged_mappings()
        self._shape = Shape(self._packaged.joinpath("schema.json").read_bytes())
        self._hints = hints_of(self._catalogue)

    def load(self, file: Traversable, root: Traversable) -> Mapping:
        """Load one file; tables are looked for below `root`, then among those packaged.

        Raises:
            InvalidMapping: with every problem found, each with file, line and field.
        """
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise InvalidMapping([f"{file}:1: {error}"]) from error
        return self.load_text(text, str(file), root)[0]

    def load_text(self, text: str, file: str, root: Traversable) -> tuple[Mapping, yaml12.Document]:
        """Load the text of a file, and return the mapping with what the text says.

        Args:
            file: what problems call it.

        Raises:
            InvalidMapping: see `load`.
        """
        try:
            document = yaml12.load(text)
        except yaml12.YamlError as error:
            raise InvalidMapping([f"{file}:{error.line}: {error.problem}"]) from error
        problems = self._shape.problems(document.value)
        if not problems:
            fields = Fields(lambda name: self._table(name, (root, self._packaged)))
            nearer = Path(file).parent, root
            compilation = Compilation(
                fields, self._hints, lambda name: self._codecs.get(name, *nearer)
            )
            mapping = compilation.mapping(document.value, path=file)
            problems = compilation.problems
            problems += model_check.problems(document.value, self._catalogue)
            if mapping is not None and not problems:
                return mapping, document
        raise InvalidMapping([_written(file, document, problem) for problem in problems])

    def _table(self, name: str, roots: tuple[Traversable, ...]) -> Dict[Any, Any] | None:
        for root in roots:
            file = root.joinpath(TABLES).joinpath(f"{name}.yaml")
            if file.is_file():
                table: Dict[Any, Any] = yaml12.load(file.read_text(encoding="utf-8")).value
                return table
        return None


def packaged_mappings() -> Traversable:
    """Return the directory of the mappings that come with the product."""
    return resources.files("mappings")


def load_mapping(path: Path) -> Mapping:
    """Load one mapping file.

    Raises:
        InvalidMapping: with every problem found, each with file, line and field.
    """
    return Loader().load(path, path.parent)


def load_mappings(*directories: Traversable, codecs: Codecs | None = None) -> Mappings:
    """Load every mapping below directories; where names are the same, the first directory's counts.

    Args:
        codecs: what `decode:` can name; their scripts also lie beside the mapping that names them.

    Raises:
        InvalidMapping: with the problems of all files.
    """
    loader = Loader(codecs=codecs)
    loaded: dict[str, Mapping] = {}
    problems: list[str] = []
    for directory in directories:
        here: dict[str, str] = {}
        for file in sorted(_files(directory), key=str):
            try:
                mapping = loader.load(file, directory)
            except InvalidMapping as error:
                problems += error.problems
                continue
            if mapping.name in here:
                problems.append(
                    f"{file}: the mapping {mapping.name!r} also stands in {here[mapping.name]}"
                )
            here[mapping.name] = str(file)
            loaded.setdefault(mapping.name, mapping)
    if problems:
        raise InvalidMapping(problems)
    return Mappings(tuple(sorted(loaded.values(), key=lambda m: -m.specificity)))


def _files(directory: Traversable) -> Iterator[Traversable]:
    for entry in directory.iterdir():
        if entry.is_dir() and entry.name != TABLES:
            yield from _files(entry)
        elif entry.name.endswith((".yaml", ".yml")):
            yield entry


def _written(file: str, document: yaml12.Document, problem: InvalidField) -> str:
    line = document.line(problem.path)
    where = written(problem.path)
    return (
        f"{file}:{line}: {where}: {problem.reason}" if where else f"{file}:{line}: {problem.reason}"
    )
