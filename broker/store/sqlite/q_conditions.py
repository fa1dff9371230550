"""Conditions as SQL over the attribute index, each in up to three forms.

- `check`: an expression that is true for a given entity; it costs a look-up.
- `source`: a SELECT of the `seq` of all entities that fulfil it, through an index, so that it costs
  as much as it finds; an entity may come up several times.
- `walk`: the same in ascending order and lazily, so that a page costs no more than the way to it.

A form is None where there is none: a condition without `check` lets everything pass. `exact` says
whether what passes needs no second look by the evaluator.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from broker.store.sqlite.index_rows import SqlValue


class Sql(NamedTuple):
    """A piece of SQL with its parameters."""

    text: str
    params: tuple[SqlValue, ...] = ()


class Condition(Protocol):
    """See the module."""

    @property
    def exact(self) -> bool:
        """Whether the evaluator need not look again."""
        ...

    def check(self, seq: str) -> Sql | None:
        """Return an expression about the entity that the SQL expression `seq` names."""
        ...

    def source(self) -> Sql | None:
        """Return a SELECT of what fulfils the condition."""
        ...

    def walk(self, after: int | None) -> Sql | None:
        """Return a SELECT in ascending order, from the entity behind `after`."""
        ...


@dataclass(frozen=True, slots=True)
class Never:
    """Nothing matches."""

    exact: bool = True

    def check(self, seq: str) -> Sql | None:  # noqa: ARG002 - the protocol's
        return Sql("0")

    def source(self) -> Sql | None:
        return Sql("SELECT 0 AS seq WHERE 0")

    def walk(self, after: int | None) -> Sql | None:  # noqa: ARG002 - the protocol's
        return self.source()


@dataclass(frozen=True, slots=True)
class Anything:
    """What only the evaluator can decide."""

    exact: bool = False

    def check(self, seq: str) -> Sql | None:  # noqa: ARG002 - the protocol's
        return None

    def source(self) -> Sql | None:
        return None

    def walk(self, after: int | None) -> Sql | None:  # noqa: ARG002 - the protocol's
        return None


@dataclass(frozen=True, slots=True)
class Not:
    """An exact condition is not fulfilled."""

    condition: Condition
    exact: bool = True

    def check(self, seq: str) -> Sql | None:
        inner = self.condition.check(seq)
        return Sql("0") if inner is None else Sql(f"NOT {inner.text}", inner.params)

    def source(self) -> Sql | None:
        return None

    def walk(self, after: int | None) -> Sql | None:  # noqa: ARG002 - the protocol's
        return None


@dataclass(frozen=True, slots=True)
class Both:
    """All conditions are fulfilled."""

    conditions: tuple[Condition, ...]

    @property
    def exact(self) -> bool:
        """Whether each of them is."""
        return all(condition.exact for condition in self.conditions)

    def check(self, seq: str) -> Sql | None:
        return joined([condition.check(seq) for condition in self.conditions], " AND ")

    def source(self) -> Sql | None:
        for driver in self.conditions:
            found = driver.source()
            if found is not None:
                others = [other for other in self.conditions if other is not driver]
                check = joined([other.check("c.seq") for other in others], " AND ")
                if check is None:
                    return found
                return Sql(
                    f"SELECT c.seq AS seq FROM ({found.text}) AS c WHERE {check.text}",
                    found.params + check.params,
                )
        return None

    def walk(self, after: int | None) -> Sql | None:  # noqa: ARG002 - the protocol's
        return None


@dataclass(frozen=True, slots=True)
class Either:
    """One of the conditions is fulfilled."""

    conditions: tuple[Condition, ...]

    @property
    def exact(self) -> bool:
        """Whether each of them is."""
        return all(condition.exact for condition in self.conditions)

    def check(self, seq: str) -> Sql | None:
        checks = [condition.check(seq) for condition in self.conditions]
        return None if None in checks else joined(checks, " OR ")

    def source(self) -> Sql | None:
        sources = [condition.source() for condition in self.conditions]
        found = [source for source in sources if source is not None]
        if len(found) < len(sources):
            return None
        return Sql(
            " UNION ALL ".join(f"SELECT seq FROM ({source.text})" for source in found),
            tuple(param for source in found for param in source.params),
        )

    def walk(self, after: int | None) -> Sql | None:  # noqa: ARG002 - the protocol's
        return None


def marks(values: Sequence[object]) -> str:
    """Return a parameter's mark for each value."""
    return ",".join("?" * len(values))


def joined(checks: Iterable[Sql | None], operator: str) -> Sql | None:
    """Join expressions; None if there is nothing to join."""
    found = [check for check in checks if check is not None]
    if not found:
        return None
    return Sql(
        "(" + operator.join(check.text for check in found) + ")",
        tuple(param for check in found for param in check.params),
    )


def filtered(ordered: Sql, conditions: Iterable[Condition]) -> Sql:
    """Return the part of an ordered SELECT that fulfils conditions, in its order and lazily."""
    check = joined([condition.check("c.seq") for condition in conditions], " AND ")
    if check is None:
        return ordered
    # The inner LIMIT keeps SQLite from dropping the order and from checking before sorting.
    return Sql(
        f"SELECT c.seq AS seq FROM ({ordered.text} LIMIT -1) AS c WHERE {check.text}",
        ordered.params + check.params,
    )
