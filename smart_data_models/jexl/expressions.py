"""JEXL expressions compiled to closures.

Two ways to take a name that is missing:

- strict (mappings): reading it makes the whole expression yield nothing, so that a test never takes
  its false branch for want of data. Only what asks for absence sees it: `a ?: b`, `a == null`,
  `a != null`, and `&&`/`||` when the other side decides alone.
- lenient (provisioning): JavaScript's undefined. A test takes its false branch, a comparison is
  false, a transform gets null. Arithmetic and joining texts still yield nothing.

Work is bounded: an expression has a limited length and depth, has no loops but filters, and a
filter looks at a limited number of items, fewer when it stands in another filter. A scope is never
changed.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from smart_data_models.jexl import operators, syntax
from smart_data_models.jexl.syntax import InvalidExpression, Node
from smart_data_models.jexl.transforms import INVALID_INPUT, Clock, transforms
from smart_data_models.jexl.values import MISSING, ExpressionError, Getter, Scope, truthy
from smart_data_models.nearest import suggestion

_ITEMS_PER_FILTER: Final = (10_000, 100)
"""How many items a filter may look at, by its depth among filters."""
_ITEM: Final = object()
"""The scope's key of the item that a filter looks at."""

_Compile: TypeAlias = Callable[[Any], Getter]


def system_clock() -> datetime:
    """Return the time of this machine."""
    return datetime.now(UTC)


def compile_expression(text: str, *, strict: bool = True, clock: Clock = system_clock) -> Getter:
    """Compile an expression.

    The closure returns MISSING when the expression yields nothing, and raises ExpressionError on
    values it cannot work with.

    Raises:
        InvalidExpression: the text does not parse, or names an unknown transform.
    """
    return _Compiler(strict=strict, clock=clock).compile(syntax.parse(text, mixed_logic=not strict))


class _Compiler:
    def __init__(self, *, strict: bool, clock: Clock) -> None:
        self._strict = strict
        self._transforms = transforms(clock)
        self._filters = 0
        self._by_node: dict[type, _Compile] = {
            syntax.Literal: self._literal,
            syntax.Name: self._name,
            syntax.Member: self._member,
            syntax.Brackets: self._brackets,
            syntax.Unary: self._unary,
            syntax.Binary: self._binary,
            syntax.Conditional: self._conditional,
            syntax.Transform: self._transform,
            syntax.ArrayNode: self._array,
            syntax.ObjectNode: self._object,
        }

    def compile(self, node: Node) -> Getter:
        return self._by_node[type(node)](node)

    def _literal(self, node: syntax.Literal) -> Getter:
        value = node.value
        return lambda _: value

    def _name(self, node: syntax.Name) -> Getter:
        name = node.name
        if node.relative:
            return lambda scope: _member_of(scope[_ITEM], name)
        return lambda scope: scope.get(name, MISSING)

    def _member(self, node: syntax.Member) -> Getter:
        subject, name = self.compile(node.subject), node.name
        return lambda scope: _member_of(subject(scope), name)

    def _brackets(self, node: syntax.Brackets) -> Getter:
        subject = self.compile(node.subject)
        if not node.relative:
            index = self.compile(node.inner)
            return lambda scope: _indexed(subject(scope), index(scope))
        if self._filters == len(_ITEMS_PER_FILTER):
            raise InvalidExpression(f"more than {self._filters} filters inside each other")
        limit = _ITEMS_PER_FILTER[self._filters]
        self._filters += 1
        test = self.compile(node.inner)
        self._filters -= 1
        return lambda scope: _filtered(subject(scope), test, scope, limit)

    def _unary(self, node: syntax.Unary) -> Getter:
        operand = self.compile(node.operand)
        if node.operator == "-":
            return lambda scope: operators.negate(operand(scope))
        if not self._strict:
            return lambda scope: not truthy(operand(scope))

        def negated(scope: Scope) -> Any:
            value = operand(scope)
            return MISSING if value is MISSING else not truthy(value)

        return negated

    def _binary(self, node: syntax.Binary) -> Getter:
        left, right = self.compile(node.left), self.compile(node.right)
        if node.operator in ("&&", "||"):
            return (_logic_strict if self._strict else _logic)(node.operator, left, right)
        arithmetic = operators.ARITHMETIC.get(node.operator)
        if arithmetic is not None:
            return lambda scope: arithmetic(left(scope), right(scope))
        comparison = operators.COMPARISONS[node.operator]
        asks_for_null = node.operator in ("==", "!=") and (
            syntax.Literal(None) in (node.left, node.right)
        )
        if not self._strict or asks_for_null:
            return lambda scope: comparison(left(scope), right(scope))

        def compared(scope: Scope) -> Any:
            a, b = left(scope), right(scope)
            return MISSING if a is MISSING or b is MISSING else comparison(a, b)

        return compared

    def _conditional(self, node: syntax.Conditional) -> Getter:
        test, otherwise = self.compile(node.test), self.compile(node.otherwise)
        if node.then is None:

            def elvis(scope: Scope) -> Any:
                value = test(scope)
                return value if truthy(value) else otherwise(scope)

            return elvis
        then, strict = self.compile(node.then), self._strict

        def conditional(scope: Scope) -> Any:
            value = test(scope)
            if truthy(value):
                return then(scope)
            return MISSING if strict and value is MISSING else otherwise(scope)

        return conditional

    def _transform(self, node: syntax.Transform) -> Getter:
        function = self._transforms.get(node.name)
        if function is None:
            near = suggestion(node.name, self._transforms)
            raise InvalidExpression(f"unknown transform {node.name!r}{near}")
        operands = [self.compile(each) for each in (node.subject, *node.arguments)]
        strict = self._strict

        def transformed(scope: Scope) -> Any:
            values = [get(scope) for get in operands]
            if strict and MISSING in values:
                return MISSING
            try:
                return function(*values)
            except ExpressionError:
                raise
            except INVALID_INPUT:
                return None

        return transformed

    def _array(self, node: syntax.ArrayNode) -> Getter:
        if node.items and all(isinstance(item, syntax.Literal) for item in node.items):
            constant = [_null(self.compile(item)({})) for item in node.items]
            # Results are never changed, so all evaluations can share one.
            return lambda _: constant
        items = [self.compile(item) for item in node.items]
        if self._strict:
            return lambda scope: _complete([item(scope) for item in items])
        return lambda scope: [_null(item(scope)) for item in items]

    def _object(self, node: syntax.ObjectNode) -> Getter:
        members = [(name, self.compile(value)) for name, value in node.members]
        return lambda scope: {
            name: value for name, get in members if (value := get(scope)) is not MISSING
        }


