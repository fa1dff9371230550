"""Mapping files: what is refused, with file, line and field, and which of several is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from iot_agents.common.mapping.apply import apply
from iot_agents.common.mapping.loader import load_mapping, load_mappings, packaged_mappings
from iot_agents.common.mapping.model import InvalidMapping, MappingError, Mappings, Source
from tests.unit.iot_agents.mapping.building import load, problems_of, text_of

FILE = "under-test.yaml"
ATTRIBUTE = "entities[0].attributes.result"


def parking(attributes: str, *, complete: bool = False) -> str:
    text = text_of(attributes, entity="" if complete else "complete: false\n")
    return text.replace("type: Thing", "type: ParkingSpot")


@pytest.mark.parametrize(
    ("field", "problem"),
    [
        ("{form: a}", f"{FILE}:8: {ATTRIBUTE}.form: is not a word here (did you mean 'from'?)"),
        ("{}", "expected one of from, expr, value"),
        ("{from: a, expr: b}", "found from and expr"),
        ("{from: a..b}", f"{FILE}:8: {ATTRIBUTE}.from: 'a..b' is not a path"),
        ("{from: [a, 'b c']}", "'b c' is not a path"),
        ("{expr: a +}", f"{FILE}:8: {ATTRIBUTE}.expr: expected a value at position 3"),
        ("{expr: a || b && c}", "parentheses must say what belongs together"),
        ("{expr: a|touper}", "unknown transform 'touper' (did you mean 'touppercase'?)"),
        ("{text: 'a {b'}", "has an open or stray brace"),
        ("{text: 'a {b +}'}", "expected a value at position 3"),
        ("{link: 'Device:{a} b'}", ""),
        ("{link: 'no uri {a}'}", "does not begin like a URI"),
        ("{link: ['urn:a:{b}', '{c +}']}", f"{ATTRIBUTE}.link[1]: expected a value"),
        ("{point: [a]}", "is too short"),
        ("{count: {of: list, wher: x}}", f"{ATTRIBUTE}.count.wher: is not a word here"),
        ("{count: {where: x}}", "of must be there"),
        ("{count: {of: list, where: x +}}", f"{ATTRIBUTE}.count.where: expected a value"),
        ("{all: {of: list, take: {from: a, enm: {}}}}", "take.enm: is not a word here"),
        ("{choose: [{when: x +, value: 1}]}", f"{ATTRIBUTE}.choose[0].when: expected a value"),
        ("{choose: [{when: x}]}", f"{ATTRIBUTE}.choose[0]: expected one of from"),
        ("{object: {a: {from: 'x y'}}}", f"{ATTRIBUTE}.object.a.from: 'x y' is not a path"),
        ("{from: a, else: b}", f"{ATTRIBUTE}.else: has no enum to go with"),
        ("{from: a, enum: nowhere}", f"{ATTRIBUTE}.enum: there is no table 'nowhere'"),
        ("{from: a, time: hours}", "'hours' is not one of text, seconds, milliseconds"),
        ("{from: a, scale: much}", "expected a number, got 'much'"),
        ("{from: a, kind: Propery}", "(did you mean 'Property'?)"),
        ("{from: a, when: b +}", f"{ATTRIBUTE}.when: expected a value"),
        ("5", "expected a mapping of words, got 5"),
    ],
)
def test_a_wrong_field_is_refused_with_its_place(tmp_path: Path, field: str, problem: str) -> None:
    found = problems_of(tmp_path, text_of(f"result: {field}"))

    assert [problem in each for each in found] == [True] * (1 if problem else 0)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("mapping: under-test", "mapping: Under Test", "does not match"),
        ("mapping: under-test\n", "", f"{FILE}:1: mapping must be there"),
        ("protocol: mqtt", "protocol: carrier-pigeon", ":2: source.protocol: 'carrier-pigeon' is"),
        (
            "entities:",
            "titel: x\nentities:",
            ":3: titel: is not a word here (did you mean 'title'?)",
        ),
        ('id: "urn:ngsi-ld:Thing:1"', 'id: "Thing 1"', "entities[0].id: 'Thing 1' does not begin"),
        ("at: time", "at: 'ti me'", "entities[0].at.from: 'ti me' is not a path"),
        ("at: time", "each: 'li st'", "entities[0].each: 'li st' is not a path"),
        ("at: time", "when: a +", "entities[0].when: expected a value"),
        ("at: time", "as: item", "is a dependency of 'as'"),
        ("result: {from: a}", "result: {from: a}\n    result: {from: b}", ":9: the key 'result'"),
        ("examples: [", "examples: {", ":9: "),
        ("source:", "when: a +\nsource:", ":2: when: expected a value"),
        ("entities:", "let: {x: {from: a b}}\nentities:", "let.x.from: 'a b' is not a path"),
        ("result: {from: a}", "result: {from: a, observed: true}", ""),
        ("at: time\n", "when: a\n", ""),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(
    tmp_path: Path, old: str, new: str, problem: str
) -> None:
    text = text_of("result: {from: a}")
    assert old in text

    found = problems_of(tmp_path, text.replace(old, new, 1))

    assert [problem in each for each in found][:1] == [True] * (1 if problem else 0)


def test_an_observed_attribute_needs_a_moment(tmp_path: Path) -> None:
    text = text_of("result: {from: a, observed: true}").replace("  at: time\n", "")

    found = problems_of(tmp_path, text)

    assert found == [f"{FILE}:7: {ATTRIBUTE}: is observed, but neither it nor its entity has `at`"]


def test_all_problems_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    attributes = """
    one: {expr: a +}
    two: {from: b c}
    three: {value: fine}
    """

    found = problems_of(tmp_path, text_of(attributes))

    assert [problem.split(": ")[0] for problem in found] == [f"{FILE}:8", f"{FILE}:9"]


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        (
            "stauts: {value: free}",
            f"{FILE}:9: entities[0].attributes.stauts: ParkingSpot has no attribute 'stauts' (did",
        ),
        (
            "status: {value: occupid}",
            f"{FILE}:9: entities[0].attributes.status.value: 'occupid' is not a word of status (",
        ),
        ("status: {from: a, enum: {0: free, 1: full}}", "status.enum[1]: 'full' is not a word"),
        ("status: {from: a, enum: {0: free}, else: broken}", "status.else: 'broken' is not"),
        ("status: {choose: [{value: emty}]}", "status.choose[0].value: 'emty' is not a word"),
        ("category: {value: [onStreet, kerb]}", "category.value[1]: 'kerb' is not a word"),
        (
            "category: {distinct: {of: a, take: {from: b, enum: {x: kerb}}}}",
            "category.distinct.take.enum.x: 'kerb' is not a word",
        ),
        ("width: {from: w}", "width: has no unit; the model's is MTR"),
        ("width: {from: w, unit: CMT}", "width.unit: the model's unit is MTR, not CMT"),
        ("refDevice: {from: d, kind: Property}", "is a Property here, a Relationship in the"),
        ("name: {link: 'urn:a:{b}'}", "name: is a Relationship here, a Property in the model"),
        ("status: {value: free}\ncategory: {value: [onStreet]}\nwidth: {from: w, unit: MTR}", ""),
    ],
)
def test_a_mapping_is_held_against_the_model_of_its_type(
    tmp_path: Path, attributes: str, problem: str
) -> None:
    found = problems_of(tmp_path, parking(attributes))

    assert [problem in each for each in found] == [True] * (1 if problem else 0)


def test_what_the_model_requires_must_be_written_by_someone(tmp_path: Path) -> None:
    found = problems_of(tmp_path, parking("status: {value: free}", complete=True))

    assert len(found) == 1
    assert "ParkingSpot requires location, category, refParkingSite" in found[0]
    assert "`complete: false`" in found[0]


def test_a_type_that_nearly_is_a_models_is_refused_and_a_new_one_is_not(tmp_path: Path) -> None:
    near = text_of("x: {value: 1}").replace("type: Thing", "type: ParkingSpott")
    new = text_of("x: {value: 1}").replace("type: Thing", "type: Carousel")

    assert (
        "there is no model 'ParkingSpott' (did you mean 'ParkingSpot'?)"
        in problems_of(tmp_path, near)[0]
    )
    assert problems_of(tmp_path, new) == []


def test_the_model_tells_what_a_mapping_leaves_open(tmp_path: Path) -> None:
    attributes = """
    width: {from: w, unit: MTR}
    timeInstant: {from: t}
    location: {from: l}
    refDevice: {from: d}
    """
    payload = {
        "time": "2026-05-04T07:00:00Z",
        "w": "2,5",
        "t": "2026-05-04T09:00:00+02:00",
        "l": {"type": "Point", "coordinates": [1, 2]},
        "d": "urn:ngsi-ld:Device:1",
    }
    mapping = load(tmp_path, parking(attributes))

    entity = apply(mapping, payload)[0]

    assert entity["width"] == {"type": "Property", "value": 2.5, "unitCode": "MTR"}
    assert entity["timeInstant"]["value"] == "2026-05-04T07:00:00.000Z"
    assert entity["location"]["type"] == "GeoProperty"
    assert entity["refDevice"] == {"type": "Relationship", "object": "urn:ngsi-ld:Device:1"}


def test_names_and_times_stay_what_they_are(tmp_path: Path) -> None:
    text = text_of("no: {value: on}\non: {value: 12:30}\nday: {value: 2026-05-04}")

    mapping = load(tmp_path, text)

    assert [rule.name for rule in mapping.entities[0].attributes] == ["no", "on", "day"]
    assert [rule.value({}) for rule in mapping.entities[0].attributes] == [
        "on",
        "12:30",
        "2026-05-04",
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"a: [", ":1: "),
        (b"a: \xff", ":1: 'utf-8' codec"),
        (b"", ":1: expected a mapping of words, got None"),
    ],
)
def test_a_file_that_is_no_yaml_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    file = tmp_path / "broken.yaml"
    file.write_bytes(content)

    with pytest.raises(InvalidMapping) as failure:
        load_mapping(file)

    assert problem in failure.value.problems[0]


def directory_with(tmp_path: Path, **files: str) -> Path:
    for name, text in files.items():
        path = tmp_path / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".yaml").write_text(text, encoding="utf-8")
    return tmp_path


def test_a_directory_is_loaded_with_all_below_it(tmp_path: Path) -> None:
    one = text_of("a: {from: x, enum: words}")
    two = one.replace("under-test", "other")

    mappings = load_mappings(
        directory_with(tmp_path, one=one, deeper__two=two, tables__words="x: y\n")
    )

    assert [mapping.name for mapping in mappings.items] == ["other", "under-test"]
    assert mappings.get("gone") is None
    assert mappings.codec("other") is None
    assert mappings.codec("gone") is None


def test_problems_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    directory = directory_with(
        tmp_path, one=text_of("a: {expr: a +}"), two=text_of("a: {from: b c}"), three="x: 1"
    )

    with pytest.raises(InvalidMapping) as failure:
        load_mappings(directory)

    files = {problem.split(":")[0].rpartition("/")[2] for problem in failure.value.problems}
    assert files == {"one.yaml", "two.yaml", "three.yaml"}


def test_a_name_may_stand_once_in_a_directory(tmp_path: Path) -> None:
    text = text_of("a: {value: 1}")

    with pytest.raises(InvalidMapping, match="'under-test' also stands in"):
        load_mappings(directory_with(tmp_path, one=text, two=text))


def test_an_operators_mapping_replaces_the_one_of_the_product(tmp_path: Path) -> None:
    own = text_of("a: {value: 1}").replace("under-test", "bosch-tps110")

    mappings = load_mappings(directory_with(tmp_path, own=own), packaged_mappings())

    found = mappings.get("bosch-tps110")
    assert found is not None
    assert found.path.startswith(str(tmp_path))


def with_source(name: str, source: str, when: str = "") -> str:
    text = text_of("a: {value: 1}").replace("under-test", name)
    return text.replace("source: {protocol: mqtt}", f"source: {source}\n{when}")


@pytest.fixture
def several(tmp_path: Path) -> Mappings:
    sources = {
        "any": "{protocol: mqtt}",
        "topic": "{protocol: mqtt, topic: 'site/+/up/#'}",
        "format": "{protocol: mqtt, format: chirpstack-v4}",
        "profile": "{protocol: mqtt, profile: ['acme-*', Other]}",
        "lorawan": "{protocol: lorawan}",
    }
    files = {name: with_source(name, source) for name, source in sources.items()}
    files["condition"] = with_source("condition", "{protocol: mqtt}", "when: kind == 'parking'\n")
    return load_mappings(directory_with(tmp_path, **files))


@pytest.mark.parametrize(
    ("source", "payload", "name"),
    [
        (Source("mqtt"), {}, "any"),
        (Source("mqtt", topic="site/7/up"), {}, "topic"),
        (Source("mqtt", topic="site/7/up/x/y"), {}, "topic"),
        (Source("mqtt", topic="site/7/8/up"), {}, "any"),
        (Source("mqtt", topic="site/7/upper"), {}, "any"),
        (Source("mqtt", format="chirpstack-v4"), {}, "format"),
        (Source("mqtt", profile="ACME-TPS"), {}, "profile"),
        (Source("mqtt", profile="other"), {}, "profile"),
        (Source("mqtt", profile="another"), {}, "any"),
        (Source("mqtt", topic="site/7/up", profile="acme-1"), {}, "profile"),
        (Source("mqtt"), {"kind": "parking"}, "condition"),
        (Source("mqtt"), {"kind": "bins"}, "any"),
        (Source("mqtt"), ["kind"], "any"),
        (Source("lorawan"), {}, "lorawan"),
    ],
)
def test_the_most_specific_mapping_is_meant(
    several: Mappings, source: Source, payload: object, name: str
) -> None:
    found = several.find(source, payload)

    assert found is several.get(name)


def test_no_mapping_may_be_meant(several: Mappings) -> None:
    assert several.find(Source("ocpi"), {}) is None


def test_a_condition_that_fails_is_an_error_of_the_mapping(tmp_path: Path) -> None:
    mapping = load(tmp_path, with_source("m", "{protocol: mqtt}", "when: 1 / n > 2\n"))

    with pytest.raises(MappingError) as failure:
        mapping.accepts(Source("mqtt"), {"n": 0})

    assert (failure.value.mapping, failure.value.field) == ("m", "when")


def test_what_is_missing_is_said_once(tmp_path: Path) -> None:
    path = tmp_path / FILE
    path.write_text("{}")

    with pytest.raises(InvalidMapping) as refused:
        load_mapping(path)

    assert str(refused.value).count("mapping and source and entities and examples") == 1
