"""Which members of an entity are asked for: `attrs`, `pick` and `omit` (clause 4.21).

    terms = term *(("," / "|") term)
    term  = name ["{" terms "}"]       ; the terms in braces are about the entities linked by it

A name is that of a member (`id`, `type`, `scope`, or a time such as `createdAt`), or that of an
attribute, which may be an IRI.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from broker.core.errors import BadRequestData
from broker.core.identifiers import Iri
from broker.core.vocabulary import name_error

if TYPE_CHECKING:
    from broker.core.ld_context import LdContext

ENTITY_MEMBERS: Final = frozenset(
    ("id", "type", "scope", "createdAt", "modifiedAt", "deletedAt", "expiresAt")
)
"""Members of an entity that are no attributes and stand for themselves in a projection."""

MAX_LENGTH: Final = 20_000
_MARKS: Final = frozenset(",|{}")
_TOKEN = re.compile(r"[,|{}]|[^,|{}]+")

Members = Mapping[str, "Projection | None"]
"""Members and attribute IRIs, each with the projection of what it links to; None is all of that."""


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """Parsed `pick`, `omit` and `attrs`; equal when the same is shown.

    Attributes:
        pick: what is kept; None keeps all.
        omit: what is left out; a member with a projection stays, less what that names.
        attrs: the attributes that are kept, along with all members; None keeps all.
    """

    pick: Members | None = None
    omit: Members | None = None
    attrs: frozenset[Iri] | None = None
    _key: tuple[object, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        key = (_hashable(self.pick), _hashable(self.omit), self.attrs)
        object.__setattr__(self, "_key", key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Projection) and other._key == self._key

    def __hash__(self) -> int:
        return hash(self._key)

    def shows(self, name: str) -> bool:
        """Tell whether a member or an attribute is shown."""
        if self.attrs is not None:
            return name in self.attrs or name in ENTITY_MEMBERS
        if self.omit is not None and name in self.omit and self.omit[name] is None:
            return False
        return self.pick is None or name in self.pick

    def linked(self, name: str) -> Projection | None:
        """Return the projection of the entities that a relationship links to; None shows all."""
        picked = self.pick.get(name) if self.pick is not None else None
        omitted = self.omit.get(name) if self.omit is not None else None
        if picked is None or omitted is None:
            return picked or omitted
        return Projection(pick=picked.pick, omit=omitted.omit)


def parse(
    ld_context: LdContext,
    *,
    pick: str | Sequence[str] | None = None,
    omit: str | Sequence[str] | None = None,
    attrs: str | Sequence[str] | None = None,
    join_level: int = 0,
) -> Projection | None:
    """Parse the projection parameters of a request; None when there are none.

    Each is a text or, from a body, an array of such texts.

    Args:
        join_level: how deep linked entities are joined; 0 without `join`.

    Raises:
        BadRequestData: wrong syntax, a member both picked and omitted, `attrs` beside another,
            or braces deeper than `join_level`.
    """
    if attrs is not None:
        if pick is not None or omit is not None:
            raise BadRequestData("attrs: not together with pick or omit")
        return Projection(attrs=_parse_attrs(attrs, ld_context))
    if pick is None and omit is None:
        return None
    projection = Projection(
        pick=None if pick is None else _Parser("pick", pick, ld_context, join_level).members(),
        omit=None if omit is None else _Parser("omit", omit, ld_context, join_level).members(),
    )
    _check_disjoint(projection.pick, projection.omit, ld_context)
    return projection


def _parse_attrs(attrs: str | Sequence[str], ld_context: LdContext) -> frozenset[Iri]:
    members = _Parser("attrs", attrs, ld_context, 0).members()
    for name in ("id", "type", "scope"):
        if name in members:
            raise BadRequestData(f"attrs: {name} is no attribute; use pick")
    return frozenset(map(Iri, members))


class _Parser:
    """Parses one parameter by recursive descent."""

    def __init__(
        self, name: str, value: str | Sequence[str], ld_context: LdContext, join_level: int
    ) -> None:
        text = value if isinstance(value, str) else ",".join(value)
        if len(text) > MAX_LENGTH:
            raise BadRequestData(f"{name}: longer than {MAX_LENGTH} characters")
        self._name = name
        self._ld_context = ld_context
        self._join_level = join_level
        self._tokens = _tokens(text)
        self._place, self._token = next(self._tokens)

    def members(self) -> dict[str, Projection | None]:
        """Parse all of the text."""
        members = self._terms(0)
        if self._token:
            raise self._error(", or |")
        return members

    def _terms(self, depth: int) -> dict[str, Projection | None]:
        members: dict[str, Projection | None] = {}
        while True:
            self._term(members, depth)
            if self._token not in (",", "|"):
                return members
            self._advance()

    def _term(self, members: dict[str, Projection | None], depth: int) -> None:
        if not self._token or self._token in _MARKS:
            raise self._error("a name")
        name = self._member(self._token)
        self._advance()
        inner = None
        if self._token == "{":  # noqa: S105 - a token of the language, not a secret
            inner = self._inner(depth + 1)
        members[name] = _united(members[name], inner) if name in members else inner

    def _inner(self, depth: int) -> Projection:
        if depth > self._join_level:
            raise BadRequestData(
                f"{self._name}: braces at position {self._place} need join and"
                f" a joinLevel of {depth} or more"
            )
        self._advance()
        members = self._terms(depth)
        if self._token != "}":  # noqa: S105 - a token of the language, not a secret
            raise self._error("}")
        self._advance()
        return Projection(omit=members) if self._name == "omit" else Projection(pick=members)

    def _member(self, name: str) -> str:
        if name in ENTITY_MEMBERS:
            return name
        error = name_error(name)
        if error is not None:
            raise BadRequestData(f"{self._name}: {name!r:.80} at position {self._place} {error}")
        return self._ld_context.expand(name)

    def _advance(self) -> None:
        self._place, self._token = next(self._tokens)

    def _error(self, expected: str) -> BadRequestData:
        found = repr(self._token)[:80] if self._token else "the end"
        return BadRequestData(
            f"{self._name}: expected {expected} at position {self._place}, got {found}"
        )


def _tokens(text: str) -> Iterator[tuple[int, str]]:
    for match in _TOKEN.finditer(text):
        yield match.start(), match.group()
    yield len(text), ""


def _check_disjoint(pick: Members | None, omit: Members | None, ld_context: LdContext) -> None:
    if pick is None or omit is None:
        return
    for name in pick.keys() & omit.keys():
        picked, omitted = pick[name], omit[name]
        if omitted is None:
            term = name if name in ENTITY_MEMBERS else ld_context.compact(name)
            raise BadRequestData(f"pick, omit: {term} is in both")
        if picked is not None:
            _check_disjoint(picked.pick, omitted.omit, ld_context)


def _united(one: Projection | None, other: Projection | None) -> Projection | None:
    """Return the projection of a name that is listed twice."""
    if one is None or other is None:
        return None
    if one.omit is not None:
        return Projection(omit={**one.omit, **(other.omit or {})})
    return Projection(pick={**(one.pick or {}), **(other.pick or {})})


def _hashable(members: Members | None) -> frozenset[tuple[str, Projection | None]] | None:
    return None if members is None else frozenset(members.items())
