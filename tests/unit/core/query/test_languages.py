"""The type selection and scope languages: their trees and their errors."""

from __future__ import annotations

import pytest

from broker.core.errors import BadRequestData
from broker.core.query import scope, types
from broker.core.query.nodes import AllOf, AnyOf, ScopeIs, TypeIs
from tests.support.queries import expand


def test_a_type_may_be_a_name_a_prefixed_name_or_a_uri() -> None:
    found = types.parse("A,ex:B,https://example.org/C#D", expand)

    names = ("ex:A", "ex:B", "https://example.org/C#D")
    assert found == AnyOf(tuple(TypeIs(expand(name)) for name in names))


def test_a_star_means_every_type() -> None:
    assert types.parse("*", expand) is None


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("", "type: expected an entity type at position 1, got the end"),
        ("A,", "type: expected an entity type at position 3, got the end"),
        ("(A;B", "type: expected ')' at position 5, got the end"),
        ("A B", "type: expected ',', '|', ';' or the end at position 2, got ' B'"),
        ("A,9", "type: expected a type name or a URI at position 3, got '9'"),
        ("A-B", "type: expected a type name or a URI at position 1, got 'A-B'"),
        ("*,A", "type: expected a type name or a URI at position 1, got '*,A'"),
    ],
)
def test_a_malformed_type_selection_says_where(text: str, detail: str) -> None:
    with pytest.raises(BadRequestData) as caught:
        types.parse(text, expand)

    assert caught.value.detail == detail


@pytest.mark.parametrize("text", ["(/A/#;/B)|/C/+", "(A/#;B),C/+"])
def test_scopes_are_joined_like_types_with_or_without_the_first_slash(text: str) -> None:
    found = scope.parse(text)

    both = AllOf((ScopeIs(("A",), subtree=True), ScopeIs(("B",))))
    assert found == AnyOf((both, ScopeIs(("C", "+"))))


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("#", "scopeQ: expected a scope level, '+' or '#' at position 1, got '#'"),
        ("/A/", "scopeQ: expected a scope level, '+' or '#' at position 4, got the end"),
        ("/A//B", "scopeQ: expected a scope level, '+' or '#' at position 4, got '/B'"),
        ("/#/A", "scopeQ: expected '/', ',', '|', ';' or the end at position 3, got '/A'"),
        ("/A+", "scopeQ: expected '/', ',', '|', ';' or the end at position 3, got '+'"),
        ("/1", "scopeQ: expected a scope level, '+' or '#' at position 2, got '1'"),
    ],
)
def test_a_malformed_scope_query_says_where(text: str, detail: str) -> None:
    with pytest.raises(BadRequestData) as caught:
        scope.parse(text)

    assert caught.value.detail == detail
