"""What the languages share: leaves joined by `;` (and), `|` or `,` (or), with parentheses."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from broker.core.errors import TooComplexQuery
from broker.core.query.nodes import AllOf, AnyOf, Selection
from broker.core.query.scanner import MAX_DEPTH, Scanner

N = TypeVar("N")

MAX_LEAVES = 256
"""Conditions in one query text."""


def parse_selection(
    scanner: Scanner,
    leaf: Callable[[], N],
    expected: str,
    or_operators: tuple[str, ...] = ("|", ","),
) -> Selection[N]:
    """Read leaves and operators up to the end of the text; and binds closer than or.

    Args:
        leaf: reads one leaf at the scanner's position.
        expected: what may follow a leaf, for error messages.

    Raises:
        BadRequestData: the text does not follow the grammar.
        TooComplexQuery: it has too many conditions or parentheses.
    """
    leaves = 0

    def member(depth: int) -> Selection[N]:
        nonlocal leaves
        if scanner.take("("):
            if depth == MAX_DEPTH:
                raise TooComplexQuery(
                    f"{scanner.language}: more than {MAX_DEPTH} parentheses inside each other"
                )
            node = alternatives(depth + 1)
            scanner.expect(")", "')'")
            return node
        leaves += 1
        if leaves > MAX_LEAVES:
            raise TooComplexQuery(f"{scanner.language}: more than {MAX_LEAVES} conditions")
        return leaf()

    def conjunction(depth: int) -> Selection[N]:
        operands = [member(depth)]
        while scanner.take(";"):
            operands.append(member(depth))
        return operands[0] if len(operands) == 1 else AllOf(tuple(operands))

    def alternatives(depth: int) -> Selection[N]:
        operands = [conjunction(depth)]
        while scanner.take(*or_operators):
            operands.append(conjunction(depth))
        return operands[0] if len(operands) == 1 else AnyOf(tuple(operands))

    node = alternatives(0)
    scanner.expect_end(expected)
    return node
