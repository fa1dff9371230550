"""Official contexts mean here what a JSON-LD processor makes of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyld import jsonld

from broker.core.ld_context import CORE_DOCUMENT, CORE_URL, LdContext, build
from tests.support.shared import SHARED, needs_shared

pytestmark = needs_shared

MODELS = SHARED / "smart-data-models"
SUBJECTS = sorted((MODELS / "official").glob("*/context.jsonld"))
EXAMPLES = sorted((MODELS / "official").glob("*/*/example-normalized.jsonld"))
PRODUCT_URL = "https://product.example/city.jsonld"
_MEMBERS = {"id", "type", "@context", "scope"}
# A term in them looks like an IRI and expands otherwise; pyld refuses the whole file.
_INVALID = {"IssueTracking"}


def read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_bytes())
    return document


def core() -> dict[str, Any]:
    terms = {key: term for key, term in CORE_DOCUMENT["@context"].items() if key != "@protected"}
    terms["ngsildproof"] = terms["ngsildproof"]["@id"]
    return terms


def no_loader(url: str, _options: object) -> Any:
    raise AssertionError(f"pyld wants {url}")


def expanded_by_pyld(terms: dict[str, Any], names: list[str]) -> dict[str, str]:
    """Return what a JSON-LD processor expands each name to, as the type of a node."""
    nodes = [{"@id": f"urn:n:{number}", "@type": name} for number, name in enumerate(names)]
    document = {"@context": [terms, core()], "@graph": nodes}
    expanded = jsonld.expand(document, {"documentLoader": no_loader})
    return {names[int(node["@id"][6:])]: node["@type"][0] for node in expanded}


def names_of(context: dict[str, Any]) -> list[str]:
    return [name for name in context["@context"] if ":" not in name and name[0] != "@"]


def subject(name: str) -> tuple[str, dict[str, Any]]:
    url = f"https://smart-data-models.github.io/dataModel.{name}/context.jsonld"
    return url, read(MODELS / "official" / name / "context.jsonld")


def test_the_packaged_core_context_is_the_official_file() -> None:
    assert read(SHARED / "ngsi-ld" / "core-context-1.9.jsonld") == CORE_DOCUMENT


@pytest.mark.parametrize("path", SUBJECTS, ids=lambda path: path.parent.name)
def test_a_subject_context_gives_back_every_name(path: Path) -> None:
    url, document = subject(path.parent.name)
    context = build([url, CORE_URL], {url: document})
    names = [name for name in names_of(document) if name not in ("id", "type")]

    served = [context.compact(context.expand(name)) for name in names]

    assert served == names


@pytest.mark.parametrize(
    "path",
    [path for path in SUBJECTS if path.parent.name not in _INVALID],
    ids=lambda path: path.parent.name,
)
def test_a_subject_context_means_what_pyld_says(path: Path) -> None:
    url, document = subject(path.parent.name)
    names = [name for name in names_of(document) if name not in ("id", "type")]

    context = build(url, {url: document})

    clashing = {name for name in names if name in core()}
    own = [name for name in names if name not in clashing]
    assert {name: context.expand(name) for name in own} == expanded_by_pyld(
        document["@context"], own
    )
    assert {name: context.expand(name) for name in clashing} == expanded_by_pyld(
        {}, sorted(clashing)
    )


def test_the_one_invalid_subject_context_is_usable() -> None:
    url, document = subject("IssueTracking")

    context = build(url, {url: document})

    assert context.expand("open311:type") == "open311:type"
    assert context.expand("Open311ServiceRequest").endswith("/Open311ServiceRequest")


def product() -> LdContext:
    document = read(MODELS / "product-context-typescoped.jsonld")
    return build(PRODUCT_URL, {PRODUCT_URL: document}, scoped=[PRODUCT_URL])


def _examples() -> Iterator[Any]:
    for path in EXAMPLES:
        entity = read(path)
        attributes = [name for name in entity if name not in _MEMBERS]
        yield pytest.param(entity["type"], attributes, id=path.parent.name)


@pytest.mark.parametrize(("entity_type", "attributes"), list(_examples()))
def test_type_scoped_terms_mean_what_pyld_says(entity_type: str, attributes: list[str]) -> None:
    terms = read(MODELS / "product-context-typescoped.jsonld")["@context"]
    names = [name for name in attributes if name not in core() and ":" not in name]
    entity: dict[str, Any] = {
        "@type": entity_type,
        **{name: {"@id": f"urn:n:{name}"} for name in names},
    }
    expanded = jsonld.expand(
        {"@context": [terms, core()], **entity},
        {"documentLoader": no_loader},
    )[0]
    by_pyld = {value[0]["@id"][6:]: iri for iri, value in expanded.items() if iri[0] != "@"}

    context = product()
    scoped = context.for_types([context.expand(entity_type)])

    assert {name: scoped.expand(name) for name in names} == by_pyld
    assert [scoped.compact(scoped.expand(name)) for name in names] == names


def test_every_scope_of_the_product_context_can_be_applied() -> None:
    document = read(MODELS / "product-context-typescoped.jsonld")
    context = product()
    scopes = {
        term: value["@context"]
        for term, value in document["@context"].items()
        if isinstance(value, dict) and "@context" in value
    }

    applied = {term: context.for_types([context.expand(term)]) for term in scopes}

    wrong = [
        (term, name)
        for term, names in scopes.items()
        for name, iri in names.items()
        if name not in core() and applied[term].expand(name) != context.expand(iri)
    ]
    assert wrong == []
    assert len(scopes) > 30
