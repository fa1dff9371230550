"""What mappings/README.md prints works, and it leaves out no word of the format."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from iot_agents.common.mapping.apply import apply
from iot_agents.common.mapping.codec import compile_codec
from iot_agents.common.mapping.loader import load_mapping, packaged_mappings
from smart_data_models import yaml12

README = packaged_mappings().joinpath("README.md").read_text(encoding="utf-8")
SCHEMA = json.loads(packaged_mappings().joinpath("schema.json").read_bytes())
BLOCKS = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)


def words(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
        for part in schema.values():
            yield from words(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from words(part)


def test_the_printed_mapping_does_what_its_example_says(tmp_path: Path) -> None:
    file = tmp_path / "printed.yaml"
    file.write_text(BLOCKS[0], encoding="utf-8")

    mapping = load_mapping(file)

    example = mapping.examples[0]
    assert apply(mapping, example["payload"]) == example["expected"]


def test_the_printed_layout_reads_bytes() -> None:
    section = yaml12.load(BLOCKS[1]).value["decode"]
    codec = compile_codec(section, ("decode",), lambda _: None)

    assert codec.decode(bytes.fromhex("0001007580a1"), 1) == {"tension": -11.7, "celsius": 16.1}
    assert codec.decode(bytes.fromhex("017564036719010175ff"), 85) == {
        "battery": 255,
        "celsius": 28.1,
    }


@pytest.mark.parametrize("word", sorted(set(words(SCHEMA))))
def test_every_word_of_the_format_is_explained(word: str) -> None:
    assert re.search(rf"`[^`]*\b{re.escape(word)}\b[^`]*`", README) or f"{word}:" in README
