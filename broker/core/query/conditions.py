"""The conditions of the Query Language as tests on one target (clause 4.9).

A target is the type of an attribute, "Property" for plain members, and its value. Data types that
differ are unequal and have no order; a pattern fits texts only; relationships are equal or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from broker.core.query.nodes import Absent, Compares, Equals, Exists, Fits, Kind, Literal, QLeaf
from broker.core.query.patterns import finder
from broker.core.query.values import RELATIONSHIPS, temporal

Test = Callable[[str, Any], bool]
"""Tells whether a target (attribute type, value) passes."""

_Scalar = Callable[[Any], bool]


def test_of(leaf: QLeaf) -> Test:
    """Compile a condition to a test; of an absence, the test for the presence."""
    if isinstance(leaf, Exists | Absent):
        return lambda _kind, _value: True
    if isinstance(leaf, Compares):
        return _ordered(_order_of(leaf.operator, leaf.literal))
    if isinstance(leaf, Fits):
        return _fitting(leaf)
    equal = _among(_equalities(leaf)) if leaf.range is None else _in_range(leaf.range)
    if leaf.negated:
        return lambda kind, value: not equal(kind, value)
    return equal


def inside(trailing: tuple[str, ...], test: Test) -> Test:
    """Apply a test to what a trailing path leads to inside a value, or to texts of a language."""

    def descend(kind: str, value: Any) -> bool:
        if kind == "LanguageProperty":
            if len(trailing) > 1:
                return False
            if trailing[0] == "*":
                return test(kind, value)
            return trailing[0] in value and test(kind, {trailing[0]: value[trailing[0]]})
        if kind in RELATIONSHIPS:
            return False
        for member in trailing:
            if value.__class__ is not dict or "@value" in value or member not in value:
                return False
            value = value[member]
        return test("Property", value)

    return descend


def _among(equal: _Scalar) -> Test:
    """Return whether a value, or one element of an array, is equal."""

    def test(kind: str, value: Any) -> bool:
        container = value.__class__
        if container is list:
            return any(equal(_plain(element)) for element in value)
        if container is dict:
            if kind == "LanguageProperty":
                return any(equal(text) for text in _texts(value))
            return "@value" in value and equal(value["@value"])
        return equal(value)

    return test


def _ordered(before: _Scalar) -> Test:
    """Return whether a value passes; arrays and relationships have no order."""

    def test(kind: str, value: Any) -> bool:
        container = value.__class__
        if container is list or kind in RELATIONSHIPS:
            return False
        if container is dict:
            if kind == "LanguageProperty":
                return any(before(text) for text in _texts(value))
            return "@value" in value and before(value["@value"])
        return before(value)

    return test


def _fitting(leaf: Fits) -> Test:
    find = finder(leaf.pattern, "q")
    negated = leaf.negated

    def test(kind: str, value: Any) -> bool:
        if kind in RELATIONSHIPS:
            return False
        if kind == "LanguageProperty":
            return any(find(text) for text in _texts(value)) is not negated
        value = _plain(value)
        return isinstance(value, str) and bool(find(value)) is not negated

    return test


def _plain(value: Any) -> Any:
    return value["@value"] if value.__class__ is dict and "@value" in value else value


def _texts(language_map: dict[str, Any]) -> Iterable[str]:
    for value in language_map.values():
        if isinstance(value, list):
            yield from value
        else:
            yield value


def _in_range(bounds: tuple[Literal, Literal]) -> Test:
    """Return whether a value, or one element of an array, is in a range; URIs are in none."""
    lowest, highest = _order_of(">=", bounds[0]), _order_of("<=", bounds[1])
    inside = _among(lambda value: lowest(value) and highest(value))
    return lambda kind, value: kind not in RELATIONSHIPS and inside(kind, value)


def _equalities(leaf: Equals) -> _Scalar:
    tests = [_equal_to(literal) for literal in leaf.literals]
    if len(tests) == 1:
        return tests[0]
    return lambda value: any(test(value) for test in tests)


def _equal_to(literal: Literal) -> _Scalar:
    wanted = literal.value
    if literal.kind is Kind.BOOLEAN:
        return lambda value: value is wanted
    if literal.kind is Kind.NUMBER:
        return lambda value: value == wanted and value.__class__ is not bool
    if literal.kind is Kind.TEXT:
        return lambda value: bool(value == wanted)
    instant = (literal.kind, wanted)
    return lambda value: value.__class__ is str and temporal(value) == instant


def _order_of(operator: str, literal: Literal) -> _Scalar:
    if literal.kind is Kind.NUMBER:
        return _NUMBERS[operator](literal.value)
    if literal.kind is Kind.TEXT:
        return _TEXTS[operator](literal.value)
    kind, instants = literal.kind, _NUMBERS[operator](literal.value)

    def in_time(value: Any) -> bool:
        time = temporal(value) if value.__class__ is str else None
        return time is not None and time.kind is kind and instants(time.microseconds)

    return in_time


def _is_number(value: Any) -> bool:
    return value.__class__ is float or value.__class__ is int


def _is_text(value: Any) -> bool:
    return value.__class__ is str and temporal(value) is None


_NUMBERS: dict[str, Callable[[Any], _Scalar]] = {
    ">": lambda bound: lambda value: _is_number(value) and value > bound,
    ">=": lambda bound: lambda value: _is_number(value) and value >= bound,
    "<": lambda bound: lambda value: _is_number(value) and value < bound,
    "<=": lambda bound: lambda value: _is_number(value) and value <= bound,
}

_TEXTS: dict[str, Callable[[Any], _Scalar]] = {
    ">": lambda bound: lambda value: _is_text(value) and value > bound,
    ">=": lambda bound: lambda value: _is_text(value) and value >= bound,
    "<": lambda bound: lambda value: _is_text(value) and value < bound,
    "<=": lambda bound: lambda value: _is_text(value) and value <= bound,
}
