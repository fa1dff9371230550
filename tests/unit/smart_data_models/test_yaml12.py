import math
from typing import Any

import pytest

from smart_data_models import yaml12


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("12:30", "12:30"),
        ("2026-05-01", "2026-05-01"),
        ("2026-05-01T10:00:00Z", "2026-05-01T10:00:00Z"),
        ("0123", 123),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b11", "0b11"),
        ("1_000", "1_000"),
        ("-7", -7),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("=", "="),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        ("null", None),
        ('"null"', "null"),
        ("'1'", "1"),
        ("!!str 1", "1"),
        ("tea", "tea"),
        ("nitrogen", "nitrogen"),
        ("trueish", "trueish"),
        ("1 or 2", "1 or 2"),
    ],
)
def test_a_scalar_is_read_by_the_core_schema(text: str, value: Any) -> None:
    read = yaml12.load(f"a: {text}\n").value["a"]

    assert read == value
    assert type(read) is type(value)


def test_keys_follow_the_same_rules() -> None:
    document = yaml12.load("no: 1\non: 2\n0: free\ntrue: x\n")

    assert document.value == {"no": 1, "on": 2, 0: "free", True: "x"}


def test_every_value_has_its_line() -> None:
    document = yaml12.load("a: 1\nb:\n  - x\n  - c: 2\n    d: 3\n")

    assert document.line(("a",)) == 1
    assert document.line(("b", 0)) == 3
    assert document.line(("b", 1, "d")) == 5


def test_a_path_that_does_not_exist_has_the_line_of_what_is_around_it() -> None:
    document = yaml12.load("a: 1\nb:\n  c: 2\n")

    assert document.line(("b", "missing", 3)) == 2
    assert document.line(("missing",)) == 1


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("a: 1\na: 2\n", 2, "stands twice"),
        ("a: 1\nb: [1, 2\n", 3, "expected"),
        ("a: !!python/object:os.system x\n", 1, "is not known"),
        ("a: !!timestamp 2026-05-01\n", 1, "is not known"),
        ("x: &x {a: 1}\ny:\n  <<: *x\n", 3, "merge keys"),
        ("? [a, b]\n: 1\n", 1, "must be a scalar"),
        ("a: 1\n--- \nb: 2\n", 2, "expected a single document"),
        ("a: \x00", 1, "special characters"),
        ("a: !!int x\n", 1, "no integer"),
        ("a: " + "[" * 80 + "]" * 80, 1, "nested deeper"),
    ],
)
def test_what_is_refused_is_told_with_its_line(text: str, line: int, problem: str) -> None:
    with pytest.raises(yaml12.YamlError, match=problem) as caught:
        yaml12.load(text)

    assert caught.value.line == line


def test_an_anchor_may_be_used_again() -> None:
    assert yaml12.load("a: &x [1]\nb: *x\n").value == {"a": [1], "b": [1]}


def test_a_value_that_contains_itself_is_refused() -> None:
    with pytest.raises(yaml12.YamlError, match="nested deeper"):
        yaml12.load("a: &x [*x]\n")


def test_an_empty_text_is_null() -> None:
    document = yaml12.load("# nothing\n")

    assert document.value is None
    assert document.line(("a",)) == 1


def test_aliases_cannot_multiply_without_bound() -> None:
    levels = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9))

    with pytest.raises(yaml12.YamlError, match="more than 100000 values"):
        yaml12.load(f"a0: &a0 [x]\n{levels}\n")
