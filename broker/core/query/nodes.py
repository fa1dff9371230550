"""The trees that the query languages are parsed to: frozen, hashable, free of short names.

`AllOf` and `AnyOf` join the leaves of each language, so that `TypeNode`, `ScopeNode` and `QNode`
have the same two inner nodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

if TYPE_CHECKING:
    from broker.core.identifiers import Iri

N = TypeVar("N")


@dataclass(frozen=True, slots=True)
class AllOf(Generic[N]):
    """Every operand must match (`;`)."""

    operands: tuple[N, ...]


@dataclass(frozen=True, slots=True)
class AnyOf(Generic[N]):
    """One operand must match (`|`, where allowed also `,`)."""

    operands: tuple[N, ...]


Selection: TypeAlias = "N | AllOf[Selection[N]] | AnyOf[Selection[N]]"
"""Leaves of one language, joined by and and or."""


@dataclass(frozen=True, slots=True)
class TypeIs:
    """The entity has this type, possibly among others."""

    type: Iri


TypeNode: TypeAlias = "Selection[TypeIs]"


@dataclass(frozen=True, slots=True)
class ScopeIs:
    """One of the entity's scopes fits the levels; `+` stands for any one level.

    Attributes:
        levels: what stands between the slashes.
        subtree: the scopes below match too (`/#`); without levels any scope does.
    """

    levels: tuple[str, ...]
    subtree: bool = False


ScopeNode: TypeAlias = "Selection[ScopeIs]"


@dataclass(frozen=True, slots=True)
class Path:
    """Where a value stands in an entity (production rule Attribute of clause 4.9).

    Attributes:
        names: attribute, sub-attribute and so on as IRIs; a name without a colon is a member of
            the entity or instance that is no attribute (`id`, `type`, `scope`, `createdAt`,
            `modifiedAt`, `expiresAt`, `observedAt`, `unitCode` …).
        trailing: the members inside the value, or the language; `*` is any language.
        link: goes on in the entities that this relationship points to.
    """

    names: tuple[str, ...]
    trailing: tuple[str, ...] = ()
    link: Link | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """A step into linked entities (`rel{Type:path}`); no types means any."""

    path: Path
    types: tuple[Iri, ...] = ()


class Kind(Enum):
    """The data type of a literal: different types are never equal and have no order."""

    NUMBER = "number"
    TEXT = "text"
    BOOLEAN = "boolean"
    TIME = "time"
    DATE = "date"
    DATE_TIME = "dateTime"


@dataclass(frozen=True, slots=True)
class Literal:
    """A value to compare with.

    `value` is a number, a text (URIs too) or a bool; of times it is microseconds, since the epoch
    or since midnight (`values.temporal`). The kind keeps `1` and `true` apart.
    """

    kind: Kind
    value: float | str | bool


@dataclass(frozen=True, slots=True)
class Exists:
    """The path leads somewhere."""

    path: Path


@dataclass(frozen=True, slots=True)
class Absent:
    """The path leads nowhere (`!name`)."""

    path: Path


@dataclass(frozen=True, slots=True)
class Equals:
    """The value is (`negated`: is not) one of the literals or in the range, bounds included."""

    path: Path
    literals: tuple[Literal, ...] = ()
    range: tuple[Literal, Literal] | None = None
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Compares:
    """The value stands before or after the literal; `operator` is `<`, `<=`, `>` or `>=`."""

    path: Path
    operator: str
    literal: Literal


@dataclass(frozen=True, slots=True)
class Fits:
    """The text fits (`negated`: does not fit) the regular expression."""

    path: Path
    pattern: str
    negated: bool = False


QLeaf: TypeAlias = Exists | Absent | Equals | Compares | Fits
"""A condition on one path. Several instances of an attribute are alternatives: one has to match."""

QNode: TypeAlias = "Selection[QLeaf]"

Coordinates: TypeAlias = "tuple[float, ...] | tuple[Coordinates, ...]"


@dataclass(frozen=True, slots=True)
class Geometry:
    """A GeoJSON geometry that can be hashed; positions are (longitude, latitude)."""

    type: str
    coordinates: Coordinates


@dataclass(frozen=True, slots=True)
class GeoQuery:
    """A relation between a GeoProperty of the entity and a reference geometry (clause 4.10).

    Attributes:
        relation: `near`, `within`, `contains`, `overlaps`, `intersects`, `equals` or `disjoint`.
        min_distance: for `near`, in metres; exactly one of the two is given.
    """

    relation: str
    geometry: Geometry
    geoproperty: Iri
    min_distance: float | None = None
    max_distance: float | None = None


@dataclass(frozen=True, slots=True)
class OrderBy:
    """One key to sort by (clause 4.23).

    Attributes:
        distance_from: sort by the distance from this geometry instead of by value.
        collation: a BCP 47 tag; None is the root collation.
    """

    path: Path
    descending: bool = False
    distance_from: Geometry | None = None
    collation: str | None = None
