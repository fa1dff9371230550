"""Entity tags: what tells one state of an entity from another (an extension; RFC 9110, 8.8.3)."""

from __future__ import annotations

import hashlib
import re

import msgspec

from broker.core.errors import InvalidRequest
from broker.core.identifiers import ExpandedEntity

_TAG = re.compile(r'\s*(?:W/)?("[^"]*")\s*(?:,|$)')


def entity_tag(entity: ExpandedEntity) -> str:
    """Return a tag that is another for every state, whatever the representation."""
    return f'"{hashlib.blake2b(msgspec.json.encode(entity), digest_size=9).hexdigest()}"'


def parse_tags(header: str, where: str) -> frozenset[str] | None:
    """Return the tags of an If-Match or If-None-Match header; None stands for `*`.

    Raises:
        InvalidRequest: the header is neither `*` nor a list of tags.
    """
    if header.strip() == "*":
        return None
    position, tags = 0, set()
    while position < len(header):
        found = _TAG.match(header, position)
        if found is None:
            raise InvalidRequest(f"{where}: expected * or entity tags, got {header!r:.120}")
        tags.add(found[1])
        position = found.end()
    return frozenset(tags)
