from pathlib import Path

import msgspec
import pytest

from subscribers.common.definitions import (
    InvalidDefinition,
    Name,
    load_definition,
    load_definitions,
    refuse_repeated_names,
)
from subscribers.common.instants import Duration


class Leg(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    length: int
    lasts: Duration = Duration(0)


class Table(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    name: Name
    legs: tuple[Leg, ...] = ()
    top_colour: str | None = None
    best: Leg | None = None


GOOD = "name: kitchen\ntopColour: no\nlegs:\n  - {length: 70, lasts: 15min}\n"


def write(directory: Path, text: str, name: str = "a.yaml") -> Path:
    file = directory / name
    file.write_text(text)
    return file


def test_a_definition_is_read_with_its_file_and_a_digest(tmp_path: Path) -> None:
    file = write(tmp_path, GOOD)

    found = load_definition(file, Table)

    assert found.content == Table(
        name="kitchen", top_colour="no", legs=(Leg(length=70, lasts=Duration(900_000_000)),)
    )
    assert found.file == file
    assert found.digest == load_definition(file, Table).digest


def test_another_content_has_another_digest(tmp_path: Path) -> None:
    first = load_definition(write(tmp_path, GOOD), Table)

    second = load_definition(write(tmp_path, GOOD + "# a comment\n"), Table)

    assert first.digest != second.digest


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        (
            "name: x\ntopcolor: red\n",
            "a.yaml:2: topcolor",
            "unknown field; the nearest known one is topColour",
        ),
        (
            "name: x\nlegs:\n  - length: 1\n  - length: 2\n    last: 1s\n",
            "a.yaml:5: legs.1.last",
            "unknown field; the nearest known one is lasts",
        ),
        (
            "name: x\nbest:\n  lenght: 2\n",
            "a.yaml:3: best.lenght",
            "the nearest known one is length",
        ),
        ("name: x\nlegs:\n  - length: long\n", "a.yaml:3: legs.0.length", "expected `int`"),
        ("name: x\nlegs:\n  - length: 1\n    lasts: 15\n", "legs.0.lasts", "such as 90s"),
        ("legs: []\n", "a.yaml:1: document", "missing required field `name`"),
        ("name: '1 x'\n", "a.yaml:1: name", "matching regex"),
        ("[1, 2]\n", "a.yaml:1: document", "expected `object`"),
        ("name: x\nname: y\n", "a.yaml:2", "stands twice"),
        ("name: [x\n", "a.yaml:2", "expected"),
    ],
)
def test_a_mistake_is_told_with_file_line_and_field(
    tmp_path: Path, text: str, place: str, problem: str
) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        load_definition(write(tmp_path, text), Table)

    assert place in str(caught.value)
    assert problem in str(caught.value)


def test_the_mistakes_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    write(tmp_path, "nam: x\n")
    write(tmp_path, "name: x\nlegs: 3\n", "b.yaml")
    (tmp_path / "c.yaml").write_bytes(b"\xff\xfe")

    with pytest.raises(InvalidDefinition) as caught:
        load_definitions([tmp_path, tmp_path / "missing"], Table)

    assert [
        line.partition(": ")[0].rpartition("/")[2] for line in str(caught.value).split("\n")
    ] == [
        "a.yaml:1",
        "b.yaml:2",
        "c.yaml",
        "missing",
    ]


def test_files_are_read_in_the_order_of_directories_and_names(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    write(second, "name: s\n")
    write(first, "name: b\n", "b.yml")
    write(first, "name: a\n", "a.yaml")
    write(first, "not read", "notes.txt")

    found = load_definitions([second, first], Table)

    assert [definition.content.name for definition in found] == ["s", "a", "b"]


def test_a_name_may_stand_in_one_file_only(tmp_path: Path) -> None:
    write(tmp_path, "name: x\n", "a.yaml")
    write(tmp_path, "name: x\n", "b.yaml")

    with pytest.raises(InvalidDefinition, match=r"b\.yaml: the name x stands in .*a\.yaml too"):
        refuse_repeated_names(load_definitions([tmp_path], Table))
