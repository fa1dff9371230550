"""Mappings made of short YAML, for tests of single words."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent, indent
from typing import Any

from iot_agents.common.mapping.apply import apply
from iot_agents.common.mapping.loader import load_mapping
from iot_agents.common.mapping.model import Drops, InvalidMapping, Mapping

_FRAME = """\
mapping: under-test
source: {{protocol: mqtt}}
{before}entities:
- id: "urn:ngsi-ld:Thing:1"
  type: Thing
  at: time
{entity}  attributes:
{attributes}
examples: [{{name: none, payload: {{}}, expected: []}}]
"""


def text_of(attributes: str, *, before: str = "", entity: str = "") -> str:
    """Return a mapping file with these attributes of a type that has no model."""
    return _FRAME.format(
        before=dedent(before),
        entity=indent(dedent(entity), "  "),
        attributes=indent(dedent(attributes).strip(), "    "),
    )


def load(directory: Path, text: str) -> Mapping:
    """Load a mapping file with this text."""
    file = directory / "under-test.yaml"
    file.write_text(text, encoding="utf-8")
    return load_mapping(file)


def problems_of(directory: Path, text: str) -> list[str]:
    """Return the problems of a file, each without the directory; none when it loads."""
    try:
        load(directory, text)
    except InvalidMapping as error:
        return [problem.removeprefix(f"{directory}/") for problem in error.problems]
    return []


def value_of(directory: Path, field: str, payload: Any, *, before: str = "") -> Any:
    """Return what a field says of a payload; None when the attribute is left out."""
    mapping = load(directory, text_of(f"result: {field}", before=before))
    moment = {"time": "2026-05-04T07:00:00Z"}
    entities = apply(mapping, {**moment, **payload})
    return entities[0]["result"] if entities else None


def drops_of(directory: Path, field: str, payload: Any) -> list[str]:
    """Return why the attribute of a field was left out."""
    drops: Drops = []
    apply(load(directory, text_of(f"result: {field}")), payload, drops=drops)
    return [f"{drop.field}: {drop.reason}" for drop in drops]
