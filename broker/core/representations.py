"""Render entities as documents: normalized, concise and simplified (clauses 4.5.2–4.5.24).

The concise representation is lossless: a value stands bare only where reading it again gives the
same attribute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

from broker.core import languages
from broker.core.attribute import Instance, are_instances
from broker.core.geometry import is_geometry
from broker.core.identifiers import DEFAULT_INSTANCE, CompactedEntity, ExpandedEntity, Iri
from broker.core.projection import Projection
from broker.core.vocabulary import INSTANCE_MEMBERS, KINDS, VALUE_KINDS

if TYPE_CHECKING:
    from broker.core.ld_context import LdContext

Format = Literal["normalized", "concise", "simplified"]

_SYSTEM_MEMBERS: Final = ("createdAt", "modifiedAt", "expiresAt", "deletedAt")
_NAME_MEMBERS: Final = ("objectType", "valueType", "entityTypeSealed")
_NEVER_BARE: Final = frozenset(("type", "@type")) | VALUE_KINDS.keys() | INSTANCE_MEMBERS


@dataclass(frozen=True, slots=True)
class Representation:
    """How an entity is to be shown; hashable, so that renderings can be cached by it.

    Attributes:
        lang: the language filter of clause 4.15.
        dataset_ids: the instances to show, "@none" for the default one; None shows all.
    """

    format: Format = "normalized"
    sys_attrs: bool = False
    lang: str | None = None
    projection: Projection | None = None
    dataset_ids: frozenset[str] | None = None


def render(
    entity: ExpandedEntity,
    ld_context: LdContext,
    representation: Representation,
    *,
    linked: Mapping[Iri, ExpandedEntity] | None = None,
    join_level: int = 1,
    contained_by: frozenset[Iri] = frozenset(),
) -> CompactedEntity | None:
    """Render an entity without `@context`; None when `pick` or `omit` leaves nothing (4.21).

    Args:
        linked: entities to put inline at the relationships that point to them (clause 4.5.23.2).
        join_level: how many relationships away from this entity they may be.
        contained_by: entities on the way here, which are not put inline again.
    """
    renderer = Renderer(ld_context.for_types(entity["type"]), representation)
    if linked is not None and join_level > 0:
        path = contained_by | {Iri(entity["id"])}

        def inline(target: Iri, relationship: Iri) -> CompactedEntity | None:
            found = linked.get(target) if target not in path else None
            if found is None:
                return None
            return render(
                found,
                ld_context,
                for_linked(representation, relationship),
                linked=linked,
                join_level=join_level - 1,
                contained_by=path,
            )

        renderer.inline = inline
    document = renderer.entity(entity)
    return CompactedEntity(document) if document else None


def for_linked(representation: Representation, relationship: Iri) -> Representation:
    """Return how the entities that a relationship links to are to be shown (clause 4.21)."""
    projection = representation.projection
    if projection is None:
        return representation
    return replace(representation, projection=projection.linked(relationship))


class Renderer:
    """Renders one entity, or single instances of its attributes."""

    __slots__ = (
        "_compact",
        "_dataset_ids",
        "_lang",
        "_projection",
        "_show",
        "_sys_attrs",
        "inline",
    )

    def __init__(self, ld_context: LdContext, representation: Representation) -> None:
        self._compact = ld_context.compact
        self._lang = representation.lang
        self._sys_attrs = representation.sys_attrs
        self._projection = representation.projection
        self._dataset_ids = representation.dataset_ids
        self._show = _SHOW[representation.format]
        self.inline: Callable[[Iri, Iri], CompactedEntity | None] | None = None

    def entity(self, entity: ExpandedEntity) -> dict[str, Any]:
        """Render an entity; empty when the projection leaves nothing."""
        types = entity["type"]
        compact = self._compact
        document: dict[str, Any] = {
            "id": entity["id"],
            "type": compact(types[0]) if len(types) == 1 else [compact(iri) for iri in types],
        }
        if "scope" in entity:
            scopes = entity["scope"]
            document["scope"] = scopes[0] if len(scopes) == 1 else scopes
        if self._sys_attrs:
            for member in ("createdAt", "modifiedAt", "expiresAt"):
                if member in entity:
                    document[member] = entity[member]
        attributes = entity["attributes"]
        projection = self._projection
        if projection is not None:
            document = {name: item for name, item in document.items() if projection.shows(name)}
            attributes = {name: item for name, item in attributes.items() if projection.shows(name)}
        if self._dataset_ids is not None:
            attributes = self._of_datasets(attributes, self._dataset_ids)
        show = self._show
        for name, instances in attributes.items():
            document[compact(name)] = show(self, name, instances)
        return document

    @staticmethod
    def _of_datasets(
        attributes: Mapping[Iri, Mapping[str, Instance]], wanted: frozenset[str]
    ) -> dict[Iri, Mapping[str, Instance]]:
        """Keep the instances of some datasets, and the attributes that have such (4.5.5)."""
        chosen: dict[Iri, Mapping[str, Instance]] = {}
        for name, instances in attributes.items():
            left = {key: instance for key, instance in instances.items() if key in wanted}
            if left:
                chosen[name] = left
        return chosen

    def normalized(self, name: Iri, instances: Mapping[str, Instance]) -> Any:
        documents = [self.instance(name, item, key) for key, item in instances.items()]
        return documents if len(documents) > 1 else documents[0]

    def concise(self, name: Iri, instances: Mapping[str, Instance]) -> Any:
        documents = [self._concise(name, item, key) for key, item in instances.items()]
        return documents if len(documents) > 1 else _bare(documents[0])

    def simplified(self, name: Iri, instances: Mapping[str, Instance]) -> Any:
        values = {key: self._simplified(name, item) for key, item in instances.items()}
        return {"dataset": values} if len(values) > 1 else next(iter(values.values()))

    def instance(self, name: Iri, instance: Instance, key: str) -> dict[str, Any]:
        """Render an instance of a dataset, normalized."""
        document = instance.copy()
        if not self._sys_attrs:
            for member in _SYSTEM_MEMBERS:
                document.pop(member, None)
        change = _CHANGES.get(document["type"])
        if change is not None:
            change(self, name, document)
        for member in _NAME_MEMBERS:
            if member in document:
                document[member] = self._names(document[member])
        if "attributes" in document:
            self._show_sub_attributes(document)
        if key != DEFAULT_INSTANCE:
            document["datasetId"] = key
        return document

    def _concise(self, name: Iri, instance: Instance, key: str) -> dict[str, Any]:
        document = self.instance(name, instance, key)
        if "objectList" in document:
            document["objectList"] = instance["objectList"]
        if document["type"] != "Property" or not is_geometry(document["value"]):
            del document["type"]  # it stays where the value alone would make it a GeoProperty
        return document

    def _simplified(self, name: Iri, instance: Instance) -> Any:
        kind = KINDS[instance["type"]]
        value = instance[kind.value]
        if kind.value in ("object", "objectList"):
            return value if self.inline is None else self._linked_or_uri(name, value)
        if kind.name == "LanguageProperty" and self._lang is not None:
            return languages.choose(value, self._lang)[1]
        if kind.name == "VocabProperty":
            value = self._names(value)
        return value if kind.simplified is None else {kind.simplified: value}

    def _show_sub_attributes(self, document: dict[str, Any]) -> None:
        inline, self.inline = self.inline, None  # joins are about an entity's own relationships
        for name, instances in document.pop("attributes").items():
            document[self._compact(name)] = self._show(self, name, instances)
        self.inline = inline

    def _names(self, names: str | list[str]) -> str | list[str]:
        if isinstance(names, str):
            return self._compact(names)
        return [self._compact(name) for name in names]

    def change_vocab(self, name: Iri, document: dict[str, Any]) -> None:
        del name
        document["vocab"] = self._names(document["vocab"])

    def change_language(self, name: Iri, document: dict[str, Any]) -> None:
        """Reduce a LanguageProperty to a Property in one language (clause 4.15)."""
        del name
        if self._lang is not None:
            lang, text = languages.choose(document.pop("languageMap"), self._lang)
            document.update(type="Property", value=text, lang=lang)

    def change_relationship(self, name: Iri, document: dict[str, Any]) -> None:
        if self.inline is not None:
            found = self._linked(name, document["object"])
            if found:
                document["entity"] = found if isinstance(document["object"], list) else found[0]

    def change_list(self, name: Iri, document: dict[str, Any]) -> None:
        targets = document["objectList"]
        document["objectList"] = [{"object": target} for target in targets]
        if self.inline is not None:
            found = self._linked(name, targets)
            if found:
                document["entityList"] = found

    def _linked(self, name: Iri, targets: str | list[str]) -> list[CompactedEntity]:
        uris = [targets] if isinstance(targets, str) else targets
        return [found for uri in uris if (found := self._inline(uri, name)) is not None]

    def _linked_or_uri(self, name: Iri, targets: str | list[str]) -> Any:
        """Put linked entities in place of their URIs, where there are such (clause 4.5.4)."""
        if isinstance(targets, str):
            return self._inline(targets, name) or targets
        return [self._inline(uri, name) or uri for uri in targets]

    def _inline(self, target: str, relationship: Iri) -> CompactedEntity | None:
        return None if self.inline is None else self.inline(Iri(target), relationship)


def _bare(document: dict[str, Any]) -> Any:
    """Reduce a concise instance to its value if it is read back the same (4.5.2.3, 4.7.3)."""
    if document.keys() != {"value"}:
        return document
    value = document["value"]
    if isinstance(value, dict):
        stands = is_geometry(value) or _NEVER_BARE.isdisjoint(value)
    else:
        stands = not isinstance(value, list) or not are_instances(value)
    return value if stands else document


_SHOW: Final = MappingProxyType(
    {
        "normalized": Renderer.normalized,
        "concise": Renderer.concise,
        "simplified": Renderer.simplified,
    }
)
_CHANGES: Final = MappingProxyType(
    {
        "VocabProperty": Renderer.change_vocab,
        "LanguageProperty": Renderer.change_language,
        "Relationship": Renderer.change_relationship,
        "ListRelationship": Renderer.change_list,
    }
)
"""What is done to the copy of an instance, beside what is done to all kinds."""
