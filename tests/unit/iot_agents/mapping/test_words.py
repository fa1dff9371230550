"""The words of a mapping's fields: what each gives, and when it gives nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from iot_agents.common.mapping.apply import apply
from iot_agents.common.mapping.model import MappingError
from tests.unit.iot_agents.mapping.building import drops_of, load, text_of, value_of

PAYLOAD: dict[str, Any] = {
    "a": {"b": 5, "none": None, "text": "spot", "c-d": {"é": 1}},
    "flag": True,
    "words": ["x", "y", "x"],
    "list": [{"n": 3, "up": True}, {"n": 1, "up": False}, {"n": 2, "up": True}, {"up": True}],
    "deep": [{"in": [{"k": "p"}, {"k": "q"}]}, {"in": []}, {}, {"in": [{"k": "p"}]}],
    "numbers": [2, "4,5", None, 1],
    "coordinates": {"longitude": "-4.728562", "latitude": "41.652133"},
    "when": "2026-05-04T09:12:31.4829+02:00",
    "seconds": 1777878751,
}


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("{from: a.b}", 5),
        ("{from: a.gone}", None),
        ("{from: a.none}", None),
        ("{from: a.b.deeper}", None),
        ("{from: a.c-d.é}", 1),
        ("{from: 'list[1].n'}", 1),
        ("{from: 'list[9].n'}", None),
        ("{from: 'list[].n'}", [3, 1, 2]),
        ("{from: 'deep[].in[].k'}", ["p", "q", "p"]),
        ("{from: 'gone[].n'}", None),
        ("{from: [a.gone, a.none, a.text]}", "spot"),
        ("{from: [a.gone, flag]}", True),
        ("{expr: a.b * 2 + 1}", 11),
        ("{expr: 'a.gone ? 1 : 2'}", None),
        ("{expr: a.none}", None),
        ("{value: [onStreet]}", ["onStreet"]),
        ("{value: 12:30}", "12:30"),
        ("{value: no}", "no"),
        ("{text: 'at {a.text}/{a.b + 1}'}", "at spot/6"),
        ("{text: 'at {a.gone}'}", None),
        ("{object: {x: a.b, y: a.gone, z: {from: a.b, scale: 10}}}", {"x": 5, "z": 50}),
        ("{object: {x: a.gone}}", None),
        ("{count: list}", 4),
        ("{count: gone}", None),
        ("{count: {of: list, where: up}}", 3),
        ("{count: {of: list, where: n > 1}}", 2),
        ("{count: {of: words, where: item == 'x'}}", 2),
        ("{distinct: words}", ["x", "y"]),
        ("{distinct: {of: 'deep[].in[]', take: k}}", ["p", "q"]),
        ("{all: {of: list, where: up, take: n}}", [3, 2]),
        ("{all: {of: list, take: {object: {m: n}}}}", [{"m": 3}, {"m": 1}, {"m": 2}]),
        ("{first: {of: list, take: n}}", 3),
        ("{last: {of: list, take: n}}", 2),
        ("{first: {of: list, where: n > 9, take: n}}", None),
        ("{min: {of: list, take: n}}", 1),
        ("{max: {of: list, take: n}}", 3),
        ("{max: {of: list, where: n > 9, take: n}}", None),
        ("{sum: numbers}", 7.5),
        ("{sum: {of: list, where: n > 9, take: n}}", 0),
        ("{sum: {of: deep, take: {count: in}}}", 3),
        ("{min: numbers, scale: 0.1}", 0.1),
        ("{from: a.b, scale: 0.1}", 0.5),
        ("{from: a.b, scale: 3}", 15),
        ("{from: a.b, scale: 0.7}", 3.5),
        ("{from: a.gone, scale: 0.1}", None),
        ("{from: when, time: text}", "2026-05-04T07:12:31.482Z"),
        ("{from: seconds, time: seconds}", "2026-05-04T07:12:31.000Z"),
        ("{expr: seconds * 1000 + 5, time: milliseconds}", "2026-05-04T07:12:31.005Z"),
        ("{from: a.gone, time: text}", None),
        ("{from: a.b, enum: {5: five}}", "five"),
        ("{from: a.text, enum: {spot: bay}}", "bay"),
        ("{from: flag, enum: {true: yes, false: no}}", "yes"),
        ("{from: a.b, enum: {6: six}, else: other}", "other"),
        ("{from: a.gone, enum: {6: six}, else: other}", None),
        ("{choose: [{when: a.b > 9, value: many}, {when: a.b > 3, value: some}, {value: few}]}",
         "some"),
        ("{choose: [{when: a.b > 9, value: many}, {value: few}]}", "few"),
        ("{choose: [{when: a.b > 9, value: many}]}", None),
        ("{choose: [{when: a.gone > 9, value: many}, {value: few}]}", None),
        ("{choose: [{when: flag, from: a.b, scale: 2}]}", 10),
    ],
)  # fmt: skip
def test_a_word_gives_its_value(tmp_path: Path, field: str, expected: Any) -> None:
    attribute = value_of(tmp_path, field, PAYLOAD)

    assert attribute == (None if expected is None else {"type": "Property", "value": expected})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (7, 7),
        (7.5, 7.5),
        ("8", 8),
        (" 7.50 ", 7.5),
        ("8,5", 8.5),
        ("-1e3", -1000),
        ("NaN", None),
        ("", None),
        (None, None),
        (float("nan"), None),
    ],
)
def test_a_number_may_come_as_text_or_say_that_there_is_none(
    tmp_path: Path, value: Any, expected: Any
) -> None:
    attribute = value_of(tmp_path, "{from: v, number: true}", {"v": value})

    assert attribute == (None if expected is None else {"type": "Property", "value": expected})


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("{from: v, number: true}", "lots", "expected a number, got 'lots'"),
        ("{from: v, number: true}", True, "expected a number, got True"),
        ("{from: v, number: true}", [1], "expected a number, got an array"),
        ("{from: v, scale: 2}", float("inf"), "an infinite number"),
        ("{from: v, time: text}", "yesterday", "expected a date-time, got 'yesterday'"),
        ("{from: v, time: seconds}", -1, "expected a date-time, got -1"),
        ("{from: v, time: seconds}", True, "expected a date-time, got True"),
        ("{expr: 1 / v}", 0, "division by zero"),
        ("{expr: v * 2}", "lots", "expected a number, got 'lots'"),
        ("{point: [v, v]}", 100, "the latitude 100 is not between -90 and 90"),
        ("{point: [v, z]}", 181, "the longitude 181 is not between -180 and 180"),
        ("{from: v, kind: GeoProperty}", {"type": "Circle"}, "expected a GeoJSON geometry"),
        ("{from: v, kind: GeoProperty}", {"type": "Point", "coordinates": []}, "expected coord"),
        ("{from: v, kind: GeoProperty}", {"type": "Point", "coordinates": ["1", 2]}, "numbers"),
        ("{from: v, kind: GeoProperty}", {"type": "Point", "coordinates": [1]}, "a latitude"),
        ("{from: v, kind: Relationship}", "no uri", "expected a URI, got 'no uri'"),
        ("{from: v, kind: ListProperty}", 1, "expected a list, got 1"),
        ("{from: v, kind: LanguageProperty}", {"en": 1}, "expected texts by language"),
        ("{link: '{v}'}", "no uri", "expected a URI, got 'no uri'"),
    ],
)
def test_a_value_that_cannot_be_is_an_error_with_its_place(
    tmp_path: Path, field: str, value: Any, reason: str
) -> None:
    with pytest.raises(MappingError) as failure:
        value_of(tmp_path, field, {"v": value, "z": 0})

    assert failure.value.field == "entities[0].attributes.result"
    assert reason in failure.value.reason


def test_a_word_that_the_table_does_not_have_is_left_out_and_noted(tmp_path: Path) -> None:
    payload = {"time": "2026-05-04T07:00:00Z", "v": "vendorSpeak"}

    drops = drops_of(tmp_path, "{from: v, enum: {a: b}}", payload)

    assert drops == ["entities[0].attributes.result: no word for 'vendorSpeak'"]


def test_an_item_whose_word_is_not_known_is_left_out_of_its_list(tmp_path: Path) -> None:
    field = "{all: {of: v, take: {from: w, enum: {a: A}}}}"

    attribute = value_of(tmp_path, field, {"v": [{"w": "a"}, {"w": "z"}]})

    assert attribute == {"type": "Property", "value": ["A"]}


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("{from: v, unit: CEL}", {"type": "Property", "value": 5, "unitCode": "CEL"}),
        (
            "{from: v, unit: CEL, observed: true}",
            {
                "type": "Property",
                "value": 5,
                "unitCode": "CEL",
                "observedAt": "2026-05-04T07:00:00.000Z",
            },
        ),
        (
            "{from: v, observed: true, at: own}",
            {"type": "Property", "value": 5, "observedAt": "2026-05-04T06:00:00.000Z"},
        ),
        ("{from: v, when: w == 1}", None),
        ("{from: v, when: gone == 1}", None),
        ("{from: v, when: v == 5}", {"type": "Property", "value": 5}),
        ("{from: o, kind: JsonProperty}", {"type": "JsonProperty", "json": {"k": 1}}),
        ("{from: t, kind: VocabProperty}", {"type": "VocabProperty", "vocab": "word"}),
        (
            "{value: ['urn:a:b'], kind: ListRelationship}",
            {"type": "ListRelationship", "objectList": [{"object": "urn:a:b"}]},
        ),
        ("{from: l, kind: ListProperty}", {"type": "ListProperty", "valueList": [1, 2]}),
        (
            "{object: {en: t}, kind: LanguageProperty}",
            {"type": "LanguageProperty", "languageMap": {"en": "word"}},
        ),
        (
            "{link: 'urn:ngsi-ld:Device:{name}'}",
            {"type": "Relationship", "object": "urn:ngsi-ld:Device:Bay_19___n_rth"},
        ),
        ("{link: ['urn:a:{v}', 'urn:b:{gone}']}", {"type": "Relationship", "object": ["urn:a:5"]}),
        ("{link: ['urn:b:{gone}']}", None),
        ("{link: '{uri}'}", {"type": "Relationship", "object": "urn:ngsi-ld:Thing:a/b"}),
        ("{link: '{gone}'}", None),
        (
            "{point: [lon, {from: lat}]}",
            {"type": "GeoProperty", "value": {"type": "Point", "coordinates": [-4.7, 41.6]}},
        ),
        ("{point: [lon, gone]}", None),
        (
            "{from: line, kind: GeoProperty}",
            {
                "type": "GeoProperty",
                "value": {"type": "LineString", "coordinates": [[1, 2], [3, 4]]},
            },
        ),
    ],
)
def test_a_value_becomes_the_attribute_its_words_ask_for(
    tmp_path: Path, field: str, expected: Any
) -> None:
    payload = {
        "v": 5,
        "w": 2,
        "o": {"k": 1},
        "t": "word",
        "l": [1, 2],
        "own": "2026-05-04T06:00:00Z",
        "name": "Bay 19 / nørth",
        "uri": "urn:ngsi-ld:Thing:a/b",
        "lon": "-4.7",
        "lat": "41,6",
        "line": {"type": "LineString", "coordinates": [[1, 2], [3, 4]]},
    }

    assert value_of(tmp_path, field, payload) == expected


def test_a_let_is_known_to_all_that_comes_after_it(tmp_path: Path) -> None:
    before = """
    let:
      good: {all: {of: list, where: n > 1}}
      many: {count: good}
    """

    attribute = value_of(tmp_path, "{expr: many * 10}", PAYLOAD, before=before)

    assert attribute == {"type": "Property", "value": 20}


def test_a_let_that_fails_names_itself(tmp_path: Path) -> None:
    before = """
    let:
      broken: {expr: 1 / v}
    """

    with pytest.raises(MappingError) as failure:
        value_of(tmp_path, "{expr: broken}", {"v": 0}, before=before)

    assert failure.value.field == "let.broken"


def test_each_makes_an_entity_of_every_item(tmp_path: Path) -> None:
    text = text_of("n: {from: point.n}\nname: {from: name}", entity="each: list\nas: point\n")
    text = text.replace("Thing:1", "Thing:{name}-{point.id}").replace("  at: time\n", "")
    payload = {"name": "s", "list": [{"id": 1, "n": 5}, {"id": 2}, {"id": 3, "n": 7}]}

    entities = apply(load(tmp_path, text), payload)

    assert [entity["id"] for entity in entities] == [f"urn:ngsi-ld:Thing:s-{n}" for n in (1, 2, 3)]
    assert [entity.get("n") for entity in entities] == [
        {"type": "Property", "value": 5},
        None,
        {"type": "Property", "value": 7},
    ]


def test_an_entity_without_attributes_is_not_made(tmp_path: Path) -> None:
    mapping = load(tmp_path, text_of("n: {from: gone}"))

    assert apply(mapping, {"time": "2026-05-04T07:00:00Z"}) == []


def test_an_entity_is_made_only_when_its_condition_holds(tmp_path: Path) -> None:
    mapping = load(tmp_path, text_of("n: {from: n}", entity="when: n > 5\n"))
    moment = {"time": "2026-05-04T07:00:00Z"}

    assert apply(mapping, {**moment, "n": 5}) == []
    assert len(apply(mapping, {**moment, "n": 6})) == 1
    assert apply(mapping, moment) == []


def test_an_id_without_one_of_its_parts_is_an_error(tmp_path: Path) -> None:
    mapping = load(tmp_path, text_of("n: {from: n}").replace("Thing:1", "Thing:{gone}"))

    with pytest.raises(MappingError) as failure:
        apply(mapping, {"time": "2026-05-04T07:00:00Z", "n": 1})

    assert failure.value.field == "entities[0].id"


@pytest.mark.parametrize("time", [{}, {"time": "soon"}, {"time": None}])
def test_a_measure_without_its_time_is_an_error(tmp_path: Path, time: dict[str, Any]) -> None:
    mapping = load(tmp_path, text_of("n: {from: n, observed: true}"))

    with pytest.raises(MappingError) as failure:
        apply(mapping, {**time, "n": 1})

    assert (failure.value.field, failure.value.code) == ("entities[0].at", "BAD_TIMESTAMP")


def test_a_payload_that_is_no_object_is_named_payload(tmp_path: Path) -> None:
    mapping = load(tmp_path, text_of("n: {sum: payload}").replace("  at: time\n", ""))

    assert apply(mapping, [1, 2])[0]["n"] == {"type": "Property", "value": 3}


def test_the_payload_stays_as_it_came(tmp_path: Path) -> None:
    before = """
    let:
      a: {value: 1}
    """
    mapping = load(tmp_path, text_of("n: {expr: 'list[.n > 1].n'}", before=before))
    payload = {"time": "2026-05-04T07:00:00Z", "list": [{"n": 1}, {"n": 2}]}

    entities = apply(mapping, payload, {"id": "d"})

    assert entities[0]["n"]["value"] == 2
    assert payload == {"time": "2026-05-04T07:00:00Z", "list": [{"n": 1}, {"n": 2}]}
