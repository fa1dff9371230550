"""The Entity Type Selection Language (clause 4.17).

    selection = group *(("|" / ",") group)
    group     = member *(";" member)
    member    = type / "(" selection ")"

`type` is a name or a URI; `*` alone selects every type. Nesting and a conjunction without
parentheses go beyond the grammar of the clause and mean what they look like.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from broker.core.identifiers import Iri, is_uri
from broker.core.query.nodes import TypeIs, TypeNode
from broker.core.query.scanner import NAME, Scanner
from broker.core.query.selection import parse_selection

_TYPE = re.compile(r"[^,;|()\s]+")


def parse(text: str, expand: Callable[[str], Iri], where: str = "type") -> TypeNode | None:
    """Parse a type selection; None stands for every type (`*`).

    Args:
        expand: the @context's expansion of names.
        where: the parameter's name, for error messages.

    Raises:
        BadRequestData: the text does not follow the grammar; the detail says where.
    """
    if text.strip() == "*":
        return None
    scanner = Scanner(where, text)

    def leaf() -> TypeNode:
        start = scanner.position
        found = scanner.match(_TYPE)
        if found is None:
            scanner.fail("an entity type")
        name = found.group()
        if NAME.fullmatch(name) is None and not is_uri(name):
            scanner.fail("a type name or a URI", start)
        return TypeIs(expand(name))

    return parse_selection(scanner, leaf, "',', '|', ';' or the end")
