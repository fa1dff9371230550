"""Official schemas, examples and vectors, which live beside the project and not in it."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the official schemas and vectors (../shared) are not there"
)
