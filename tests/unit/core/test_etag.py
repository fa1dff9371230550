"""Entity tags and the headers that carry them."""

from __future__ import annotations

import pytest

from broker.core.errors import InvalidRequest
from broker.core.etag import entity_tag, parse_tags
from broker.core.identifiers import ExpandedEntity


def test_states_that_differ_have_tags_that_differ() -> None:
    first = ExpandedEntity({"id": "urn:x:1", "modifiedAt": "2026-05-01T08:00:00.000Z"})
    second = ExpandedEntity({**first, "modifiedAt": "2026-05-01T08:00:00.001Z"})

    assert entity_tag(first) == entity_tag(ExpandedEntity(dict(first)))
    assert entity_tag(first) != entity_tag(second)


@pytest.mark.parametrize(
    ("header", "tags"),
    [
        ('"a"', {'"a"'}),
        ('"a", W/"b" ,"c"', {'"a"', '"b"', '"c"'}),
        ("*", None),
    ],
)
def test_tags_are_read_from_a_header(header: str, tags: set[str] | None) -> None:
    assert parse_tags(header, "If-Match") == tags


@pytest.mark.parametrize("header", ["a", '"a" "b"', '"a'])
def test_what_is_no_tag_is_refused_by_the_name_of_the_header(header: str) -> None:
    with pytest.raises(InvalidRequest, match="If-Match"):
        parse_tags(header, "If-Match")
