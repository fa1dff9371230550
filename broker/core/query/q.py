r"""The Query Language (clause 4.9).

    query    = group *("|" group)
    group    = member *(";" member)
    member   = "(" query ")" / "!" path / path [operator value]
    operator = "==" / "!=" / ">" / ">=" / "<" / "<=" / "~=" / "!~="
    value    = literal / literal ".." literal / literal 1*("," literal) / pattern
    literal  = number / text / dateTime / date / time / "true" / "false" / URI / word

Ranges and lists follow `==` and `!=` only. A text is quoted as in JSON. A pattern may be quoted, in
which only `\\"` is an escape, or stand bare up to the next `;`, `|` or `)` outside its own
parentheses. Beyond the grammar: `!path` (absence), nested parentheses, bare URIs in lists, and bare
words as texts, as the clause's own example for `expandValues` has one. A comma belongs to a bare
URI unless another URI or a quoted text follows it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import partial

from broker.core.identifiers import Iri
from broker.core.query.nodes import (
    Absent,
    AllOf,
    AnyOf,
    Compares,
    Equals,
    Exists,
    Fits,
    Kind,
    Literal,
    Path,
    QLeaf,
    QNode,
)
from broker.core.query.path import Expand, link_depth, parse_path, top_names
from broker.core.query.patterns import finder
from broker.core.query.scanner import Scanner
from broker.core.query.selection import parse_selection
from broker.core.query.values import temporal

_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_TEMPORAL = re.compile(
    r"\d{4}-\d\d-\d\d(?:T\d\d:\d\d:\d\d(?:[.,]\d{1,9})?Z)?|\d\d:\d\d:\d\d(?:[.,]\d{1,9})?Z",
    re.ASCII,
)
_QUOTED = re.compile(r'"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9A-Fa-f]{4})*"')
_QUOTED_PATTERN = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_URI_PART = r"[^\s;|,()\"<>{}\\^`]+"
_SCHEME = r"[A-Za-z][A-Za-z0-9+.\-]*:"
_URI = re.compile(rf"{_SCHEME}{_URI_PART}(?:,(?!{_SCHEME}|\"){_URI_PART})*")
_WORD = re.compile(r"[^\W\d_]\w*")
_OPERATORS = ("==", "!=", ">=", "<=", ">", "<", "~=", "!~=")
_AFTER_VALUE = "';', '|', ')' or the end"
_LARGEST = 2.0**63


def parse(
    text: str, expand: Expand, *, expand_values: frozenset[str] = frozenset(), where: str = "q"
) -> QNode:
    """Parse a query.

    Args:
        expand: the @context's expansion of names.
        expand_values: names of attributes whose values are expanded too (`expandValues`).
        where: the parameter's name, for error messages.

    Raises:
        BadRequestData: the text does not follow the grammar; the detail says where.
        TooComplexQuery: it is larger than any honest query.
    """
    scanner = Scanner(where, text)
    coerced = frozenset(expand(name) for name in expand_values) | {Iri("type")}
    leaf = partial(_leaf, scanner, expand, coerced)
    return parse_selection(scanner, leaf, "an operator, " + _AFTER_VALUE, ("|",))


def leaves(node: QNode) -> Iterator[QLeaf]:
    """Yield the conditions of a query from left to right."""
    if isinstance(node, AllOf | AnyOf):
        for operand in node.operands:
            yield from leaves(operand)
    else:
        yield node


def attributes(node: QNode) -> frozenset[Iri]:
    """Return the attributes of the entity itself that a query looks at; system ones are none."""
    return frozenset(name for leaf in leaves(node) for name in top_names(leaf.path))


def linked_attributes(node: QNode) -> frozenset[Iri]:
    """Return the attributes of linked entities that a query looks at."""
    found: set[Iri] = set()
    for leaf in leaves(node):
        link = leaf.path.link
        while link is not None:
            found.update(top_names(link.path))
            link = link.path.link
    return frozenset(found)


def linked_depth(node: QNode) -> int:
    """Return how many relationships a query follows at most, to be compared with `joinLevel`."""
    return max(link_depth(leaf.path) for leaf in leaves(node))


def _leaf(scanner: Scanner, expand: Expand, coerced: frozenset[Iri]) -> QLeaf:
    if scanner.take("!"):
        return Absent(parse_path(scanner, expand))
    path = parse_path(scanner, expand)
    operator = scanner.take(*_OPERATORS)
    if not operator:
        return Exists(path)
    if operator in ("~=", "!~="):
        return Fits(path, _pattern(scanner, operator), negated=operator == "!~=")
    read = partial(_literal, scanner, operator, expand if _target(path) in coerced else None)
    if operator in ("==", "!="):
        return _equality(scanner, path, operator, read)
    start = scanner.position
    literal = read()
    if literal.kind is Kind.BOOLEAN:
        scanner.fail(f"a number, text or time after '{operator}'", start)
    if scanner.take("..", ","):
        scanner.fail(f"one value after '{operator}', for ranges and lists go with == and !=", start)
    return Compares(path, operator, literal)


def _target(path: Path) -> str:
    return path.names[-1] if path.link is None else _target(path.link.path)


def _equality(scanner: Scanner, path: Path, operator: str, read: Callable[[], Literal]) -> Equals:
    negated = operator == "!="
    start = scanner.position
    first = read()
    if scanner.take(".."):
        last = read()
        if first.kind is not last.kind or first.kind is Kind.BOOLEAN:
            scanner.fail("a range between two numbers, texts or times of one kind", start)
        return Equals(path, range=(first, last), negated=negated)
    literals = [first]
    while scanner.take(","):
        literals.append(read())
    return Equals(path, tuple(literals), negated=negated)


def _literal(scanner: Scanner, operator: str, expand: Expand | None) -> Literal:
    start = scanner.position
    found = scanner.match(_QUOTED)
    if found is not None:
        text: str = json.loads(found.group())
        if any("\ud800" <= character <= "\udfff" for character in text):
            scanner.fail("a text of whole characters", start)
        return _text(text, expand)
    found = scanner.match(_TEMPORAL)
    if found is not None:
        literal = _text(found.group(), None)
        if literal.kind is Kind.TEXT:
            scanner.fail("a date or time that exists", start)
        return literal
    found = scanner.match(_NUMBER)
    if found is not None:
        return _number(scanner, found.group(), start)
    found = scanner.match(_URI) or scanner.match(_WORD)
    if found is None:
        scanner.fail(f"a value after '{operator}'")
    word = found.group()
    if word in ("true", "false"):
        return Literal(Kind.BOOLEAN, word == "true")
    return _text(word, expand)


def _text(text: str, expand: Expand | None) -> Literal:
    if expand is not None:
        return Literal(Kind.TEXT, expand(text))
    time = temporal(text)
    return Literal(Kind.TEXT, text) if time is None else Literal(time.kind, time.microseconds)


def _number(scanner: Scanner, text: str, start: int) -> Literal:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        scanner.fail("a number that is finite", start)
    if abs(number) < _LARGEST and text.lstrip("-").isdigit():
        return Literal(Kind.NUMBER, int(text))
    return Literal(Kind.NUMBER, number)


def _pattern(scanner: Scanner, operator: str) -> str:
    start = scanner.position
    found = scanner.match(_QUOTED_PATTERN)
    pattern = found.group(1).replace('\\"', '"') if found is not None else _bare_pattern(scanner)
    if not pattern:
        scanner.fail(f"a pattern after '{operator}'", start)
    finder(pattern, f"{scanner.language}: at position {start + 1}")
    return pattern


def _bare_pattern(scanner: Scanner) -> str:
    text, start, depth, position = scanner.text, scanner.position, 0, scanner.position
    while position < len(text):
        character = text[position]
        if character == "\\":
            position += 1
        elif character == "(":
            depth += 1
        elif depth == 0 and character in ";|)":
            break
        elif character == ")":
            depth -= 1
        position += 1
    scanner.position = min(position, len(text))
    return text[start : scanner.position]
