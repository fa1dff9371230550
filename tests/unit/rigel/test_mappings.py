"""`rigel mapping`: what it says of mapping files and payloads, good and bad."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from rigel.cli import main
from smart_data_models import yaml12

MAPPING = """\
mapping: acme-bay
source: {protocol: mqtt}
when: status != null
entities:
- id: "urn:ngsi-ld:ParkingSpot:{bay}"
  type: ParkingSpot
  complete: false
  attributes:
    status: {from: status, enum: {0: free, 1: occupied}}
    name: {from: label}
examples:
- name: taken
  payload: {bay: "1", status: 1}
  expected:
  - {id: "urn:ngsi-ld:ParkingSpot:1", type: ParkingSpot, status: {type: Property, value: occupied}}
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _written(text: str = MAPPING) -> str:
    Path("acme.yaml").write_text(text, encoding="utf-8")
    return "acme.yaml"


def _payload(payload: Any) -> str:
    Path("payload.json").write_text(json.dumps(payload), encoding="utf-8")
    return "payload.json"


def test_check_says_that_a_good_mapping_is_good(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mapping", "check", _written()]) == 0

    assert capsys.readouterr().out == "acme.yaml: good\n"


def test_check_takes_all_mappings_of_a_directory_but_its_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "all" / "tables").mkdir(parents=True)
    (tmp_path / "all" / "tables" / "words.yaml").write_text("a: b\n", encoding="utf-8")
    (tmp_path / "all" / "acme.yml").write_text(MAPPING, encoding="utf-8")

    assert main(["mapping", "check", "all"]) == 0
    assert capsys.readouterr().out == "all/acme.yml: good\n"


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        ("status: {from", "statsu: {from", "9: entities[0].attributes.statsu: ParkingSpot has no"),
        ("1: occupied", "1: ocupied", "(did you mean 'occupied'?)"),
        ("{from: label}", "{form: label}", "10: entities[0].attributes.name.form: is not a word"),
        ("status != null", "status|trin == 1", "acme.yaml:3: when:"),
        ("type: ParkingSpot\n", "type: ParkingSpott\n", "(did you mean 'ParkingSpot'?)"),
        ("{bay}", "{bay", "stray"),
        ("value: occupied", "value: free", "12: examples[0] (taken): expects of urn:ngsi-ld:"),
        ("mapping: acme-bay", "mapping: [", "acme.yaml:3: while parsing"),
    ],
    ids=["attribute", "word", "key", "transform", "type", "brace", "example", "yaml"],
)
def test_check_names_the_line_the_key_and_what_was_meant(
    good: str, bad: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mapping", "check", _written(MAPPING.replace(good, bad, 1))]) == 1

    told = capsys.readouterr().out
    assert told.startswith("acme.yaml:")
    assert said in told


def test_try_shows_the_entity_and_what_the_payload_has_nothing_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    payload = _payload({"bay": "1", "status": 1})

    assert main(["mapping", "try", _written(), payload]) == 0

    told = capsys.readouterr().out
    assert '"id": "urn:ngsi-ld:ParkingSpot:1"' in told
    assert "left out: entities[0].attributes.name: nothing there (from: label)" in told
    assert told.endswith("fits its model\n")


SCRIPTED = """\
mapping: acme-bin
source: {protocol: lorawan}
decode: {codec: acme.js}
entities:
- id: "urn:ngsi-ld:WasteContainer:{bin}"
  type: WasteContainer
  complete: false
  attributes:
    fillingLevel: {from: decoded.full, scale: 0.01}
examples:
- name: half full
  payload: {bin: "1", fPort: 1, data: "Mg=="}
  expected:
  - id: urn:ngsi-ld:WasteContainer:1
    type: WasteContainer
    fillingLevel: {type: Property, value: 0.5}
"""
SCRIPT = "function decodeUplink(input) { return {data: {full: input.bytes[0]}}; }"


def test_a_mapping_with_a_script_of_its_own_is_checked_and_tried(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("acme.js").write_text(SCRIPT, encoding="utf-8")
    file = _written(SCRIPTED)

    assert main(["mapping", "check", file]) == 0
    assert main(["mapping", "try", file, _payload({"bin": "2", "fPort": 1, "data": "FA=="})]) == 0
    assert '"value": 0.2' in capsys.readouterr().out


def test_a_script_that_fails_is_the_reason_that_nothing_is_made(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("acme.js").write_text("function decodeUplink() { throw 'no such frame'; }", "utf-8")
    payload = _payload({"bin": "2", "fPort": 1, "data": "FA=="})

    assert main(["mapping", "try", _written(SCRIPTED), payload]) == 1
    assert "refused: decode: " in capsys.readouterr().out


def test_try_reads_the_payload_from_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = io.TextIOWrapper(io.BytesIO(b'{"bay": "2", "status": 0}'))
    monkeypatch.setattr(sys, "stdin", stream)

    assert main(["mapping", "try", _written(), "--json"]) == 0

    told = json.loads(capsys.readouterr().out)
    assert told["entities"][0]["status"]["value"] == "free"


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ({"bay": "1"}, "when: status != null does not hold"),
        ({"bay": "1", "status": 7}, "left out: entities[0].attributes.status: no word for 7"),
        ({"status": 1}, "refused: entities[0].id: a part of the id is not in the payload"),
    ],
    ids=["condition", "word", "id"],
)
def test_try_says_why_nothing_is_made(
    payload: Any, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mapping", "try", _written(), _payload(payload)]) == 1

    told = capsys.readouterr().out
    assert said in told
    assert "no entity is made" in told


def test_try_says_what_the_model_has_against_an_entity(capsys: pytest.CaptureFixture[str]) -> None:
    payload = _payload({"bay": "1", "status": 1, "label": 12})

    assert main(["mapping", "try", _written(), payload]) == 1

    assert "breaks its model: urn:ngsi-ld:ParkingSpot:1: name: expected" in capsys.readouterr().out


def test_a_payload_that_is_no_json_is_refused_with_its_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("payload.json").write_text("{", encoding="utf-8")

    assert main(["mapping", "try", _written(), "payload.json"]) == 1

    assert "payload.json is not JSON" in capsys.readouterr().err


SAMPLES: dict[str, dict[str, Any]] = {
    "ParkingSpot": {"ts": 1777878751, "id": "bay 1", "occupied": True, "lat": 46.5, "lon": 0.3},
    "AirQualityObserved": {"time": "2026-05-04T07:00:00Z", "sn": "1", "no2": 12, "hum": 40},
    "NoiseLevelObserved": {"time": "2026-05-04T07:00:00Z", "sn": "1", "laeq": 61.2},
    "WasteContainer": {"serial": "w1", "ts": 1777878751000, "fill": 40, "temp": "21,5"},
    "Streetlight": {"id": "l1", "on": 1, "dim": 80, "time": "2026-05-04T09:00:00+02:00"},
    "GreenspaceRecord": {"devEui": "02b5", "soil": {"moisture": 31.5, "temp": 12}},
    "WeatherObserved": {"id": "w", "temp": 12.1, "hum": 81, "wind": 3.2, "on": "no"},
}


@pytest.mark.parametrize("entity_type", SAMPLES)
def test_new_writes_a_mapping_that_check_passes(
    entity_type: str, capsys: pytest.CaptureFixture[str]
) -> None:
    payload = _payload(SAMPLES[entity_type])

    assert main(["mapping", "new", payload, "--type", entity_type, "--output", "new.yaml"]) == 0
    assert main(["mapping", "check", "new.yaml"]) == 0
    assert main(["mapping", "try", "new.yaml", payload]) == 0
    assert "fits its model" in capsys.readouterr().out


def test_new_guesses_words_shares_times_and_positions(capsys: pytest.CaptureFixture[str]) -> None:
    payload = _payload({**SAMPLES["ParkingSpot"], "hum": 3})

    assert main(["mapping", "new", payload, "--type", "ParkingSpot", "--topic", "bays/+"]) == 0

    text = capsys.readouterr().out
    document = yaml12.load(text).value
    (entity,) = document["entities"]
    assert document["source"] == {"protocol": "mqtt", "topic": "bays/+"}
    assert entity["at"] == {"from": "ts", "time": "seconds"}
    assert entity["attributes"]["status"]["enum"] == {True: "occupied", False: "free"}
    assert entity["attributes"]["location"] == {"point": ["lon", "lat"]}
    assert "#   hum: 3" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["new", "payload.json"], "give the type with --type; there are "),
        (["new", "payload.json", "--type", "ParkingSpto"], "(did you mean 'ParkingSpot'?)"),
        (["new", "payload.json", "--type", "Alert"], "nothing in the sample is called like"),
        (["new", "none.json", "--type", "Alert"], "none.json"),
        (["check", "."], "there is no mapping in ."),
        (["try", "none.yaml"], "none.yaml"),
    ],
    ids=["no type", "wrong type", "nothing fits", "no file", "nothing to check", "no mapping"],
)
def test_what_cannot_be_done_is_explained(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _payload({"zzz": 1})

    assert main(["mapping", *arguments]) == 1

    assert said in capsys.readouterr().err


def test_new_does_not_write_over_a_file() -> None:
    arguments = ["mapping", "new", _payload({"occupied": True}), "--type", "ParkingSpot"]

    assert main([*arguments, "--output", _written()]) == 1
    assert Path("acme.yaml").read_text(encoding="utf-8") == MAPPING
