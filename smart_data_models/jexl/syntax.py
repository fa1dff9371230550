"""The syntax of JEXL: text in, a tree of nodes out.

Grammar, loosest binding first; binary operators associate to the left:

    expression  := binary [ "?" [expression] ":" expression ]     without a middle: elvis
    binary      := unary { operator unary }
                   precedence 10: && ||   20: == != > >= < <= in   30: + -   40: * / //   50: % ^
    unary       := { "!" | "-" } postfix
    postfix     := primary { "." name | "[" expression "]" | "|" name [ "(" arguments ")" ] }
    primary     := number | string | true | false | null | undefined | name | "." name
                 | "(" expression ")" | "[" arguments "]" | "{" name ":" expression, … "}"

A name with a leading dot is a member of the item that a filter `[…]` looks at. Since `a || b && c`
is `(a || b) && c` here, which surprises most people, `parse` can refuse such a mixture.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from smart_data_models.jexl.values import MISSING

MAX_LENGTH: Final = 4096
MAX_DEPTH: Final = 40
_PRECEDENCE: Final = {
    "&&": 10, "||": 10,
    "==": 20, "!=": 20, ">": 20, ">=": 20, "<": 20, "<=": 20, "in": 20,
    "+": 30, "-": 30,
    "*": 40, "/": 40, "//": 40,
    "%": 50, "^": 50,
}  # fmt: skip
_TOKEN: Final = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|\.\d+)"
    r"|(?P<string>'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\")"
    r"|(?P<name>[^\W\d][\w$]*|\$[\w$]*)"
    r"|(?P<symbol>&&|\|\||==|!=|>=|<=|//|[-+*/%^!<>?:.,|()\[\]{}]))",
    re.DOTALL,
)
_ESCAPE: Final = re.compile(r"\\(['\"\\])")
_CONSTANTS: Final = {"true": True, "false": False, "null": None, "undefined": MISSING}


class InvalidExpression(Exception):
    """The text is not an expression; the message says why and where."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant."""

    value: Any


@dataclass(frozen=True, slots=True)
class Name:
    """A name of the scope, or with `relative` a member of the item being filtered."""

    name: str
    relative: bool = False


@dataclass(frozen=True, slots=True)
class Member:
    """`subject.name`."""

    subject: Node
    name: str


@dataclass(frozen=True, slots=True)
class Brackets:
    """`subject[inner]`: a filter when `inner` has relative names, an index otherwise."""

    subject: Node
    inner: Node
    relative: bool


@dataclass(frozen=True, slots=True)
class Unary:
    """`!operand` or `-operand`."""

    operator: str
    operand: Node


@dataclass(frozen=True, slots=True)
class Binary:
    """`left operator right`."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Conditional:
    """`test ? then : otherwise`, or the elvis `test ?: otherwise`."""

    test: Node
    then: Node | None
    otherwise: Node


@dataclass(frozen=True, slots=True)
class Transform:
    """`subject|name(arguments)`."""

    subject: Node
    name: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class ArrayNode:
    """`[a, b]`."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class ObjectNode:
    """`{a: b}`."""

    members: tuple[tuple[str, Node], ...]