def _complete(values: list[Any]) -> Any:
    return MISSING if MISSING in values else values


def _null(value: Any) -> Any:
    return None if value is MISSING else value


def _member_of(subject: Any, name: str) -> Any:
    if isinstance(subject, list):
        subject = subject[0] if subject else MISSING
    return subject.get(name, MISSING) if isinstance(subject, dict) else MISSING


def _indexed(subject: Any, index: Any) -> Any:
    if isinstance(index, bool):
        return subject if index else MISSING
    if isinstance(subject, dict):
        return subject.get(index, MISSING) if isinstance(index, str) else MISSING
    if isinstance(subject, list | str) and isinstance(index, int) and 0 <= index < len(subject):
        return subject[index]
    return MISSING


def _filtered(subject: Any, test: Getter, scope: Scope, limit: int) -> Any:
    if subject is MISSING or subject is None:
        return subject
    items = subject if isinstance(subject, list) else [subject]
    if len(items) > limit:
        raise ExpressionError(f"a filter over {len(items)} items, of at most {limit}")
    inner = {**scope}
    kept = []
    for item in items:
        inner[_ITEM] = item
        if truthy(test(inner)):
            kept.append(item)
    return kept


def _logic(operator: str, left: Getter, right: Getter) -> Getter:
    if operator == "&&":

        def both(scope: Scope) -> Any:
            value = left(scope)
            return right(scope) if truthy(value) else value

        return both

    def either(scope: Scope) -> Any:
        value = left(scope)
        return value if truthy(value) else right(scope)

    return either


def _logic_strict(operator: str, left: Getter, right: Getter) -> Getter:
    """Compile `&&` or `||` so that a missing side counts unless the other decides alone."""
    deciding = operator == "||"

    def decided(scope: Scope) -> Any:
        first = left(scope)
        if first is not MISSING and truthy(first) is deciding:
            return first
        second = right(scope)
        if second is not MISSING and truthy(second) is deciding:
            return second
        return MISSING if first is MISSING else second

    return decided
