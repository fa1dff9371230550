"""A mapping checked against the models of the types it makes, before any payload comes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from iot_agents.common.mapping.document import InvalidField, Path
from smart_data_models.catalogue import Attribute, Catalogue, Model
from smart_data_models.nearest import suggestion

_KIND_BY_SOURCE: Final = {"link": "Relationship", "point": "GeoProperty"}


def problems(document: Mapping[str, Any], catalogue: Catalogue) -> list[InvalidField]:
    """Return where a mapping contradicts the models; types without a model are not checked."""
    return [
        problem
        for index, entity in enumerate(document["entities"])
        for problem in _entity(entity, ("entities", index), catalogue)
    ]


def _entity(entity: Mapping[str, Any], path: Path, catalogue: Catalogue) -> Iterator[InvalidField]:
    model = catalogue.model(entity["type"])
    if model is None:
        near = catalogue.nearest_type(entity["type"])
        if near:
            yield InvalidField((*path, "type"), f"there is no model {entity['type']!r}{near}")
        return
    for name, field in entity["attributes"].items():
        inner = (*path, "attributes", name)
        attribute = model.attributes.get(name)
        if attribute is None:
            near = catalogue.nearest_attribute(model.name, name)
            yield InvalidField(inner, f"{model.name} has no attribute {name!r}{near}")
        else:
            yield from _attribute(attribute, field, inner)
    if entity.get("complete", True):
        yield from _required(model, entity, path)


def _required(model: Model, entity: Mapping[str, Any], path: Path) -> Iterator[InvalidField]:
    missing = [name for name in model.required if name not in entity["attributes"]]
    if missing:
        yield InvalidField(
            path,
            f"{model.name} requires {', '.join(missing)}, which nothing here writes; "
            "`complete: false` says that they come from elsewhere",
        )


def _attribute(
    attribute: Attribute, field: Mapping[str, Any], path: Path
) -> Iterator[InvalidField]:
    kind = field.get("kind") or next(
        (_KIND_BY_SOURCE[w] for w in _KIND_BY_SOURCE if w in field), ""
    )
    if kind and kind != attribute.kind:
        yield InvalidField(path, f"is a {kind} here, a {attribute.kind} in the model")
    yield from _unit(attribute, field, path)
    if attribute.words is not None:
        for word, place in _written_words(field, path):
            if word not in attribute.words:
                near = suggestion(str(word), attribute.words) or (
                    f"; those are {', '.join(attribute.words)}"
                )
                yield InvalidField(place, f"{word!r} is not a word of {attribute.name}{near}")


def _unit(attribute: Attribute, field: Mapping[str, Any], path: Path) -> Iterator[InvalidField]:
    unit = field.get("unit")
    if attribute.unit is not None and unit is None:
        yield InvalidField(path, f"has no unit; the model's is {attribute.unit}")
    elif attribute.unit is not None and unit != attribute.unit:
        yield InvalidField((*path, "unit"), f"the model's unit is {attribute.unit}, not {unit}")


def _written_words(field: Mapping[str, Any], path: Path) -> Iterator[tuple[Any, Path]]:
    """Yield the constant words a field can give, with their places."""
    if "value" in field:
        yield from _each(field["value"], (*path, "value"))
    if isinstance(field.get("enum"), Mapping):
        for key, word in field["enum"].items():
            yield from _each(word, (*path, "enum", key))
    if "else" in field:
        yield from _each(field["else"], (*path, "else"))
    for index, case in enumerate(field.get("choose", ())):
        yield from _written_words(case, (*path, "choose", index))
    for word in ("distinct", "all", "first", "last"):
        take = field[word].get("take") if isinstance(field.get(word), Mapping) else None
        if isinstance(take, Mapping):
            yield from _written_words(take, (*path, word, "take"))


def _each(value: Any, path: Path) -> Iterator[tuple[Any, Path]]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield item, (*path, index)
    else:
        yield value, path
