"""The ordering language, and collations."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.errors import BadRequestData
from broker.core.query import collation, ordering
from broker.core.query.nodes import Geometry, OrderBy, Path
from tests.support.queries import entity, expand, q_entities

_MADRID = Geometry("Point", (-3.7, 40.4))


def _sorted(text: str, **options: Any) -> list[str]:
    named = q_entities()
    names = {one["id"]: name for name, one in named.items()}
    found = ordering.sort(named.values(), ordering.parse(text, expand, **options))
    return [names[one["id"]] for one in found]


def test_terms_have_a_path_and_a_direction() -> None:
    found = ordering.parse("name,age;desc,address[city],name.observedAt;asc", expand)

    assert found == (
        OrderBy(Path(("ex:name",))),
        OrderBy(Path(("ex:age",)), descending=True),
        OrderBy(Path(("ex:address",), ("city",))),
        OrderBy(Path(("ex:name", "observedAt"))),
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("brandName", ["car", "bus", "station", "park"]),
        ("brandName;desc", ["bus", "car", "station", "park"]),
        ("id", ["bus", "car", "park", "station"]),
        ("type;desc,id", ["station", "car", "bus", "park"]),
        ("speed", ["bus", "car", "park", "station"]),
        ("speed;desc", ["park", "car", "bus", "station"]),
        ("speed.observedAt;desc", ["bus", "car", "station", "park"]),
        ("address", ["park", "station", "car", "bus"]),
        ("address[city]", ["station", "car", "bus", "park"]),
        ("scope", ["car", "bus", "station", "park"]),
        ("sensor.accuracy,id;desc", ["station", "park", "car", "bus"]),
        ("nothing", ["car", "bus", "station", "park"]),
        ("route", ["bus", "car", "station", "park"]),
        ("isParked", ["car", "bus", "station", "park"]),
        ("label[en]", ["car", "bus", "station", "park"]),
        ("speed.unitCode", ["car", "bus", "station", "park"]),
        ("speed.datasetId", ["car", "bus", "station", "park"]),
    ],
)
def test_entities_are_sorted_with_what_they_lack_last(text: str, expected: list[str]) -> None:
    assert _sorted(text) == expected


def test_values_of_mixed_types_sort_by_type_first() -> None:
    values: list[Any] = [
        3,
        "a",
        {"b": 1},
        [1],
        False,
        "10:00:00Z",
        "2026-05-01",
        "2026-05-01T00:00:00Z",
    ]
    named = [entity(str(place), {"v": {"value": value}}) for place, value in enumerate(values)]

    found = ordering.sort([*reversed(named), entity("none")], ordering.parse("v", expand))

    assert [one["id"] for one in found] == [one["id"] for one in [*named, entity("none")]]


def test_geometries_sort_by_distance_and_stand_before_everything_else() -> None:
    assert _sorted("location;dist-asc", distance_from=_MADRID)[:2] == ["car", "park"]
    assert _sorted("location;dist-desc", distance_from=_MADRID)[:2] == ["park", "car"]
    assert _sorted("address;dist-asc", distance_from=_MADRID)[:2] == ["park", "station"]


def test_only_instances_of_the_chosen_datasets_are_sorted_by() -> None:
    named = q_entities()
    order = ordering.parse("speed;desc", expand)

    found = ordering.sort(
        [named["car"], named["bus"]], order, frozenset({"urn:ngsi-ld:Dataset:gps"})
    )

    assert [one["id"] for one in found] == ["urn:ngsi-ld:bus", "urn:ngsi-ld:car"]


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("", "orderBy: expected an attribute name at position 1, got the end"),
        ("name,", "orderBy: expected an attribute name at position 6, got the end"),
        ("name;up", "orderBy: expected asc, desc, dist-asc or dist-desc at position 6, got 'up'"),
        ("name;ascending", "orderBy: expected ';', ',' or the end at position 9, got 'ending'"),
        ("name desc", "orderBy: expected ';', ',' or the end at position 5, got ' desc'"),
        ("owner{name}", "orderBy: expected an attribute of the entity itself at position 12"),
        ("location;dist-asc", "orderBy: an order by distance needs the coordinates"),
        (",".join("abcdefghijklmnopqrst"), "orderBy: more than 16 terms"),
    ],
)
def test_a_malformed_order_says_where(text: str, detail: str) -> None:
    with pytest.raises(BadRequestData) as caught:
        ordering.parse(text, expand)

    assert caught.value.detail.startswith(detail)


@pytest.mark.parametrize(
    ("tag", "texts"),
    [
        ("und", [" y", "_x", "10", "9", "a", "A", "á", "ae", "æ", "af", "Ähre", "b", "B", "Zebra"]),
        ("und-x-icu", ["Straße", "Strate"]),
        ("en-US", ["a", "A", "b"]),
        ("und-u-kf-upper", ["A", "a", "B", "b"]),
        ("und-u-kn-true", ["a9", "a10", "a010x", "b1"]),
        ("und-u-ks-identic", ["a", "A", "b"]),
        ("sv", ["a", "o", "z", "å", "ä", "ö"]),
        ("de", ["Adler", "Af", "Ähre", "Zebra"]),
        ("de-u-co-phonebk", ["Adler", "Aehre", "Ähre", "Af", "Zebra"]),
        ("de-u-co-phonebk", ["Ad", "Ä", "Af"]),
        ("es", ["chico", "cuba", "llama", "luz", "nube", "ñu", "oro"]),
        ("es-u-co-trad", ["cuba", "czar", "chico", "dado", "luz", "lz", "llama"]),
        ("cs", ["cena", "čas", "Čau", "hora", "chata", "ihned"]),
        ("da", ["ab", "z", "ær", "ør", "aar", "ås"]),
        ("hu", ["cukor", "cz", "csak", "d"]),
        ("pl", ["a", "ąb", "b", "ż"]),
        ("tr", ["h", "ı", "i", "j"]),  # noqa: RUF001 - a letter
    ],
)
def test_texts_sort_as_their_language_has_it(tag: str, texts: list[str]) -> None:
    backwards = texts[::-1]

    assert sorted(backwards, key=collation.sort_key(tag)) == texts


def test_a_weak_collation_takes_case_and_accents_for_equal() -> None:
    key = collation.sort_key("und-u-ks-level1")

    assert key("RÉSUMÉ") == key("resume")
    assert collation.sort_key("und")("RÉSUMÉ") != collation.sort_key("und")("resume")


@pytest.mark.parametrize(
    ("tag", "detail"),
    [
        ("!!nope", "expected a BCP 47 language tag"),
        ("not a bcp47 tag!!", "expected a BCP 47 language tag"),
        ("", "expected a BCP 47 language tag"),
        ("zh", "no order is known here for 'zh'"),
        ("fr-u-co-klingon", "no order is known here"),
        ("und-u-ks-level9", "ks is one of level1, level2"),
        ("und-u-ka-shifted", "'ka' is not supported"),
    ],
)
def test_a_collation_that_cannot_be_applied_is_refused(tag: str, detail: str) -> None:
    with pytest.raises(BadRequestData, match=detail):
        ordering.parse("name", expand, collation=tag)


@given(st.text(max_size=6), st.text(max_size=6))
def test_a_collation_tells_apart_what_differs_in_letters(first: str, second: str) -> None:
    key = collation.sort_key("und-u-ks-identic")

    assert (key(first) == key(second)) is (first == second)


def test_a_collation_applies_to_values_and_not_to_ids() -> None:
    named = [entity("b", {"n": {"value": "b"}}), entity("A", {"n": {"value": "á"}})]

    by_name = ordering.sort(named, ordering.parse("n", expand, collation="und"))
    by_id = ordering.sort(named, ordering.parse("id", expand, collation="und"))

    assert [one["id"][-1] for one in by_name] == ["A", "b"]
    assert [one["id"][-1] for one in by_id] == ["A", "b"]
