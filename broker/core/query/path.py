"""Attribute paths (clause 4.9, production rule Attribute), shared by `q` and `orderBy`.

    path     = name "{" [type *("," type) ":"] path "}" / dotted ["[" trailing "]"]
    dotted   = name *("." name)
    trailing = member *("." member) / language / "*"

Beyond the grammar, the first name may carry a prefix (`ex:speed`), where it cannot be taken for a
type; a member inside the brackets may have any characters but those that mean something here; and
`datasetId`, `unitCode` and the temporal properties are reached like sub-attributes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from broker.core.errors import TooComplexQuery
from broker.core.identifiers import Iri
from broker.core.query.nodes import Link, Path
from broker.core.query.scanner import MAX_DEPTH, NAME, Scanner

Expand = Callable[[str], Iri]

MEMBERS = frozenset(
    {
        "id",
        "type",
        "scope",
        "createdAt",
        "modifiedAt",
        "deletedAt",
        "expiresAt",
        "observedAt",
        "unitCode",
        "datasetId",
        "objectType",
        "valueType",
    }
)
"""Names that are members of an entity or an instance, not attributes."""

_SIMPLE_NAME = re.compile(r"[^\W\d_]\w*")
_MEMBER = re.compile(r"[^\[\]{}().,;|=<>!~\"\s]+")
_HINT = re.compile(r"(?:[^\W\d_]\w*)(?:,[^\W\d_]\w*)*:")


def parse_path(scanner: Scanner, expand: Expand, depth: int = 0) -> Path:
    """Read a path at the scanner's position.

    Raises:
        BadRequestData: there is none, or it does not follow the grammar.
        TooComplexQuery: it goes through too many linked entities.
    """
    names = [_name(scanner, expand, NAME if depth == 0 else _SIMPLE_NAME)]
    if scanner.next == "{":
        return Path(tuple(names), link=_link(scanner, expand, depth + 1))
    while scanner.take("."):
        names.append(_name(scanner, expand, NAME))
    return Path(tuple(names), _trailing(scanner))


def _name(scanner: Scanner, expand: Expand, pattern: re.Pattern[str]) -> str:
    found = scanner.match(pattern)
    if found is None:
        scanner.fail("an attribute name")
    name = found.group()
    return name if name in MEMBERS else expand(name)


def _link(scanner: Scanner, expand: Expand, depth: int) -> Link:
    if depth > MAX_DEPTH:
        raise TooComplexQuery(f"{scanner.language}: more than {MAX_DEPTH} linked entities")
    scanner.expect("{", "'{'")
    hint = scanner.match(_HINT)
    types = tuple(expand(name) for name in hint.group()[:-1].split(",")) if hint else ()
    path = parse_path(scanner, expand, depth)
    scanner.expect("}", "'}'")
    return Link(path, types)


def _trailing(scanner: Scanner) -> tuple[str, ...]:
    if not scanner.take("["):
        return ()
    members = []
    while True:
        found = scanner.match(_MEMBER)
        if found is None:
            scanner.fail("a member name, a language or '*'")
        members.append(found.group())
        if not scanner.take("."):
            break
    scanner.expect("]", "'.' or ']'")
    if scanner.next == "[":
        scanner.fail("members joined by '.' in one pair of brackets")
    return tuple(members)


def link_depth(path: Path) -> int:
    """Count the relationships that a path follows."""
    return 0 if path.link is None else 1 + link_depth(path.link.path)


def top_names(path: Path) -> Iterator[Iri]:
    """Yield the attribute a path starts with; nothing if that is no attribute."""
    if ":" in path.names[0]:
        yield Iri(path.names[0])
