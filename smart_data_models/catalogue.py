"""What the models say: types and attributes with their IRIs, kinds, units and words.

A model is a `<domain>/<Model>/schema.json` beside this module: a JSON Schema of the simplified
form, with what NGSI-LD adds to it under `x-ngsi` (`iri`, and of an attribute `kind` and `unit`).
Files are read when a model is first asked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, Final

from smart_data_models.nearest import suggestion

NAMESPACE: Final = "https://w3id.org/rigel/ns/"
"""What the IRIs of the product's own types and attributes begin with."""

_COMMON: Final = "../../common.json"
_STRUCTURAL: Final = frozenset(("id", "type"))


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute as a model describes it.

    Attributes:
        kind: `Property`, `Relationship`, `GeoProperty` …
        type: its JSON type, empty where the model allows several.
        format: such as `date-time`.
        unit: the UN/CEFACT code to send; None for what has no unit.
        words: the words it may say, of an array those of its items; None when it is free.
        description: further explanation, often empty.
    """

    name: str
    iri: str
    kind: str
    type: str
    format: str
    unit: str | None
    words: tuple[str, ...] | None
    description: str


@dataclass(frozen=True)
class Model:
    """A type of entity.

    Attributes:
        domain: the directory it stands in.
        schema: its JSON Schema, which refers to nothing outside.
    """

    name: str
    domain: str
    schema: Mapping[str, Any]

    @property
    def iri(self) -> str:
        """The IRI of the type."""
        return str(self.schema["x-ngsi"]["iri"])

    @property
    def subject(self) -> str:
        """The official subject, such as `dataModel.Parking`; empty for the product's own."""
        return str(self.schema["x-ngsi"].get("subject", ""))

    @property
    def required(self) -> tuple[str, ...]:
        """The attributes an entity must have, besides id and type."""
        return tuple(name for name in self.schema["required"] if name not in _STRUCTURAL)

    @cached_property
    def attributes(self) -> Mapping[str, Attribute]:
        """The attributes by their short names."""
        return {
            name: _attribute(name, schema)
            for name, schema in self.schema["properties"].items()
            if name not in _STRUCTURAL
        }


class Catalogue:
    """The models of a directory, by the short names of their types."""

    def __init__(self, root: Traversable) -> None:
        self._root = root
        self._models: dict[str, Model] = {}

    @classmethod
    def packaged(cls) -> Catalogue:
        """Return the catalogue that comes with the product."""
        return cls(resources.files("smart_data_models"))

    @cached_property
    def types(self) -> Mapping[str, str]:
        """The domain of each type, sorted by type."""
        return dict(sorted(_types(self._root)))

    def model(self, entity_type: str) -> Model | None:
        """Return the model of a type, None when there is none."""
        model = self._models.get(entity_type)
        if model is None and entity_type in self.types:
            model = self._models[entity_type] = self._load(entity_type)
        return model

    def attribute(self, entity_type: str, name: str) -> Attribute | None:
        """Return an attribute of a type, None when the type or the attribute is not known."""
        model = self.model(entity_type)
        return model.attributes.get(name) if model is not None else None

    def nearest_type(self, entity_type: str) -> str:
        """Return ` (did you mean 'X'?)` for an unknown type, or nothing."""
        return suggestion(entity_type, self.types)

    def nearest_attribute(self, entity_type: str, name: str) -> str:
        """Return ` (did you mean 'x'?)` for an unknown attribute of a type, or nothing."""
        model = self.model(entity_type)
        return suggestion(name, model.attributes) if model is not None else ""

    @cached_property
    def _common(self) -> Mapping[str, Any]:
        common: Mapping[str, Any] = json.loads(self._root.joinpath("common.json").read_bytes())
        return common

    def _load(self, entity_type: str) -> Model:
        domain = self.types[entity_type]
        file = self._root.joinpath(domain).joinpath(entity_type).joinpath("schema.json")
        own = _local(json.loads(file.read_bytes()))
        del own["allOf"]
        own["properties"] = {**self._common["properties"], **own["properties"]}
        own["$defs"] = self._common["$defs"]
        return Model(entity_type, domain, own)


def _types(root: Traversable) -> Iterator[tuple[str, str]]:
    for domain in root.iterdir():
        if domain.is_dir() and not domain.name.startswith((".", "_")):
            for model in domain.iterdir():
                if model.joinpath("schema.json").is_file():
                    yield model.name, domain.name


def _local(schema: Any) -> Any:
    """Turn references to the common file into references inside the schema."""
    if isinstance(schema, dict):
        return {
            key: value.removeprefix(_COMMON) if key == "$ref" else _local(value)
            for key, value in schema.items()
        }
    return [_local(item) for item in schema] if isinstance(schema, list) else schema


def _attribute(name: str, schema: Mapping[str, Any]) -> Attribute:
    ngsi = schema["x-ngsi"]
    kind = schema.get("type", "")
    words = schema.get("enum") or schema.get("items", {}).get("enum")
    return Attribute(
        name=name,
        iri=ngsi["iri"],
        kind=ngsi.get("kind", "Property"),
        type=kind if isinstance(kind, str) else "",
        format=schema.get("format", ""),
        unit=ngsi.get("unit"),
        words=tuple(words) if words else None,
        description=schema.get("description", ""),
    )
