"""Decide whether an entity matches a query: the arbiter over what a store may leave open.

A query is compiled once to closures over its literals; after that a decision costs a few look-ups.
What a condition is tested on is a target: the type of the attribute and its value (clause 4.9).
Several instances of an attribute are alternatives, the elements of one array belong together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from broker.core.identifiers import DEFAULT_INSTANCE, ExpandedEntity, Iri
from broker.core.query import conditions, geo
from broker.core.query.conditions import Test
from broker.core.query.entity_query import EntityQuery, EntitySelector
from broker.core.query.nodes import (
    Absent,
    AllOf,
    AnyOf,
    GeoQuery,
    Path,
    QNode,
    ScopeIs,
    ScopeNode,
    TypeIs,
    TypeNode,
)
from broker.core.query.patterns import finder
from broker.core.query.values import RELATIONSHIPS
from broker.core.vocabulary import VALUE_MEMBERS

Linked = Callable[[Iri], ExpandedEntity | None]
"""Finds the entity that a relationship points to; None if it is not here."""

Predicate = Callable[[ExpandedEntity], bool]

_Inner = Callable[[Mapping[str, Any]], bool]


def matches(query: EntityQuery, entity: ExpandedEntity, *, linked: Linked | None = None) -> bool:
    """Tell whether an entity matches; without `linked`, no relationship leads anywhere."""
    return (_compiled(query) if linked is None else compile(query, linked=linked))(entity)


def compile(query: EntityQuery, *, linked: Linked | None = None) -> Predicate:  # noqa: A001 - read as evaluate.compile
    """Compile a query to a function that decides on an entity."""
    parts: list[Predicate] = []
    if query.selectors:
        parts.append(_any([_selector(selector) for selector in query.selectors]))
    if query.scope is not None:
        parts.append(_scoped(query.scope))
    if query.attrs:
        parts.append(_has_any(query.attrs, query.dataset_ids))
    if query.q is not None:
        parts.append(_condition(query.q, query.dataset_ids, linked))
    if query.geo is not None:
        parts.append(_placed(query.geo, query.dataset_ids))
    return _all(parts)


_compiled = lru_cache(maxsize=1024)(compile)


def of_types(types: TypeNode, entity: ExpandedEntity) -> bool:
    """Tell whether an entity is of the types selected (clause 4.17)."""
    return has_types(types, entity["type"])


def has_types(node: TypeNode, types: Iterable[str]) -> bool:
    """Tell whether a set of types is one that the selection means."""
    if isinstance(node, TypeIs):
        return node.type in types
    if isinstance(node, AllOf):
        return all(has_types(operand, types) for operand in node.operands)
    return any(has_types(operand, types) for operand in node.operands)


def _all(parts: list[Predicate]) -> Predicate:
    if not parts:
        return lambda _entity: True
    if len(parts) == 1:
        return parts[0]
    if len(parts) == 2:  # noqa: PLR2004 - the most frequent number of conditions, without a loop
        first, second = parts
        return lambda entity: first(entity) and second(entity)
    return lambda entity: all(part(entity) for part in parts)


def _any(parts: list[Predicate]) -> Predicate:
    if len(parts) == 1:
        return parts[0]
    return lambda entity: any(part(entity) for part in parts)


def _selector(selector: EntitySelector) -> Predicate:
    parts: list[Predicate] = []
    if selector.types is not None:
        parts.append(_typed(selector.types))
    if selector.ids:
        ids = frozenset(selector.ids)
        parts.append(lambda entity: entity["id"] in ids)
    elif selector.id_pattern is not None:
        find = finder(selector.id_pattern, "idPattern")
        parts.append(lambda entity: bool(find(entity["id"])))
    return _all(parts)


def _typed(node: TypeNode) -> Predicate:
    if isinstance(node, TypeIs):
        wanted = node.type
        return lambda entity: wanted in entity["type"]
    return lambda entity: has_types(node, entity["type"])


def _scoped(node: ScopeNode) -> Predicate:
    def test(entity: ExpandedEntity) -> bool:
        scopes = entity.get("scope")
        if not scopes:
            return False
        return in_scope(node, [scopes] if isinstance(scopes, str) else scopes)

    return test


def in_scope(node: ScopeNode, scopes: Iterable[str]) -> bool:
    """Tell whether one of the scopes, or several together, are what the query asks for."""
    if isinstance(node, ScopeIs):
        return any(_scope_fits(node, scope) for scope in scopes)
    if isinstance(node, AllOf):
        return all(in_scope(operand, scopes) for operand in node.operands)
    return any(in_scope(operand, scopes) for operand in node.operands)


def _scope_fits(node: ScopeIs, scope: str) -> bool:
    levels = scope.removeprefix("/").split("/")
    wanted = node.levels
    if len(levels) < len(wanted) or (len(levels) > len(wanted) and not node.subtree):
        return False
    return all(want in ("+", level) for want, level in zip(wanted, levels, strict=False))


def _has_any(attrs: frozenset[Iri], dataset_ids: frozenset[str]) -> Predicate:
    if not dataset_ids:
        return lambda entity: not attrs.isdisjoint(entity["attributes"])
    return lambda entity: any(
        not dataset_ids.isdisjoint(instances)
        for name, instances in entity["attributes"].items()
        if name in attrs
    )


def _placed(query: GeoQuery, dataset_ids: frozenset[str]) -> Predicate:
    relation = geo.compile_relation(query)
    return _attribute(query.geoproperty, lambda _kind, value: relation(value), dataset_ids)


def _condition(node: QNode, dataset_ids: frozenset[str], linked: Linked | None) -> Predicate:
    if isinstance(node, AllOf):
        return _all([_condition(operand, dataset_ids, linked) for operand in node.operands])
    if isinstance(node, AnyOf):
        return _any([_condition(operand, dataset_ids, linked) for operand in node.operands])
    found = _at(node.path, conditions.test_of(node), dataset_ids, linked)
    if isinstance(node, Absent):
        return lambda entity: not found(entity)
    return found


def _at(path: Path, test: Test, dataset_ids: frozenset[str], linked: Linked | None) -> Predicate:
    """Return whether one of the targets at a path passes a test."""
    if path.link is not None:
        test = _linked_test(path, test, linked)
    elif path.trailing:
        test = conditions.inside(path.trailing, test)
    first, *others = path.names
    if not others:
        return (
            _entity_member(first, test)
            if ":" not in first
            else _attribute(first, test, dataset_ids)
        )
    inner = _sub(others, test)

    def through(entity: Mapping[str, Any]) -> bool:
        instances = entity["attributes"].get(first)
        if instances is None:
            return False
        return any(
            inner(key, instance)
            for key, instance in instances.items()
            if not dataset_ids or key in dataset_ids
        )

    return through


def _attribute(name: str, test: Test, dataset_ids: frozenset[str]) -> Predicate:
    def any_instance(entity: Mapping[str, Any]) -> bool:
        instances = entity["attributes"].get(name)
        if instances is None:
            return False
        for instance in instances.values():
            kind = instance["type"]
            if test(kind, instance[VALUE_MEMBERS[kind]]):
                return True
        return False

    def chosen_instance(entity: Mapping[str, Any]) -> bool:
        instances = entity["attributes"].get(name)
        if instances is None:
            return False
        for key in dataset_ids:
            instance = instances.get(key)
            if instance is not None and test(
                instance["type"], instance[VALUE_MEMBERS[instance["type"]]]
            ):
                return True
        return False

    return chosen_instance if dataset_ids else any_instance


def _entity_member(name: str, test: Test) -> Predicate:
    return lambda entity: name in entity and test("Property", entity[name])


def _sub(names: list[str], test: Test) -> Callable[[str, Mapping[str, Any]], bool]:
    """Return whether something below an instance, which is given with its datasetId, passes."""
    name, *others = names
    if ":" in name:
        below = _below(name, others, test)
        return lambda _key, instance: "attributes" in instance and below(instance["attributes"])
    if others:
        return lambda _key, _instance: False
    if name == "datasetId":
        return lambda key, _instance: key != DEFAULT_INSTANCE and test("Property", key)
    return lambda _key, instance: name in instance and test("Property", instance[name])


def _below(name: str, others: list[str], test: Test) -> _Inner:
    inner = _sub(others, test) if others else None

    def any_instance(attributes: Mapping[str, Any]) -> bool:
        for key, instance in attributes.get(name, {}).items():
            kind = instance["type"]
            if inner(key, instance) if inner else test(kind, instance[VALUE_MEMBERS[kind]]):
                return True
        return False

    return any_instance


def _linked_test(path: Path, test: Test, linked: Linked | None) -> Test:
    """Return whether a target is a relationship to an entity in which the rest of a path passes."""
    link = path.link
    if link is None or linked is None:
        return lambda _kind, _value: False
    inner = _at(link.path, test, frozenset(), linked)
    types = frozenset(link.types)

    def follow(kind: str, value: Any) -> bool:
        if kind not in RELATIONSHIPS:
            return False
        for target in value if isinstance(value, list) else (value,):
            entity = linked(target)
            if entity is None or (types and types.isdisjoint(entity["type"])):
                continue
            if inner(entity):
                return True
        return False

    return follow
