"""Where in a mapping file something stands, and what is wrong there."""

from __future__ import annotations

from typing import TypeAlias

Path: TypeAlias = tuple[str | int, ...]


class InvalidField(Exception):
    """A field of a mapping is wrong.

    Attributes:
        path: where it stands.
        reason: what is wrong.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{written(path)}: {reason}")
        self.path = path
        self.reason = reason


def written(path: Path) -> str:
    """Return a path as people write it: `entities[0].attributes.status`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")
