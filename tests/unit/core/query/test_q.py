"""The parser of the Query Language and what it tells of a query."""

from __future__ import annotations

from typing import Any

import pytest

from broker.core.errors import BadRequestData, TooComplexQuery
from broker.core.query import q
from broker.core.query.nodes import (
    AllOf,
    AnyOf,
    Compares,
    Equals,
    Exists,
    Kind,
    Link,
    Literal,
    Path,
)
from tests.support.queries import expand, q_node, q_vectors, title

_VECTORS = q_vectors()


@pytest.mark.parametrize("row", _VECTORS["errors"], ids=title)
def test_a_malformed_query_is_refused_with_what_was_expected_and_where(row: dict[str, Any]) -> None:
    with pytest.raises(BadRequestData) as caught:
        q.parse(row["q"], expand)

    assert caught.value.detail.startswith("q: ")
    assert row["detail"] in caught.value.detail


@pytest.mark.parametrize("row", _VECTORS["queries"], ids=title)
def test_a_query_parses_to_a_value_that_equals_that_of_the_same_text(row: dict[str, Any]) -> None:
    first, second = q_node(row), q_node(row)

    assert first == second
    assert hash(first) == hash(second)


def test_and_binds_closer_than_or() -> None:
    a, b, c = (Exists(Path((f"ex:{name}",))) for name in "abc")

    assert q.parse("a|b;c", expand) == AnyOf((a, AllOf((b, c))))
    assert q.parse("(a|b);c", expand) == AllOf((AnyOf((a, b)), c))


def test_a_number_and_a_boolean_are_different_literals() -> None:
    assert q.parse("a==1", expand) != q.parse("a==true", expand)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("1.5", Kind.NUMBER),
        ('"1.5"', Kind.TEXT),
        ("true", Kind.BOOLEAN),
        ('"true"', Kind.TEXT),
        ("urn:ngsi-ld:A:1", Kind.TEXT),
        ("2026-05-01", Kind.DATE),
        ("12:00:00Z", Kind.TIME),
        ("2026-05-01T12:00:00Z", Kind.DATE_TIME),
        ('"2026-05-01T12:00:00Z"', Kind.DATE_TIME),
        ('"2026-05-01T12:00:00"', Kind.TEXT),
    ],
)
def test_a_literal_has_the_type_of_its_form(text: str, kind: Kind) -> None:
    node = q.parse(f"a=={text}", expand)

    assert isinstance(node, Equals)
    assert node.literals[0].kind is kind


def test_a_linked_path_keeps_its_types_and_the_rest_of_the_way() -> None:
    node = q.parse("a{B,C:d{e.f}}>1", expand)

    inner = Link(Path(("ex:e", "ex:f")))
    link = Link(Path(("ex:d",), link=inner), (expand("B"), expand("C")))
    assert node == Compares(Path(("ex:a",), link=link), ">", Literal(Kind.NUMBER, 1))


def test_a_name_may_have_a_prefix() -> None:
    assert q.parse("ex:speed", expand) == Exists(Path(("ex:speed",)))


def test_expand_values_expands_literals_of_the_named_attributes_only() -> None:
    node = q.parse("a==x;b==x", expand, expand_values=frozenset({"a"}))

    values = [leaf.literals[0].value for leaf in q.leaves(node) if isinstance(leaf, Equals)]
    assert values == ["ex:x", "x"]


def test_a_bare_pattern_ends_where_the_query_goes_on() -> None:
    node = q.parse(r"a~=^(x|y;)\)|b", expand)

    assert isinstance(node, AnyOf)
    assert [getattr(leaf, "pattern", None) for leaf in q.leaves(node)] == [r"^(x|y;)\)", None]


def test_only_attributes_of_the_entity_itself_are_listed() -> None:
    node = q.parse("a.b>1;c{d}==1;modifiedAt>2026-01-01T00:00:00Z", expand)

    assert q.attributes(node) == {"ex:a", "ex:c"}


def test_the_depth_is_that_of_the_longest_chain_of_relationships() -> None:
    assert q.linked_depth(q.parse("a;b==1", expand)) == 0
    assert q.linked_depth(q.parse("a{b};c{d{e}}", expand)) == 2


@pytest.mark.parametrize(
    "text",
    [
        "(" * 40 + "a" + ")" * 40,
        "|".join(["a"] * 300),
        "a" * 9000,
        "a{" * 40 + "a" + "}" * 40,
        "a~=" + "x" * 2000,
        "a~=(x?y?z?){900}",
    ],
    ids=["parentheses", "conditions", "length", "links", "pattern length", "pattern size"],
)
def test_a_query_larger_than_any_honest_one_is_too_complex(text: str) -> None:
    with pytest.raises(TooComplexQuery, match=r"more than|longer than|unfolds"):
        q.parse(text, expand)
