"""What an @context defines, found with a JSON-LD processor once per @context (clause 4.4).

An @context is a URL, an object, or an array of these; its documents may name further URLs. It is
flattened to a list of objects, cleaned of what says nothing about names, checked against limits,
and given to pyld, which then never loads anything.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast
from urllib.parse import urljoin

from pyld.context_resolver import ContextResolver
from pyld.jsonld import KEYWORDS, JsonLdError, JsonLdProcessor

from broker.core.errors import BadRequestData, LdContextNotAvailable

ContextItem: TypeAlias = "str | dict[str, Any]"
ContextSource: TypeAlias = "ContextItem | list[ContextItem]"
"""The value of an `@context` member: a URL, an object, or an array of these."""

MAX_TERMS = 20_000
MAX_PARTS = 64
MAX_DEPTH = 8
MAX_TEXT = 2048

_OPTIONS = {"base": "", "processingMode": "json-ld-1.1"}
# They concern values, @id or scoped contexts, and say nothing about names.
_IGNORED = frozenset(("@language", "@direction", "@propagate", "@base", "@protected"))
_KEYWORD_LIKE = re.compile(r"@[A-Za-z]+")
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:\S*")


@dataclass(frozen=True, slots=True)
class Part:
    """One object of a flattened @context.

    Attributes:
        definitions: its members without the scoped contexts.
        scopes: the @context that each type-scoped term brings.
    """

    definitions: dict[str, Any]
    scopes: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Definitions:
    """Names as an @context defines them.

    Attributes:
        terms: the IRI or JSON-LD keyword of each term, in order of definition; None when the
            @context says that the term means nothing.
        prefixes: the terms that may start a compact IRI, with their IRIs.
        coercions: the `@type` of the terms that have one: `@id`, `@vocab`, `@json` or an IRI.
        vocab: what is put before a name that is no term.
    """

    terms: Mapping[str, str | None]
    prefixes: Mapping[str, str]
    coercions: Mapping[str, str]
    vocab: str


def context_items(source: object) -> list[ContextItem]:
    """Return the URLs and objects of an @context value in order.

    Raises:
        BadRequestData: it is something else than a URL, an object, or an array of these.
    """
    items = source if isinstance(source, list) else [source]
    for item in items:
        if isinstance(item, dict):
            _check_url(item.get("@import", "https:"))
        elif isinstance(item, str):
            _check_url(item)
        else:
            raise BadRequestData(
                f"@context: expected a URL, an object or an array of these, got {item!r:.80}"
            )
    return cast("list[ContextItem]", items)


def document_items(document: object, url: str) -> list[ContextItem]:
    """Return the URLs and objects of the @context of a document fetched from `url`, URLs absolute.

    Raises:
        BadRequestData: the document has no valid `@context` member.
    """
    if not isinstance(document, Mapping) or "@context" not in document:
        raise BadRequestData(f"@context: {url:.200} is not a JSON object with an @context")
    value = document["@context"]
    items = value if isinstance(value, list) else [value]
    return [_absolute(item, url) for item in items]


def references(items: Sequence[ContextItem]) -> list[str]:
    """Return the URLs that @context items build upon."""
    named = [item if isinstance(item, str) else item.get("@import") for item in items]
    return [url for url in named if url is not None]


def flatten(
    source: ContextSource,
    documents: Mapping[str, Mapping[str, Any]],
    *,
    known: Collection[str],
    scoped: Collection[str] = (),
) -> list[Part]:
    """Return the objects that an @context consists of, in order of precedence.

    Args:
        documents: the document of each URL that is met.
        known: URLs that add nothing (those of the core @context).
        scoped: URLs whose documents may scope terms to types; in others that is an error (5.5.7).

    Raises:
        BadRequestData: the @context is not valid.
        LdContextNotAvailable: a URL is not among the documents, or the @context is cyclic or
            larger than the limits.
    """
    parts: list[Part] = []
    terms = 0
    for part in _walk(context_items(source), _Walk(documents, known, scoped), ()):
        parts.append(part)
        terms += len(part.definitions)
        if len(parts) > MAX_PARTS or terms > MAX_TERMS:
            raise LdContextNotAvailable(
                f"@context: more than {MAX_PARTS} parts or {MAX_TERMS} terms"
            )
    return parts


def process(parts: Sequence[Mapping[str, Any]], active: Any = None) -> Any:
    """Let the JSON-LD processor apply context objects to an active context (None: the initial one).

    Raises:
        BadRequestData: a definition is not valid JSON-LD.
    """
    processor = JsonLdProcessor()
    if active is None:
        active = processor.process_context(None, None, _OPTIONS)
    # A cache of its own, so that no request leaves its contexts in pyld's global one.
    options = {**_OPTIONS, "contextResolver": ContextResolver({}, _no_loader)}
    try:
        return processor.process_context(active, list(parts), options)
    except JsonLdError as error:
        where = (error.details or {}).get("term")
        raise BadRequestData(
            f"@context: {error.code or 'not valid JSON-LD'}" + (f" ({where})" if where else "")
        ) from error
    except (
        TypeError,
        ValueError,
        LookupError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        # pyld takes some malformed definitions for granted and trips over them.
        raise BadRequestData("@context: not valid JSON-LD") from error


def definitions(active: Any, order: Sequence[Mapping[str, Any]]) -> Definitions:
    """Read the definitions out of a processed context, terms in the order their parts give them."""
    mappings = active["mappings"]
    names = dict.fromkeys(name for part in order for name in part if name in mappings)
    found = {name: mappings[name] for name in names}
    return Definitions(
        {name: None if each["reverse"] else each["@id"] for name, each in found.items()},
        {name: each["@id"] for name, each in found.items() if each["_prefix"]},
        {name: each["@type"] for name, each in found.items() if "@type" in each},
        active.get("@vocab", ""),
    )


@dataclass(frozen=True, slots=True)
class _Walk:
    documents: Mapping[str, Mapping[str, Any]]
    known: Collection[str]
    scoped: Collection[str]

    def document(self, url: str, path: tuple[str, ...]) -> Mapping[str, Any]:
        if url in path:
            raise LdContextNotAvailable(f"@context: {url:.200} includes itself")
        if len(path) > MAX_DEPTH:
            raise LdContextNotAvailable(f"@context: nested deeper than {MAX_DEPTH} documents")
        try:
            return self.documents[url]
        except KeyError:
            raise LdContextNotAvailable(f"@context: {url:.200} is not available") from None


def _walk(items: Sequence[ContextItem], walk: _Walk, path: tuple[str, ...]) -> Iterator[Part]:
    for item in items:
        url = item if isinstance(item, str) else item.get("@import")
        if url is not None and url not in walk.known:
            # An empty part counts against the limit, so that documents full of URLs end, too.
            yield Part({})
            found = document_items(walk.document(url, path), url)
            yield from _walk(found, walk, (*path, url))
        if isinstance(item, dict):
            yield _clean(item, scoped=bool(path) and path[-1] in walk.scoped)


def _absolute(item: object, base: str) -> ContextItem:
    if isinstance(item, str):
        item = urljoin(base, item)
    elif isinstance(item, dict) and isinstance(item.get("@import"), str):
        item = {**item, "@import": urljoin(base, item["@import"])}
    return context_items(item)[0]


def _check_url(url: object) -> None:
    if not isinstance(url, str) or len(url) > MAX_TEXT or not _ABSOLUTE.fullmatch(url):
        raise BadRequestData(f"@context: {url!r:.120} is not an absolute URL")


def _clean(item: Mapping[str, Any], *, scoped: bool) -> Part:
    kept: dict[str, Any] = {}
    scopes: dict[str, dict[str, Any]] = {}
    if "@context" in item:
        raise BadRequestData("@context: an @context within an @context")
    for term, value in item.items():
        if _says_nothing(term, value):
            continue
        if isinstance(value, dict) and "@context" in value:
            scope = value["@context"]
            if not scoped or not isinstance(scope, dict):
                raise BadRequestData(
                    f"@context: {term!r:.80} has a scoped context, which clause 5.5.7 excludes"
                )
            scopes[term] = _clean(scope, scoped=False).definitions
            value = {key: each for key, each in value.items() if key != "@context"}  # noqa: PLW2901
        kept[term] = value
    _check_sizes(kept)
    return Part(kept, scopes)


def _says_nothing(term: str, value: object) -> bool:
    """Tell whether a member defines no name this broker could meet.

    A term with a colon or slash must expand as it would without its definition, so leaving it out
    changes nothing. Names that look like keywords are reserved and ignored by JSON-LD 1.1.

    Deviates: JSON-LD 1.1, 9.15: one that expands otherwise is left out, too, not an error, so
    that official contexts which have such terms stay usable.
    """
    if term in _IGNORED or term == "@import" or ":" in term or "/" in term:
        return True
    if _reserved(term):
        return True
    target = value.get("@id") if isinstance(value, dict) else value
    reverse = value.get("@reverse") if isinstance(value, dict) else None
    return _reserved(target) or (isinstance(reverse, str) and reverse[:1] == "@")


def _reserved(text: object) -> bool:
    return (
        isinstance(text, str) and _KEYWORD_LIKE.fullmatch(text) is not None and text not in KEYWORDS
    )


def _check_sizes(item: Mapping[str, Any]) -> None:
    """Refuse definitions that would grow while they are expanded."""
    for term, value in item.items():
        target: object = value
        for _ in range(MAX_DEPTH):
            if isinstance(target, dict):
                target = target.get("@id")
            if not isinstance(target, str):
                break
            if len(term) > MAX_TEXT or len(target) > MAX_TEXT:
                raise BadRequestData(f"@context: {term!r:.80} is longer than {MAX_TEXT} characters")
            prefix, colon, _rest = target.partition(":")
            target = item.get(prefix) if colon else None
        else:
            raise BadRequestData(
                f"@context: {term!r:.80} stands on a chain of more than {MAX_DEPTH} prefixes"
            )


def _no_loader(url: str, _options: Mapping[str, Any]) -> Any:
    raise LdContextNotAvailable(f"@context: {url:.200} is not available")
