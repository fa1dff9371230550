"""Data types of values, and patterns."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.errors import BadRequestData, TooComplexQuery
from broker.core.query.nodes import Kind
from broker.core.query.patterns import finder, literal_prefix
from broker.core.query.values import Rank, Temporal, ranked, temporal

_DAY = 86_400_000_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-02", Temporal(Kind.DATE, _DAY)),
        ("1970-01-02T00:00:01Z", Temporal(Kind.DATE_TIME, _DAY + 1_000_000)),
        ("1970-01-01T00:00:00.5Z", Temporal(Kind.DATE_TIME, 500_000)),
        ("1970-01-01T00:00:00,500000Z", Temporal(Kind.DATE_TIME, 500_000)),
        ("1970-01-01T00:00:00.123456789Z", Temporal(Kind.DATE_TIME, 123_456)),
        ("1969-12-31T23:59:59Z", Temporal(Kind.DATE_TIME, -1_000_000)),
        ("00:00:01.5Z", Temporal(Kind.TIME, 1_500_000)),
        ("1970-01-01T00:00:00", None),
        ("1970-01-01T00:00:00+00:00", None),
        ("1970-01-01T24:00:00Z", None),
        ("1970-02-30", None),
        ("1970-01-01T", None),
        ("T00:00:00Z", None),
        ("00:00Z", None),
        ("", None),
        ("0" * 40, None),
    ],
)
def test_a_text_in_the_form_of_a_time_is_one(text: str, expected: Temporal | None) -> None:
    assert temporal(text) == expected


@pytest.mark.parametrize(
    ("value", "rank"),
    [
        (1, Rank.NUMBER),
        (1.5, Rank.NUMBER),
        ("a", Rank.TEXT),
        ({"a": 1}, Rank.OBJECT),
        ([1], Rank.ARRAY),
        (True, Rank.BOOLEAN),
        ("12:00:00Z", Rank.TIME),
        ("2026-05-01", Rank.DATE),
        ("2026-05-01T12:00:00Z", Rank.DATE_TIME),
        ({"@type": "DateTime", "@value": "2026-05-01T12:00:00Z"}, Rank.DATE_TIME),
        ({"@type": "x", "@value": 5}, Rank.NUMBER),
        (None, Rank.NULL),
    ],
)
def test_a_value_has_the_rank_of_its_type(value: Any, rank: Rank) -> None:
    assert ranked(value).rank is rank


@pytest.mark.parametrize(
    ("pattern", "prefix"),
    [
        ("^urn:ngsi-ld:A:.*", "urn:ngsi-ld:A:"),
        (r"^a\.b+", "a.b"),
        ("^abc?", "ab"),
        ("^abc{2}", "ab"),
        ("^a|b", ""),
        ("abc", ""),
        ("^(a)", ""),
        (r"^\da", ""),
        ("^", ""),
    ],
)
def test_the_prefix_of_a_pattern_is_what_all_it_fits_starts_with(pattern: str, prefix: str) -> None:
    assert literal_prefix(pattern) == prefix


_PARTS = st.sampled_from(["^", "$", ".*", "a", "b", r"\.", "\n", ".", "a?", "(a|b)", "[ab]", "x*"])


@given(
    st.lists(_PARTS, max_size=5).map("".join),
    st.text(alphabet="ab.x\n", max_size=8),
)
def test_a_pattern_finds_what_the_engine_of_python_finds(pattern: str, text: str) -> None:
    # Python's `$` also stands before a last newline, RE2's does not.
    expected = re.search(pattern.replace("$", r"\Z"), text) is not None

    assert bool(finder(pattern, "q")(text)) is expected


@pytest.mark.parametrize("start", ["", "^", ".*"])
@pytest.mark.parametrize("literal", ["", "ab", r"a\.b", "a\nb"])
@pytest.mark.parametrize("end", ["", "$", ".*", ".*$"])
@pytest.mark.parametrize(
    "text", ["", "ab", "xab", "abx", "a.b", "xa.bx", "a\nb", "ab\n", "\nab", "ab\nab", "a\nbx\n"]
)
def test_a_plain_text_in_a_pattern_is_found_as_by_the_engine_of_python(
    start: str, literal: str, end: str, text: str
) -> None:
    pattern = start + literal + end
    expected = re.search(pattern.replace("$", r"\Z"), text) is not None

    assert bool(finder(pattern, "q")(text)) is expected


@given(st.lists(_PARTS, max_size=5).map("".join), st.text(alphabet="ab.x", max_size=8))
def test_a_text_that_fits_starts_with_the_prefix(pattern: str, text: str) -> None:
    fits = bool(finder(pattern, "q")(text))

    assert text.startswith(literal_prefix(pattern)) or not fits


# Patterns on which a backtracking engine takes exponential or high polynomial time. RE2 does not
# backtrack: what it accepts takes time linear in the text, and what it cannot do so it refuses.
_EVIL = [
    r"^(a+)+$",
    r"^([a-zA-Z]+)*$",
    r"^(a|aa)+$",
    r"^(a|a?)+$",
    r"^(.*a){20}$",
    r"^(\w+\s?)*$",
    r"^(([a-z])+.)+[A-Z]([a-z])+$",
    r"(x+x+)+y",
    r"^(a?){50}a{50}$",
]


@pytest.mark.parametrize("pattern", _EVIL)
def test_a_pattern_that_stalls_other_engines_is_answered_on_a_long_text(pattern: str) -> None:
    find = finder(pattern, "q")

    assert not find("a" * 100_000 + "!")


@pytest.mark.parametrize("pattern", [r"^(a+)\1$", r"(?=a)a", r"(?<!a)b", r"(?P<n>a)(?P=n)"])
def test_a_pattern_that_needs_backtracking_is_refused(pattern: str) -> None:
    with pytest.raises(BadRequestData, match="is no regular expression"):
        finder(pattern, "q")


@pytest.mark.parametrize(
    "pattern",
    ["(x?y?z?){900}", "a" * 1001],
    ids=["instructions", "length"],
)
def test_a_pattern_that_unfolds_to_too_much_is_too_complex(pattern: str) -> None:
    with pytest.raises(TooComplexQuery):
        finder(pattern, "idPattern")
