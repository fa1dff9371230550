"""The projection language (clauses 4.21, 5.7.1.4)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core.errors import BadRequestData
from broker.core.identifiers import Iri
from broker.core.ld_context import CORE, build
from broker.core.projection import MAX_LENGTH, Projection, parse

VOCAB = "https://uri.etsi.org/ngsi-ld/default-context/"
A, B, C = (Iri(VOCAB + name) for name in "abc")


def test_without_parameters_there_is_no_projection() -> None:
    assert parse(CORE) is None


@pytest.mark.parametrize(
    ("text", "members"),
    [
        pytest.param("a", {A: None}, id="one"),
        pytest.param("id,a|type", {"id": None, A: None, "type": None}, id="both separators"),
        pytest.param(VOCAB + "a", {A: None}, id="IRI"),
        pytest.param("a{b,c},b", {A: Projection(pick={B: None, C: None}), B: None}, id="braces"),
        pytest.param(
            "a{b{id}}", {A: Projection(pick={B: Projection(pick={"id": None})})}, id="two"
        ),
        pytest.param("a{b},a{c}", {A: Projection(pick={B: None, C: None})}, id="listed twice"),
        pytest.param("a{b},a", {A: None}, id="once with and once without braces"),
        pytest.param("createdAt", {"createdAt": None}, id="time"),
    ],
)
def test_pick_is_parsed(text: str, members: dict[str, Projection | None]) -> None:
    assert parse(CORE, pick=text, join_level=2) == Projection(pick=members)


def test_omit_is_parsed_with_omissions_in_its_braces() -> None:
    parsed = parse(CORE, omit="a{b},a{c},type", join_level=1)

    assert parsed == Projection(omit={A: Projection(omit={B: None, C: None}), "type": None})


def test_attrs_are_names_of_attributes() -> None:
    assert parse(CORE, attrs="a,b") == Projection(attrs=frozenset({A, B}))


def test_arrays_of_texts_are_taken_like_lists_in_a_text() -> None:
    assert parse(CORE, pick=["a", "b,c"]) == parse(CORE, pick="a,b|c")


def test_names_are_expanded_with_the_context() -> None:
    ld_context = build({"a": "https://example.org/a"})

    assert parse(ld_context, pick="a") == Projection(pick={"https://example.org/a": None})


def test_equal_projections_are_one_key() -> None:
    one, other = parse(CORE, pick="a,b{c}", join_level=1), parse(CORE, pick="b{c}|a", join_level=1)

    assert one == other
    assert len({one, other}) == 1
    assert one != parse(CORE, pick="a")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        pytest.param({"pick": "a", "omit": "a"}, "pick, omit: a is in both", id="same member"),
        pytest.param({"pick": "id", "omit": "id"}, "pick, omit: id is in both", id="same id"),
        pytest.param(
            {"pick": "a{b}", "omit": "a{b}"}, "pick, omit: b is in both", id="same in braces"
        ),
        pytest.param({"pick": "a{b}", "omit": "a"}, "pick, omit: a is in both", id="whole omitted"),
        pytest.param({"pick": "a", "attrs": "b"}, "attrs: not together", id="attrs with pick"),
        pytest.param({"omit": "a", "attrs": "b"}, "attrs: not together", id="attrs with omit"),
        pytest.param({"attrs": "a,type"}, "attrs: type is no attribute", id="6.5.3.1 attrs type"),
        pytest.param({"attrs": "a{b}"}, "attrs: braces at position 1 need join", id="attrs braces"),
        pytest.param({"pick": "id;name"}, "pick: 'id;name' at position 0", id="semicolon"),
        pytest.param({"pick": "id,a{b"}, "pick: expected } at position 6, got the end", id="open"),
        pytest.param({"pick": "id,a{{b}"}, "pick: expected a name at position 5", id="double"),
        pytest.param({"pick": "id,,b"}, "pick: expected a name at position 3", id="separators"),
        pytest.param({"pick": "a||b"}, "pick: expected a name at position 2", id="pipes"),
        pytest.param({"pick": "a{,b}"}, "pick: expected a name at position 2", id="no first"),
        pytest.param({"pick": "a{}"}, "pick: expected a name at position 2", id="nothing inside"),
        pytest.param({"pick": "a}"}, "pick: expected , or | at position 1, got '}'", id="closed"),
        pytest.param({"pick": "a{b}c"}, "pick: expected , or | at position 4", id="no separator"),
        pytest.param({"pick": ""}, "pick: expected a name at position 0, got the end", id="empty"),
        pytest.param({"pick": "a,"}, "pick: expected a name at position 2", id="at the end"),
        pytest.param({"pick": "9a"}, "pick: '9a' at position 0 is no name", id="name"),
        pytest.param({"pick": []}, "pick: expected a name", id="empty array"),
        pytest.param({"pick": "a" * (MAX_LENGTH + 1)}, "pick: longer than", id="long"),
    ],
)
def test_a_wrong_projection_is_refused_at_its_position(asked: dict[str, str], message: str) -> None:
    with pytest.raises(BadRequestData) as error:
        parse(CORE, join_level=asked.get("attrs") is None, **asked)

    assert error.value.detail.startswith(message)


@pytest.mark.parametrize("parameter", ["pick", "omit"])
@pytest.mark.parametrize(
    ("text", "join_level"),
    [("a{b}", 0), ("a{b{c}}", 1), ("a" + "{a" * 11 + "}" * 11, 10)],
    ids=["no join", "level 1", "level 10"],
)
def test_braces_deeper_than_the_join_are_refused(
    parameter: str, text: str, join_level: int
) -> None:
    with pytest.raises(BadRequestData, match="braces at position"):
        parse(CORE, join_level=join_level, **{parameter: text})


def parsed_or_refused(text: str) -> Projection | str | None:
    try:
        return parse(CORE, pick=text, join_level=3)
    except BadRequestData as error:
        return error.detail


@settings(deadline=None)
@given(st.text(alphabet="ab,|{}; :", max_size=30))
def test_every_text_is_parsed_or_refused_with_a_reason(text: str) -> None:
    outcome = parsed_or_refused(text)

    assert isinstance(outcome, Projection) or str(outcome).startswith("pick: ")
