"""Random entities and fragments for property tests, as documents."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

NULL = "urn:ngsi-ld:null"
NAMES = st.sampled_from(["a", "b", "c", "speed", "name"])
URIS = st.sampled_from(["urn:x:1", "urn:x:2", "https://example.org/3"])
TIMES = st.sampled_from(["2026-05-01T12:00:00Z", "2026-05-01T12:00:00.5Z"])

SCALARS = (
    st.text(max_size=5)
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
)
KEYS = st.sampled_from(["x", "y", "type", "value", "object", "datasetId", "@value", "unitCode"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=3)
NUMBERS = st.integers(-80, 80)
POINTS = st.lists(NUMBERS, min_size=2, max_size=3).map(
    lambda position: {"type": "Point", "coordinates": position}
)
LANGUAGES = st.dictionaries(
    st.sampled_from(["en", "fr", "nl-BE", "@none"]),
    st.text(max_size=5) | st.lists(st.text(max_size=5), min_size=1, max_size=2),
    min_size=1,
    max_size=3,
)
WORDS = st.sampled_from(["private", "public", "non-commercial", "urn:x:word"])


def _instance(kind: str, member: str, value: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({"type": st.just(kind), member: value})


BARE_INSTANCES = (
    _instance("Property", "value", VALUES | POINTS)
    | _instance("GeoProperty", "value", POINTS)
    | _instance("Relationship", "object", URIS | st.lists(URIS, min_size=1, max_size=2))
    | _instance("LanguageProperty", "languageMap", LANGUAGES)
    | _instance("VocabProperty", "vocab", WORDS | st.lists(WORDS, min_size=1, max_size=2))
    | _instance("JsonProperty", "json", OBJECTS | st.lists(OBJECTS, max_size=2))
    | _instance("ListProperty", "valueList", st.lists(VALUES, max_size=3))
    | _instance(
        "ListRelationship",
        "objectList",
        st.lists(st.fixed_dictionaries({"object": URIS}), max_size=3),
    )
)
MEMBERS = st.fixed_dictionaries({}, optional={"observedAt": TIMES, "expiresAt": TIMES})


def _with_members(instances: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(lambda instance, members: {**instance, **members}, instances, MEMBERS)


def _with_sub_attributes(instances: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    subs = st.dictionaries(st.sampled_from(["p", "q"]), instances, max_size=2)
    return st.builds(lambda instance, sub: {**instance, **sub}, _with_members(instances), subs)


INSTANCES = st.recursive(_with_members(BARE_INSTANCES), _with_sub_attributes, max_leaves=3)


def _several(instances: dict[str | None, dict[str, Any]]) -> Any:
    items = [one if key is None else {**one, "datasetId": key} for key, one in instances.items()]
    return items if len(items) > 1 else items[0]


ATTRIBUTES = st.dictionaries(
    st.sampled_from([None, "urn:d:1", "urn:d:2"]), INSTANCES, min_size=1, max_size=3
).map(_several)


def entities(names: st.SearchStrategy[str] = NAMES) -> st.SearchStrategy[dict[str, Any]]:
    """Return whole entities in the normalized representation."""
    return st.builds(
        lambda members, attributes: {
            "id": "urn:ngsi-ld:Building:1",
            "type": "Building",
            **members,
            **attributes,
        },
        st.fixed_dictionaries(
            {}, optional={"scope": st.sampled_from(["/a", ["/a", "/b/c"]]), "expiresAt": TIMES}
        ),
        st.dictionaries(names, ATTRIBUTES, max_size=4),
    )


PATCH_VALUES = st.recursive(
    SCALARS | st.just(NULL),
    lambda inner: st.dictionaries(st.sampled_from(["x", "y", "z"]), inner, max_size=3),
    max_leaves=6,
)
PATCHES = (
    INSTANCES
    | st.just(NULL)
    | st.fixed_dictionaries({"type": st.just("Property"), "value": PATCH_VALUES})
    | st.fixed_dictionaries({"value": PATCH_VALUES, "datasetId": st.just("urn:d:1")})
)


def merge_fragments(names: st.SearchStrategy[str] = NAMES) -> st.SearchStrategy[dict[str, Any]]:
    """Return fragments for a merge, with nulls in them."""
    return st.dictionaries(names, PATCHES, max_size=3)
