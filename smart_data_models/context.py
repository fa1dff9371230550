"""The product's @context: one compact file, type-scoped, that gives every model its own IRIs.

A word that means different IRIs in different models stands in the scope of each type that differs
from the most usual one. Words of the core @context are left to it. Values stay opaque to the
broker; the parts of an address are there for other JSON-LD processors.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any, Final

from smart_data_models.catalogue import NAMESPACE, Catalogue, Model

CONTEXT_PATH: Final = "/contexts/city-v1.jsonld"
"""Where the broker serves the product context. The path names a version, and what it names never
changes once released: a change of the models makes a new version beside it."""

FILE: Final = "city-v1.jsonld"
_PREFIXES: Final = {"sdm": "https://smartdatamodels.org/", "rigel": NAMESPACE}
_CORE: Final = ("https://uri.etsi.org/ngsi-ld/", "https://purl.org/geojson/", "http://purl.org/dc/")
"""What the IRIs of the words begin with that the core @context defines."""
_ADDRESS: Final = (
    "addressCountry",
    "addressLocality",
    "addressRegion",
    "district",
    "postOfficeBoxNumber",
    "postalCode",
    "streetAddress",
    "streetNr",
)


def product_context() -> dict[str, Any]:
    """Return the product context as a document with an `@context` member."""
    file = resources.files("smart_data_models").joinpath(FILE)
    document: dict[str, Any] = json.loads(file.read_bytes())
    return document


def generate(catalogue: Catalogue) -> dict[str, Any]:
    """Make the product context from the models; the packaged file is what this returns."""
    models = [model for name in catalogue.types if (model := catalogue.model(name)) is not None]
    base = _usual(models)
    terms: dict[str, Any] = {"@version": 1.1, **_PREFIXES}
    for model in models:
        terms[model.name] = _type(model, base)
    terms |= {name: _short(iri) for name, iri in sorted(base.items())}
    return {"@context": terms}


def write(document: Mapping[str, Any]) -> str:
    """Return the text of the file for a context: one term a line."""
    terms = document["@context"].items()
    lines = (f"    {json.dumps(term)}: {json.dumps(value)}" for term, value in terms)
    return '{\n  "@context": {\n' + ",\n".join(lines) + "\n  }\n}\n"


def _usual(models: Iterable[Model]) -> dict[str, str]:
    """Return for each word the IRI that most models give it."""
    counted: dict[str, Counter[str]] = {}
    for model in models:
        for name, iri in _own_words(model):
            counted.setdefault(name, Counter())[iri] += 1
    address = {name: _PREFIXES["sdm"] + name for name in _ADDRESS}
    # Of several that are equally usual, Counter returns the one of the first model by name.
    return {name: iris.most_common(1)[0][0] for name, iris in counted.items()} | address


def _type(model: Model, base: Mapping[str, str]) -> str | dict[str, Any]:
    scoped = {name: _short(iri) for name, iri in sorted(_own_words(model)) if base[name] != iri}
    return {"@id": _short(model.iri), "@context": scoped} if scoped else _short(model.iri)


def _own_words(model: Model) -> Iterable[tuple[str, str]]:
    return (
        (attribute.name, attribute.iri)
        for attribute in model.attributes.values()
        if not attribute.iri.startswith(_CORE)
    )


def _short(iri: str) -> str:
    for prefix, start in _PREFIXES.items():
        if iri.startswith(start):
            return f"{prefix}:{iri.removeprefix(start)}"
    return iri