Node: TypeAlias = (
    Literal | Name | Member | Brackets | Unary | Binary | Conditional | Transform | ArrayNode
    | ObjectNode
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    position: int


def parse(text: str, *, mixed_logic: bool = True) -> Node:
    """Parse an expression.

    Args:
        mixed_logic: whether `&&` and `||` may stand side by side without parentheses.

    Raises:
        InvalidExpression: the text is not one, is too long or nested too deeply.
    """
    if len(text) > MAX_LENGTH:
        raise InvalidExpression(f"longer than {MAX_LENGTH} characters")
    parser = _Parser(_tokens(text), mixed_logic=mixed_logic)
    node = parser.expression()
    parser.expect_end()
    return node


def _tokens(text: str) -> list[_Token]:
    tokens = []
    position = 0
    end = len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            position += len(text[position:]) - len(text[position:].lstrip())
            raise InvalidExpression(f"unexpected {text[position]!r} at position {position}")
        kind = match.lastgroup
        tokens.append(_Token(kind, match[kind], match.start(kind)))
        position = match.end()
    tokens.append(_Token("end", "", len(text)))
    return tokens


class _Parser:
    def __init__(self, tokens: list[_Token], *, mixed_logic: bool) -> None:
        self._tokens = tokens
        self._mixed_logic = mixed_logic
        self._at = 0
        self._depth = 0
        # One entry per open filter: whether a relative name has been seen in it.
        self._relative: list[bool] = []

    def expect_end(self) -> None:
        if self._token.kind != "end":
            raise self._unexpected("the end")

    def expression(self) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise InvalidExpression(f"nested deeper than {MAX_DEPTH} levels")
        node = self._binary(0)
        if self._take("?"):
            then = None
            if not self._take(":"):
                then = self.expression()
                self._expect(":")
            node = Conditional(node, then, self.expression())
        self._depth -= 1
        return node

    @property
    def _token(self) -> _Token:
        return self._tokens[self._at]

    def _take(self, symbol: str) -> bool:
        token = self._token
        if token.kind == "symbol" and token.text == symbol:
            self._at += 1
            return True
        return False

    def _expect(self, symbol: str) -> None:
        if not self._take(symbol):
            raise self._unexpected(repr(symbol))

    def _unexpected(self, wanted: str) -> InvalidExpression:
        token = self._token
        found = repr(token.text) if token.kind != "end" else "the end"
        return InvalidExpression(f"expected {wanted} at position {token.position}, found {found}")

    def _binary(self, floor: int) -> Node:
        left = self._unary()
        logic = None
        while True:
            operator = self._token.text if self._token.kind in ("symbol", "name") else ""
            precedence = _PRECEDENCE.get(operator)
            if precedence is None or precedence < floor:
                return left
            if precedence == _PRECEDENCE["&&"]:
                if logic not in (None, operator) and not self._mixed_logic:
                    raise InvalidExpression(
                        f"{operator} at position {self._token.position} beside {logic}: "
                        "parentheses must say what belongs together"
                    )
                logic = operator
            self._at += 1
            left = Binary(operator, left, self._binary(precedence + 1))

    def _unary(self) -> Node:
        operators = []
        while self._token.text in ("!", "-") and self._token.kind == "symbol":
            operators.append(self._token.text)
            self._at += 1
        node = self._postfix(self._primary())
        for operator in reversed(operators):
            if (
                operator == "-"
                and isinstance(node, Literal)
                and node.value.__class__ in (int, float)
            ):
                node = Literal(-node.value)
            else:
                node = Unary(operator, node)
        return node

    def _postfix(self, node: Node) -> Node:
        while True:
            if self._take("."):
                node = Member(node, self._name())
            elif self._take("["):
                node = self._brackets(node)
            elif self._take("|"):
                name = self._name()
                node = Transform(node, name, self._items(")") if self._take("(") else ())
            else:
                return node

    def _brackets(self, subject: Node) -> Node:
        self._relative.append(False)
        inner = self.expression()
        self._expect("]")
        return Brackets(subject, inner, self._relative.pop())

    def _name(self) -> str:
        if self._token.kind != "name":
            raise self._unexpected("a name")
        self._at += 1
        return self._tokens[self._at - 1].text

    def _items(self, closing: str) -> tuple[Node, ...]:
        items: list[Node] = []
        while not self._take(closing):
            if items:
                self._expect(",")
            items.append(self.expression())
        return tuple(items)

    def _primary(self) -> Node:
        token = self._token
        if token.kind == "number":
            self._at += 1
            return Literal(float(token.text) if not token.text.isdigit() else int(token.text))
        if token.kind == "string":
            self._at += 1
            return Literal(_ESCAPE.sub(r"\1", token.text[1:-1]))
        if token.kind == "name":
            self._at += 1
            constant = _CONSTANTS.get(token.text, self)
            return Name(token.text) if constant is self else Literal(constant)
        return self._group()

    def _group(self) -> Node:
        if self._take("("):
            node = self.expression()
            self._expect(")")
            return node
        if self._take("["):
            return ArrayNode(self._items("]"))
        if self._take("{"):
            return ObjectNode(self._members())
        if self._take("."):
            if not self._relative:
                raise self._unexpected("no '.' outside a filter")
            self._relative[-1] = True
            return Name(self._name(), relative=True)
        raise self._unexpected("a value")

    def _members(self) -> tuple[tuple[str, Node], ...]:
        members: list[tuple[str, Node]] = []
        while not self._take("}"):
            if members:
                self._expect(",")
            key = self._token
            if key.kind not in ("name", "string"):
                raise self._unexpected("a member's name")
            self._at += 1
            self._expect(":")
            name = key.text if key.kind == "name" else _ESCAPE.sub(r"\1", key.text[1:-1])
            members.append((name, self.expression()))
        return tuple(members)
