"""Names and IRIs with a resolved @context (clauses 4.4, 5.2.3, 5.5.5, 5.5.7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.errors import BadRequestData, LdContextNotAvailable
from broker.core.ld_context import CORE, CORE_URL, CORE_URLS, LdContext, build

URL = "https://example.org/context.jsonld"
OTHER = "https://example.org/other.jsonld"
VOCAB = "https://uri.etsi.org/ngsi-ld/default-context/"


def inline(**terms: Any) -> LdContext:
    return build(terms)


def documents(**contexts: Any) -> dict[str, dict[str, Any]]:
    return {f"https://example.org/{name}": {"@context": value} for name, value in contexts.items()}


# The core @context


@pytest.mark.parametrize(
    ("term", "iri"),
    [
        ("speed", VOCAB + "speed"),
        ("location", "https://uri.etsi.org/ngsi-ld/location"),
        ("title", "http://purl.org/dc/terms/title"),
        ("Point", "https://purl.org/geojson/vocab#Point"),
        ("ngsi-ld:foo", "https://uri.etsi.org/ngsi-ld/foo"),
        ("https://example.org/x", "https://example.org/x"),
        ("urn:x:y", "urn:x:y"),
        ("unknown:thing", "unknown:thing"),
        ("größe", VOCAB + "größe"),
    ],
)
def test_core_expands_terms_prefixes_and_iris(term: str, iri: str) -> None:
    assert CORE.expand(term) == iri


@pytest.mark.parametrize("name", ["", "@id", "@anything", "id", "type"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(BadRequestData, match="is no name"):
        CORE.expand(name)


@pytest.mark.parametrize(
    ("iri", "name"),
    [
        (VOCAB + "speed", "speed"),
        ("https://uri.etsi.org/ngsi-ld/location", "location"),
        ("https://uri.etsi.org/ngsi-ld/somethingElse", "ngsi-ld:somethingElse"),
        ("https://example.org/x", "https://example.org/x"),
        (VOCAB + "location", "ngsi-ld:default-context/location"),
        (VOCAB + "a:b", "ngsi-ld:default-context/a:b"),
        (VOCAB, "ngsi-ld:default-context/"),
    ],
)
def test_core_compacts_only_to_what_expands_back(iri: str, name: str) -> None:
    assert CORE.compact(iri) == name
    assert CORE.expand(name) == iri


@pytest.mark.parametrize("url", sorted(CORE_URLS))
def test_every_version_of_the_core_context_is_known(url: str) -> None:
    assert build(url) is CORE


def test_the_core_context_is_what_is_left_when_a_user_brings_nothing() -> None:
    assert build([]) is CORE
    assert build({}) is CORE
    assert build([CORE_URL, {}]) is CORE
    assert CORE.source == CORE.link == CORE_URL


def test_the_proof_of_the_core_context_needs_no_remote_document() -> None:
    assert CORE.expand("ngsildproof") == "https://uri.etsi.org/ngsi-ld/ngsildproof"


# Precedence


@pytest.mark.parametrize(
    "source", [[URL], [CORE_URL, URL], [URL, CORE_URL]], ids=["alone", "core first", "core last"]
)
def test_core_wins_wherever_it_stands(source: list[Any]) -> None:
    terms = {"location": "https://example.org/location", "speed": "https://example.org/speed"}

    context = build(source, {URL: {"@context": terms}})

    assert context.expand("location") == "https://uri.etsi.org/ngsi-ld/location"
    assert context.expand("speed") == "https://example.org/speed"
    assert context.compact("https://example.org/location") == "https://example.org/location"


def test_core_wins_over_the_vocabulary_of_a_user() -> None:
    context = inline(**{"@vocab": "https://example.org/", "speed": {"@type": "@id"}})

    assert context.expand("speed") == "https://example.org/speed"
    assert context.expand("other") == VOCAB + "other"


def test_the_last_of_two_user_contexts_wins() -> None:
    context = build([{"a": "https://example.org/1"}, {"a": "https://example.org/2"}])

    assert context.expand("a") == "https://example.org/2"
    assert context.compact("https://example.org/1") == "https://example.org/1"


def test_a_context_that_redefines_protected_core_terms_is_no_error() -> None:
    context = inline(description="http://schema.org/description", features="http://x.org/features")

    assert context.expand("description") == "http://purl.org/dc/terms/description"


def test_a_user_context_may_use_core_prefixes_and_types() -> None:
    context = inline(
        rating={"@id": "ngsi-ld:rating", "@type": "DateTime"},
        owner={"@id": "https://example.org/owner", "@type": "@id"},
        level={"@id": "https://example.org/level", "@type": "@vocab"},
    )

    assert context.expand("rating") == "https://uri.etsi.org/ngsi-ld/rating"
    assert context.coercion("rating") == "https://uri.etsi.org/ngsi-ld/DateTime"
    assert context.coercion("owner") == "@id"
    assert context.coercion("level") == "@vocab"
    assert context.coercion("speed") is None


# Going back


def test_the_term_defined_first_is_served() -> None:
    context = inline(second="https://example.org/a", a="https://example.org/a")

    assert context.compact("https://example.org/a") == "second"


def test_a_term_of_the_core_is_served_before_that_of_a_user() -> None:
    context = inline(place="https://uri.etsi.org/ngsi-ld/location")

    assert context.expand("place") == "https://uri.etsi.org/ngsi-ld/location"
    assert context.compact("https://uri.etsi.org/ngsi-ld/location") == "location"


def test_a_default_term_that_the_context_maps_elsewhere_is_served_with_the_core_prefix() -> None:
    context = inline(almostFull="https://example.org/almostFull")

    assert context.compact(VOCAB + "almostFull") == "ngsi-ld:default-context/almostFull"
    assert context.compact("https://example.org/almostFull") == "almostFull"


def test_the_shortest_compact_iri_is_served() -> None:
    context = inline(
        long="https://example.org/", x="https://example.org/", deep="https://example.org/things/"
    )

    assert context.compact("https://example.org/a") == "x:a"
    assert context.compact("https://example.org/things/a") == "deep:a"
    assert context.compact("https://example.org/") == "long"


def test_a_compact_iri_that_would_not_expand_back_is_not_served() -> None:
    context = inline(urn="https://example.org/")

    assert context.compact("https://example.org///a") == "https://example.org///a"
    assert context.expand("urn:a") == "https://example.org/a"


def test_only_terms_that_json_ld_takes_as_prefixes_are() -> None:
    context = inline(
        simple="https://example.org/thing",
        expanded={"@id": "https://example.org/other/"},
        marked={"@id": "https://example.org/marked", "@prefix": True},
    )

    assert context.expand("simple:a") == "simple:a"
    assert context.expand("expanded:a") == "expanded:a"
    assert context.expand("marked:a") == "https://example.org/markeda"


def test_a_term_mapped_to_null_means_nothing() -> None:
    context = inline(secret=None)

    with pytest.raises(BadRequestData, match="is no name"):
        context.expand("secret")
    assert context.compact(VOCAB + "secret") == "ngsi-ld:default-context/secret"


def test_aliases_of_keywords_are_told_apart_from_names() -> None:
    context = inline(kind="@type", handle="@id")

    assert context.aliases == {
        "id": "@id",
        "type": "@type",
        "@id": "@id",
        "@type": "@type",
        "kind": "@type",
        "handle": "@id",
    }
    with pytest.raises(BadRequestData, match="is no name"):
        context.expand("kind")


def test_names_beyond_what_is_remembered_are_still_right() -> None:
    names = [f"name{number}" for number in range(5000)]

    expanded = [CORE.expand(name) for name in names]

    assert expanded == [VOCAB + name for name in names]
    assert [CORE.compact(iri) for iri in expanded] == names


# What is served


@pytest.mark.parametrize(
    ("source", "served", "link"),
    [
        (URL, URL, URL),
        ([URL], URL, URL),
        ([URL, CORE_URL], URL, URL),
        ([CORE_URL, URL, OTHER], [URL, OTHER], None),
        ({"a": "urn:a"}, {"a": "urn:a"}, None),
        ([{"a": "urn:a"}, CORE_URL], {"a": "urn:a"}, None),
        ([URL, {"a": "urn:a"}], [URL, {"a": "urn:a"}], None),
    ],
    ids=["url", "one url", "with core", "two", "object", "object with core", "mixed"],
)
def test_the_users_part_alone_is_served(source: Any, served: Any, link: str | None) -> None:
    context = build(source, {URL: {"@context": {}}, OTHER: {"@context": {}}})

    assert context.source == served
    assert context.link == link


def test_the_key_tells_contexts_apart_by_content() -> None:
    one = build(URL, {URL: {"@context": {"a": "urn:a"}}})
    same = build(URL, {URL: {"@context": {"a": "urn:a"}}})
    changed = build(URL, {URL: {"@context": {"a": "urn:b"}}})

    assert one.key == same.key
    assert one.key != changed.key
    assert len({one.key, changed.key, CORE.key}) == 3


# Documents


def test_nested_documents_apply_in_order() -> None:
    context = build(
        URL,
        {
            URL: {"@context": ["other.jsonld", {"b": "https://example.org/b2"}]},
            OTHER: {"@context": {"a": "https://example.org/a", "b": "https://example.org/b"}},
        },
    )

    assert context.expand("a") == "https://example.org/a"
    assert context.expand("b") == "https://example.org/b2"


def test_import_puts_a_document_under_the_object_that_names_it() -> None:
    context = build(
        {"@import": OTHER, "b": "https://example.org/mine"},
        {OTHER: {"@context": {"a": "https://example.org/a", "b": "https://example.org/b"}}},
    )

    assert context.expand("a") == "https://example.org/a"
    assert context.expand("b") == "https://example.org/mine"


def test_a_document_that_is_not_given_is_not_available() -> None:
    with pytest.raises(LdContextNotAvailable, match=URL):
        build(URL)


@pytest.mark.parametrize(
    "found",
    [
        {URL: {"@context": URL}},
        {URL: {"@context": [{}, "other.jsonld"]}, OTHER: {"@context": URL}},
        {URL: {"@context": {"@import": URL}}},
    ],
    ids=["itself", "each other", "import"],
)
def test_a_cyclic_context_is_not_available(found: Mapping[str, Any]) -> None:
    with pytest.raises(LdContextNotAvailable, match="includes itself"):
        build(URL, found)


def test_a_context_that_doubles_at_every_level_ends() -> None:
    found = documents(
        **{f"c{level}": [f"c{level + 1}", f"c{level + 1}"] for level in range(7)}, c7={}
    )

    with pytest.raises(LdContextNotAvailable, match="more than"):
        build("https://example.org/c0", found)


def test_a_context_nested_too_deep_is_not_available() -> None:
    found = documents(**{f"c{level}": f"c{level + 1}" for level in range(12)}, c12={})

    with pytest.raises(LdContextNotAvailable, match="deeper than"):
        build("https://example.org/c0", found)


def test_too_many_terms_are_not_available() -> None:
    with pytest.raises(LdContextNotAvailable, match="terms"):
        build({f"t{number}": f"urn:t:{number}" for number in range(20_001)})


@pytest.mark.parametrize(
    "document", [[], "text", {"context": {}}, {"@context": 7}, {"@context": [None]}]
)
def test_a_document_without_a_valid_context_is_bad(document: Any) -> None:
    with pytest.raises(BadRequestData):
        build(URL, {URL: document})


# Bad input


@pytest.mark.parametrize(
    "source",
    [
        42,
        True,
        None,
        [URL, 7],
        [[URL]],
        "relative.jsonld",
        "/ngsi-ld/v1/jsonldContexts/x",
        "https://example.org/" + "a" * 3000,
        {"@import": 7},
    ],
)
def test_what_is_no_context_value_is_bad(source: Any) -> None:
    with pytest.raises(BadRequestData, match="@context"):
        build(source, {URL: {"@context": {}}})


@pytest.mark.parametrize(
    "terms",
    [
        {"a": 7},
        {"a": ["urn:a"]},
        {"a": {"@id": 7}},
        {"a": {"@id": "urn:a", "@container": "@nothing"}},
        {"a": {"@id": "urn:a", "@unknown": 1}},
        {"a": {"@reverse": "urn:b", "@id": "urn:a"}},
        {"a": "b:x", "b": "a:x"},
        {"@version": 2},
        {"@vocab": 7},
        {"@id": "urn:a"},
        {"": "urn:a"},
        {"@context": {}},
        {"a": {"@id": [[[[[]]]]]}},
        {"a": {"@nest": ""}},
        {"a": "x" * 3000},
        {"@vocab": "https://example.org/" + "x" * 3000},
        {"speed": {"type": 10**400}},
    ],
    ids=str,
)
def test_invalid_definitions_are_bad(terms: dict[str, Any]) -> None:
    with pytest.raises(BadRequestData, match="@context"):
        build(terms)


def test_definitions_nested_beyond_the_stack_are_bad() -> None:
    nested: Any = "urn:a"
    for _ in range(900):
        nested = {"@id": nested}

    with pytest.raises(BadRequestData, match="@context"):
        build({"a": nested})


def test_prefixes_that_grow_on_each_other_are_bad() -> None:
    chain = {f"p{number + 1}": f"p{number}:{'x' * 1000}/" for number in range(1000)}

    with pytest.raises(BadRequestData, match="prefixes"):
        build({"p0": "https://example.org/", **chain})


def test_scoped_contexts_of_users_are_bad() -> None:
    terms = {"Room": {"@id": "urn:Room", "@context": {"size": "urn:size"}}}

    with pytest.raises(BadRequestData, match=r"5\.5\.7"):
        build(terms)
    with pytest.raises(BadRequestData, match=r"5\.5\.7"):
        build(URL, {URL: {"@context": terms}}, scoped=[OTHER])


def test_terms_that_json_ld_reserves_are_ignored() -> None:
    reserved = {"@future": "urn:f", "odd": "@future", "back": {"@reverse": "@id"}}

    context = inline(**reserved, **{"@language": None, "a": "urn:a"})

    assert context.expand("a") == "urn:a"
    assert context.expand("odd") == VOCAB + "odd"
    assert context.expand("back") == VOCAB + "back"


def test_a_context_tells_its_size() -> None:
    assert inline(a="urn:a", b="urn:b").size == CORE.size + 2


def test_terms_in_the_form_of_iris_do_not_spoil_a_context() -> None:
    context = inline(**{"open311:type": "https://example.org/type", "a/b": "urn:x", "a": "urn:a"})

    assert context.expand("open311:type") == "open311:type"
    assert context.expand("a") == "urn:a"


def test_blank_nodes_are_no_names() -> None:
    context = inline(hidden="_:b0")

    with pytest.raises(BadRequestData, match="is no name"):
        context.expand("hidden")


# Type-scoped terms of the platform's own contexts

PRODUCT = {
    "@context": {
        "@version": 1.1,
        "sdm": "https://sdm.example/",
        "Weather": {
            "@id": "sdm:Weather/Weather",
            "@context": {
                "temperature": "sdm:Weather/temperature",
                "location": "sdm:Weather/location",
            },
        },
        "Air": {"@id": "sdm:Air/Air", "@context": {"temperature": "sdm:Air/temperature"}},
        "Room": "sdm:Room/Room",
        "temperature": "sdm:temperature",
        "name": "sdm:name",
    }
}


def product() -> LdContext:
    return build(URL, {URL: PRODUCT}, scoped=[URL])


def test_a_type_brings_its_own_terms() -> None:
    context = product()

    weather = context.for_types([context.expand("Weather")])

    assert context.expand("temperature") == "https://sdm.example/temperature"
    assert weather.expand("temperature") == "https://sdm.example/Weather/temperature"
    assert weather.expand("name") == "https://sdm.example/name"
    assert weather.compact("https://sdm.example/Weather/temperature") == "temperature"
    assert weather.compact("https://sdm.example/temperature") == "sdm:temperature"
    assert weather.source == URL
    assert weather.key != context.key


def test_core_wins_over_type_scoped_terms() -> None:
    context = product()

    weather = context.for_types([context.expand("Weather")])

    assert weather.expand("location") == "https://uri.etsi.org/ngsi-ld/location"


def test_types_without_terms_of_their_own_leave_the_context_as_it_is() -> None:
    context = product()

    assert context.for_types([context.expand("Room"), "urn:other"]) is context
    assert CORE.for_types(["urn:other"]) is CORE


def test_of_several_types_the_last_by_name_wins_whatever_their_order() -> None:
    context = product()
    air, weather = context.expand("Air"), context.expand("Weather")

    both = context.for_types([weather, air])

    assert both.expand("temperature") == "https://sdm.example/Weather/temperature"
    assert context.for_types([air, weather]) is both


# Properties

_NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
_IRIS = st.builds(
    "https://{}/{}{}".format,
    st.sampled_from(["a.example", "b.example/x"]),
    _NAMES,
    st.sampled_from(["", "/", "#"]),
)
_DEFINITIONS = st.one_of(
    _IRIS,
    st.none(),
    st.builds("{}:{}".format, _NAMES, _NAMES),
    st.builds(lambda iri, prefix: {"@id": iri, "@prefix": prefix}, _IRIS, st.booleans()),
)
_CONTEXTS = st.dictionaries(_NAMES, _DEFINITIONS, max_size=8)


def built(terms: dict[str, Any]) -> LdContext:
    try:
        return build(terms)
    except BadRequestData:  # prefixes that lead to each other
        return CORE


@given(_CONTEXTS, st.one_of(_IRIS, _NAMES.map(VOCAB.__add__), st.builds("urn:{}".format, _NAMES)))
def test_what_is_served_for_an_iri_expands_to_it(terms: dict[str, Any], iri: str) -> None:
    context = built(terms)

    name = context.compact(iri)

    assert name == iri or context.expand(name) == iri


@given(_CONTEXTS, st.one_of(_NAMES, st.builds("{}:{}".format, _NAMES, _NAMES)))
def test_the_name_of_an_expanded_term_means_the_same(terms: dict[str, Any], name: str) -> None:
    context = built(terms)
    meaning = [context.expand(name)] if name not in terms or terms[name] else []

    served = [context.compact(iri) for iri in meaning]

    assert [context.expand(each) for each in served] == meaning
