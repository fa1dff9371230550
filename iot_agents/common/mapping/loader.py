"""Mapping files: read, checked against the format and the Smart Data Models, compiled."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from iot_agents.common.mapping.model import Mapping, Mappings


def packaged_mappings() -> Path:
    """Return the directory of the mappings that come with the product."""
    raise NotImplementedError


def load_mapping(path: Path) -> Mapping:
    """Load one mapping file.

    Raises:
        InvalidMapping: with every problem found, each with file, line and field.
    """
    raise NotImplementedError


def load_mappings(directory: Path) -> Mappings:
    """Load every mapping below a directory.

    Raises:
        InvalidMapping: with the problems of all files.
    """
    raise NotImplementedError
