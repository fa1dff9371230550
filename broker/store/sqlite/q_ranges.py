"""Literals of the Query Language as ranges of indexed values.

In the expressions made here, `$v` stands for the value.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from broker.core.query.nodes import Compares, Equals, Kind, Literal, QLeaf
from broker.core.query.patterns import Plain
from broker.core.query.values import TEMPORAL_RANKS
from broker.store.sqlite.index_rows import (
    MAX_TEXT,
    SqlValue,
    encode,
    encode_object,
    encode_time,
)
from broker.store.sqlite.q_conditions import Sql, marks

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = 1000


def _encoded(literal: Literal) -> tuple[list[SqlValue], bool]:
    """Return the indexed values that equal a literal, and whether nothing else is among them."""
    if literal.kind is Kind.TEXT:
        text = str(literal.value)
        return [text[:MAX_TEXT], encode_object(text)], len(text) < MAX_TEXT
    return [bound(literal)], True


def bound(literal: Literal) -> SqlValue:
    """Return the indexed value that a literal is compared as."""
    rank = TEMPORAL_RANKS.get(literal.kind)
    if rank is not None:
        return encode_time(rank, int(literal.value))
    if literal.kind is Kind.TEXT:
        return str(literal.value)[:MAX_TEXT]
    return encode(literal.value)


def equals(leaf: Equals) -> tuple[Sql, bool]:
    """Return the values that equal one of the literals, and whether nothing else is among them."""
    if leaf.range is not None:
        lowest, highest = (bound(literal) for literal in leaf.range)
        exact = all(_is_short(literal) for literal in leaf.range)
        return Sql("$v BETWEEN ? AND ?", (lowest, highest)), exact
    values: list[SqlValue] = []
    exact = True
    for literal in leaf.literals:
        found, sure = _encoded(literal)
        values += found
        exact = exact and sure
    return Sql(f"$v IN ({marks(values)})", tuple(values)), exact


def _is_short(literal: Literal) -> bool:
    return literal.kind is not Kind.TEXT or len(str(literal.value)) < MAX_TEXT


def compares(leaf: Compares) -> tuple[Sql, bool]:
    """Return the values of the literal's type before or behind it, and whether they all match."""
    literal, operator = leaf.literal, operator_of(leaf)
    exact = _is_short(literal)
    start, end = _type_range(literal.kind)
    limit = bound(literal)
    if operator.startswith(">"):
        return Sql(f"$v {operator} ? AND $v < ?", (limit, end)), exact
    if start is None:
        return Sql(f"$v {operator} ?", (limit,)), exact
    return Sql(f"$v >= ? AND $v {operator} ?", (start, limit)), exact


def operator_of(leaf: Compares) -> str:
    """Return the operator; of a text cut short, what is equal up to the cut stays in."""
    return leaf.operator if _is_short(leaf.literal) else leaf.operator[0] + "="


def _type_range(kind: Kind) -> tuple[SqlValue | None, SqlValue]:
    if kind is Kind.NUMBER:
        return None, ""
    if kind is Kind.TEXT:
        return "", b""
    rank = TEMPORAL_RANKS[kind]
    return bytes([rank]), bytes([rank + 1])


def gaps(leaf: Equals) -> list[Sql]:
    """Return the ranges of values between and around what a value must not equal."""
    if leaf.range is not None:
        lowest, highest = (bound(literal) for literal in leaf.range)
        return [Sql("$v < ?", (lowest,)), Sql("$v > ?", (highest,))]
    points: set[SqlValue] = set()
    for literal in leaf.literals:
        points.update(_encoded(literal)[0])
    ascending = sorted(points, key=_sql_order)
    return [
        Sql("$v < ?", (ascending[0],)),
        *(Sql("$v > ? AND $v < ?", pair) for pair in pairwise(ascending)),
        Sql("$v > ?", (ascending[-1],)),
    ]


def _sql_order(value: SqlValue) -> tuple[int, object]:
    """Return a key that sorts as SQLite does: numbers, texts, bytes."""
    if isinstance(value, str):
        return 1, value.encode()
    return (2, value) if isinstance(value, bytes) else (0, value)


def contains(plain: Plain) -> Sql:
    """Return the expression that a text contains another one, at its start or end if need be."""
    text, at_start, at_end = plain
    if at_start and at_end:
        return Sql("($v = ?)", (text,))
    if not text:
        return Sql("(1)")
    if at_start:
        test = Sql("substr($v, 1, ?) = ?", (len(text), text))
    elif at_end:
        test = Sql("substr($v, ?) = ?", (-len(text), text))
    else:
        test = Sql("instr($v, ?) > 0", (text,))
    # The functions on texts stop at a null character.
    return Sql(f"({test.text} OR instr($v, char(0)) > 0)", test.params)


def moments(column: str, leaf: QLeaf) -> Sql:
    """Return the condition on a column with a time; of a pattern, that there is one."""
    if isinstance(leaf, Compares):
        if leaf.literal.kind is not Kind.DATE_TIME:
            return Sql("0")
        return Sql(f"{column} {leaf.operator} ?", (_micros(leaf.literal),))
    if not isinstance(leaf, Equals):
        return Sql(f"{column} IS NOT NULL")
    times = tuple(_micros(one) for one in leaf.range or leaf.literals if one.kind is Kind.DATE_TIME)
    if leaf.range is None:
        among = Sql(f"{column} IN ({marks(times)})", times)
    else:
        among = Sql(f"{column} BETWEEN ? AND ?", times) if times else Sql("0")
    if leaf.negated:
        return Sql(f"{column} IS NOT NULL AND NOT ({among.text})", among.params)
    return among


def _micros(literal: Literal) -> int:
    return int(literal.value)


def before_or_after(column: str, operator: str, literal: Literal) -> Sql:
    """Compare a column of texts with milliseconds with a time in microseconds."""
    micros = _micros(literal)
    moment = _EPOCH + timedelta(microseconds=micros)
    text = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if micros % _MILLISECOND:
        operator = {">=": ">", "<": "<="}.get(operator, operator)
    return Sql(f"{column} {operator} ?", (text,))
