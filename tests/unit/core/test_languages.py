"""The language filter (clause 4.15)."""

from __future__ import annotations

import pytest

from broker.core.languages import choose

PLACE = {"fr": "Grand Place", "nl": "Grote Markt", "en-US": "Main Square"}


@pytest.mark.parametrize(
    ("preference", "tag"),
    [
        pytest.param("nl", "nl", id="exact"),
        pytest.param("FR", "fr", id="RFC 5646 case"),
        pytest.param("nl-BE", "nl", id="RFC 4647 a longer range"),
        pytest.param("nl-BE-x-foo", "nl", id="RFC 4647 a much longer range"),
        pytest.param("en", "en-US", id="a shorter range"),
        pytest.param("en-GB", "fr", id="another region is no match"),
        pytest.param("fr;q=0.2,nl;q=0.9", "nl", id="weights before places"),
        pytest.param("de, nl ; q=0.5", "nl", id="blanks"),
        pytest.param("fr-CH,fr;q=0.9,en;q=0.8,*;q=0.5", "fr", id="4.15 example 4"),
        pytest.param("nl,fr", "nl", id="equal weights in order"),
        pytest.param("*", "fr", id="4.15 example 3"),
        pytest.param("*,nl;q=0.1", "fr", id="any before others"),
        pytest.param("fr;q=0,nl", "nl", id="weight 0 is no"),
        pytest.param("fr;q=x,nl;q=0.1", "nl", id="a malformed weight is none"),
        pytest.param("pt", "fr", id="none fits"),
        pytest.param("", "fr", id="nothing asked for"),
    ],
)
def test_the_best_language_is_chosen(preference: str, tag: str) -> None:
    assert choose(PLACE, preference) == (tag, PLACE[tag])


def test_the_default_language_is_taken_when_none_fits() -> None:
    assert choose({"fr": "x", "@none": "y"}, "pt") == ("@none", "y")


def test_texts_in_one_language_are_given_together() -> None:
    assert choose({"fr": ["x", "y"]}, "fr") == ("fr", ["x", "y"])
