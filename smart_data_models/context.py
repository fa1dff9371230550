"""The product's @context: one compact file, type-scoped, that gives every model its own IRIs."""

from __future__ import annotations

from typing import Any

CONTEXT_PATH = "/contexts/city-v1.jsonld"
"""Where the broker serves the product context. The path names a version and what it names never
changes: a change of the models makes a new one."""


def product_context() -> dict[str, Any]:
    """Return the product context as a document with an `@context` member."""
    raise NotImplementedError
