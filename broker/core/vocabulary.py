"""Names of the core model: attribute kinds, the members they have, and the bounds of a document (clause 4.5)."""

from __future__ import annotations
