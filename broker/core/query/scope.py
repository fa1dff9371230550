"""The Scope Query Language (clause 4.19).

    query = group *(("|" / ",") group)
    group = scope *(";" scope) / "(" query ")"
    scope = ["/"] level *("/" level) ["/#"] / "/#"
    level = name / "+"

`+` stands for any one level; `/#` at the end takes in the scopes below, and alone any scope.
Beyond the grammar: the first slash may be missing, as it is in the clause's own examples.
"""

from __future__ import annotations

import re

from broker.core.query.nodes import ScopeIs, ScopeNode
from broker.core.query.scanner import Scanner
from broker.core.query.selection import parse_selection

_LEVEL = re.compile(r"[^\W\d_]\w*|\+")


def parse(text: str, where: str = "scopeQ") -> ScopeNode:
    """Parse a scope query.

    Raises:
        BadRequestData: the text does not follow the grammar; the detail says where.
    """
    scanner = Scanner(where, text)
    return parse_selection(scanner, lambda: _scope(scanner), "'/', ',', '|', ';' or the end")


def _scope(scanner: Scanner) -> ScopeNode:
    levels: list[str] = []
    slash = scanner.take("/")
    while True:
        if slash and scanner.take("#"):
            return ScopeIs(tuple(levels), subtree=True)
        found = scanner.match(_LEVEL)
        if found is None:
            scanner.fail("a scope level, '+' or '#'")
        levels.append(found.group())
        slash = scanner.take("/")
        if not slash:
            return ScopeIs(tuple(levels))
