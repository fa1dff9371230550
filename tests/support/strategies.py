"""Random entities and queries that have something to do with one another."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from broker.core.identifiers import ExpandedEntity
from tests.support.queries import entity

_LONG = "x" * 300
TEXTS = st.sampled_from(
    [
        "a",
        "b",
        "abc",
        "",
        _LONG,
        _LONG[:255] + "y",
        "2026-05-01T12:00:00Z",
        "2026-05-01T12:00:00.5Z",
        "2026-05-01",
        "12:00:00Z",
        "urn:ngsi-ld:1",
        "urn:ngsi-ld:2",
    ]
)
_MOMENTS = st.sampled_from(["2026-05-01T12:00:00Z", "2026-05-01T12:00:00.500Z"])
_SCALARS = st.one_of(st.integers(0, 4), st.sampled_from([0.5, 2.0, -1.25]), st.booleans(), TEXTS)
_TYPED = st.just({"@type": "DateTime", "@value": "2026-05-01T12:00:00Z"})
_MANY = st.sampled_from([list(range(70)), {f"k{n}": n for n in range(80)}])
_VALUES = st.one_of(
    _SCALARS,
    st.recursive(
        _SCALARS | _TYPED,
        lambda inner: (
            st.lists(_SCALARS, max_size=3)
            | st.dictionaries(st.sampled_from("bcd"), inner, max_size=3)
        ),
        max_leaves=4,
    ),
    _MANY,
)
_OBJECTS = st.sampled_from(["urn:ngsi-ld:1", "urn:ngsi-ld:2", "urn:ngsi-ld:nobody"])
_DEGREES = st.integers(0, 10).map(float)
_POSITIONS = st.tuples(_DEGREES, _DEGREES).map(list)
_GEOMETRIES = st.one_of(
    _POSITIONS.map(lambda position: {"type": "Point", "coordinates": position}),
    st.lists(_POSITIONS, min_size=2, max_size=3, unique_by=tuple).map(
        lambda line: {"type": "LineString", "coordinates": line}
    ),
)
_LANGUAGE_TEXTS = st.sampled_from(["a", "b", "2026-05-01"])
_KINDS: tuple[tuple[str, st.SearchStrategy[Any]], ...] = (
    ("value", _VALUES),
    ("value", _SCALARS),
    ("object", _OBJECTS | st.lists(_OBJECTS, min_size=1, max_size=2)),
    (
        "languageMap",
        st.dictionaries(
            st.sampled_from(["en", "fr"]),
            _LANGUAGE_TEXTS | st.lists(_LANGUAGE_TEXTS, max_size=2),
            min_size=1,
        ),
    ),
    ("vocab", st.sampled_from(["ex:a", ["ex:a", "ex:b"]])),
    ("json", _VALUES),
    ("valueList", st.lists(_SCALARS, max_size=3)),
    ("objectList", st.lists(_OBJECTS, max_size=2)),
    ("geometry", _GEOMETRIES),
)


@st.composite
def _instances(draw: st.DrawFn, *, deep: bool = True) -> dict[str, Any]:
    member, values = draw(st.sampled_from(_KINDS))
    found: dict[str, Any] = {member: draw(values)}
    if draw(st.integers(0, 2)) == 0:
        found["observedAt"] = draw(_MOMENTS)
    if deep and draw(st.integers(0, 2)) == 0:
        below = st.dictionaries(st.sampled_from("st"), _instances(deep=False), max_size=2)
        found["attributes"] = draw(below)
    return found


@st.composite
def _attributes(draw: st.DrawFn) -> list[dict[str, Any]]:
    found = [draw(_instances())]
    if draw(st.integers(0, 4)) == 0:
        found.append({**draw(_instances()), "datasetId": "urn:d:1"})
    if draw(st.integers(0, 9)) == 0:
        found[0]["datasetId"] = "urn:d:2"
    return found


@st.composite
def entities(draw: st.DrawFn, name: str) -> ExpandedEntity:
    """Return an entity with a given id."""
    scopes = st.lists(
        st.sampled_from(["/A", "/A/B", "/A/B/C", "/B", "/AB", "/A/X/C"]), min_size=1, max_size=2
    )
    return entity(
        name,
        draw(st.dictionaries(st.sampled_from("abcd"), _attributes(), max_size=4)),
        draw(st.sampled_from([["T"], ["U"], ["T", "U"], ["U", "T"]])),
        draw(st.none() | scopes),
    )


_LITERALS = [
    '"a"',
    '"b"',
    '"abc"',
    '""',
    f'"{_LONG}"',
    f'"{_LONG[:255]}y"',
    "1",
    "2",
    "0.5",
    "-1.25",
    '"2026-05-01T12:00:00Z"',
    "2026-05-01T12:00:00.5Z",
    "2026-05-01",
    "12:00:00Z",
    "urn:ngsi-ld:1",
    "ex:a",
]
_ANY_LITERAL = st.sampled_from([*_LITERALS, "true", "false"])
_RANGES = st.sampled_from(
    ["1..3", '"a".."b"', "2026-05-01T00:00:00Z..2026-05-01T12:00:00Z", '"urn:a".."urn:z"']
)
_PATTERNS = st.sampled_from(['"^a"', '"b"', '"^x+$"', '"2026"', '"^abc$"', '"^[ab]"', '"urn"'])
_EQUALITY = st.sampled_from(["==", "!="])
_ENDINGS = st.one_of(
    st.just(""),
    st.tuples(_EQUALITY, _ANY_LITERAL | _RANGES).map("".join),
    st.tuples(_EQUALITY, _ANY_LITERAL, st.just(","), _ANY_LITERAL).map("".join),
    st.tuples(st.sampled_from([">", ">=", "<", "<="]), st.sampled_from(_LITERALS)).map("".join),
    st.tuples(st.sampled_from(["~=", "!~="]), _PATTERNS).map("".join),
)
_NAMES = st.sampled_from("abcd")
_BELOW = st.sampled_from(["", "", "", ".s", ".t", ".s.t"])
_TRAILING = st.sampled_from(
    ["", "", "", "", "[b]", "[b.c]", "[en]", "[*]", "[k3]", "[type]", "[coordinates]"]
)
_MEMBERS = st.sampled_from([".observedAt", ".createdAt", ".modifiedAt", ".unitCode", ".datasetId"])
_VALUE_PATHS = st.tuples(_NAMES, _BELOW, _TRAILING | _MEMBERS).map("".join)
_PATHS = st.one_of(
    _VALUE_PATHS,
    _VALUE_PATHS,
    st.sampled_from(["id", "type", "scope", "createdAt", "modifiedAt"]),
    st.tuples(_NAMES, st.sampled_from(["", "T:", "T,U:"]), _VALUE_PATHS).map(
        lambda parts: "{}{{{}{}}}".format(*parts)
    ),
)
_LEAVES = st.tuples(_PATHS, _ENDINGS).map("".join) | _PATHS.map("!{}".format)


def queries() -> st.SearchStrategy[str]:
    """Return texts in the Query Language."""
    return st.recursive(
        _LEAVES,
        lambda inner: st.tuples(st.sampled_from(";|"), st.lists(inner, min_size=2, max_size=3)).map(
            lambda parts: "(" + parts[0].join(parts[1]) + ")"
        ),
        max_leaves=4,
    )


def orders() -> st.SearchStrategy[str]:
    """Return texts in the Ordering Language."""
    paths = st.one_of(
        _VALUE_PATHS.filter(lambda path: "*" not in path),
        st.sampled_from(["id", "type", "scope", "createdAt", "modifiedAt"]),
    )
    direction = st.sampled_from(["", ";asc", ";desc", ";dist-asc", ";dist-desc"])
    terms = st.tuples(paths, direction).map("".join)
    return st.lists(terms, min_size=1, max_size=3).map(",".join)
