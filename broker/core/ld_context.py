"""Expand terms to IRIs and compact IRIs to terms with a resolved @context (clauses 4.4, 5.5.7).

The core @context wins over every other, wherever it stands; a name that no term stands for falls
into its default vocabulary. Going back, a term of the core comes first, then the term that was
defined first, then the default vocabulary, then a prefix, and always only if the result expands
to the IRI again; otherwise the IRI itself is served.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Final

import msgspec

from broker.core.errors import BadRequestData
from broker.core.identifiers import Iri
from broker.core.ld_definitions import (
    ContextSource,
    Definitions,
    Part,
    context_items,
    definitions,
    flatten,
    process,
)

CORE_URL: Final = "https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context-v1.9.jsonld"
"""Where the core @context of this version of the API is published."""

CORE_URLS: Final = frozenset(
    f"{scheme}://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context{version}.jsonld"
    for scheme in ("https", "http")
    for version in ("", *(f"-v1.{minor}" for minor in range(10)))
)
"""The URLs of all versions of the core @context; they all mean the one in this package."""

CORE_DOCUMENT: Final[Mapping[str, Any]] = MappingProxyType(
    msgspec.json.decode(
        files("broker.core").joinpath("core-context.jsonld").read_bytes(), type=dict[str, Any]
    )
)
"""The core @context as ETSI publishes it."""

_MEMO = 4096
"""Names remembered beyond the terms; more than an honest client uses, and a bound for others."""

_MAX_TYPED = 128
"""Combinations of type-scoped terms kept ready per @context."""

_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:\S+")


@dataclass(frozen=True, slots=True, order=True)
class _Scope:
    """What a type's term redefines for entities of that type."""

    term: str
    definitions: Mapping[str, Any] = field(compare=False)


class LdContext:
    """One resolved @context; it never changes.

    Attributes:
        source: what is served as `@context`: the user's own, without the core @context unless
            there is nothing else.
        key: what tells it from others, by content; hashable and short.
        link: the URL for a Link header; None when it has no URL of its own (inline or several).
        aliases: the terms that stand for `@id` or `@type`, `id` and `type` among them.
    """

    __slots__ = (
        "__weakref__",
        "_active",
        "_by_scopes",
        "_definitions",
        "_iris",
        "_lengths",
        "_prefixes",
        "_scopes",
        "_terms",
        "_typed",
        "aliases",
        "key",
        "link",
        "source",
    )

    def __init__(
        self,
        source: ContextSource,
        key: str,
        definitions: Definitions,
        *,
        scopes: Mapping[str, _Scope] = MappingProxyType({}),
        active: Any = None,
    ) -> None:
        """Prepare the look-ups.

        Args:
            definitions: all terms, those of the core @context first.
            scopes: by the IRI of the type.
            active: the processed context that scopes are applied to.
        """
        self.source = source
        self.key = key
        self.link = source if isinstance(source, str) else None
        self._definitions = definitions
        self._scopes = scopes
        self._active = active
        self._typed: dict[str | tuple[str, ...], LdContext] = {}
        self._by_scopes: dict[tuple[str, ...], LdContext] = {}
        terms = definitions.terms
        self.aliases: Mapping[str, str] = {
            **{term: iri for term, iri in terms.items() if iri in ("@id", "@type")},
            "@id": "@id",
            "@type": "@type",
        }
        self._iris: dict[str, Iri] = {t: Iri(i) for t, i in terms.items() if i and _is_name(i)}
        self._prefixes = _shortest_by_iri(definitions.prefixes)
        self._lengths = sorted({len(iri) for iri in self._prefixes})
        self._terms: dict[str, str] = {}
        for term, iri in self._iris.items():
            self._terms.setdefault(iri, term)

    def expand(self, term: str) -> Iri:
        """Return the IRI a name stands for: of a type, an attribute or a vocabulary value.

        Raises:
            BadRequestData: the name is empty, a JSON-LD keyword or an alias of one, or the
                @context says that it means nothing.
        """
        iri = self._iris.get(term)
        return iri if iri is not None else self._expand_new(term)

    def compact(self, iri: str) -> str:
        """Return the name to serve for an IRI: a term, a compact IRI, or the IRI itself."""
        term = self._terms.get(iri)
        return term if term is not None else self._compact_new(iri)

    def coercion(self, term: str) -> str | None:
        """Return the `@type` of a term, if any: `@id`, `@vocab`, `@json` or a datatype's IRI."""
        return self._definitions.coercions.get(term)

    def for_types(self, types: Sequence[str]) -> LdContext:
        """Return the @context for the names of an entity with these types (IRIs).

        It is this one, unless the @context scopes terms to one of the types.
        """
        if not self._scopes:
            return self
        key = types[0] if len(types) == 1 else tuple(types)
        found = self._typed.get(key)
        if found is None:
            scopes = sorted(self._scopes[iri] for iri in types if iri in self._scopes)
            found = self._scoped(tuple(scopes)) if scopes else self
            if len(self._typed) < _MEMO:
                self._typed[key] = found
        return found

    @property
    def size(self) -> int:
        """The number of its terms."""
        return len(self._definitions.terms)

    def __repr__(self) -> str:
        return f"LdContext({self.source!r:.200})"

    def _expand_new(self, term: str) -> Iri:
        iri = self._look_up(term)
        if iri is None:
            raise BadRequestData(f"{term!r:.120} is no name: the @context does not give it an IRI")
        if len(self._iris) < len(self._definitions.terms) + _MEMO:
            self._iris[term] = iri
        return iri

    def _look_up(self, term: str) -> Iri | None:
        """Expand without remembering; None when the name has no IRI."""
        if term in self._definitions.terms:
            return self._iris.get(term)
        if not term or term[0] == "@":
            return None
        prefix, colon, suffix = term.partition(":")
        if colon and prefix:
            if suffix.startswith("//"):
                return Iri(term)
            base = self._definitions.prefixes.get(prefix)
            if base is not None:
                return Iri(base + suffix)
            if _ABSOLUTE.fullmatch(term):
                return Iri(term)
        return Iri(self._definitions.vocab + term)

    def _compact_new(self, iri: str) -> str:
        term = self._vocabulary_name(iri) or self._compact_iri(iri) or iri
        if len(self._terms) < len(self._definitions.terms) + _MEMO:
            self._terms[iri] = term
        return term

    def _vocabulary_name(self, iri: str) -> str | None:
        vocab = self._definitions.vocab
        if not iri.startswith(vocab):
            return None
        name = iri[len(vocab) :]
        return name if self._look_up(name) == iri else None

    def _compact_iri(self, iri: str) -> str | None:
        found = [
            f"{self._prefixes[iri[:length]]}:{iri[length:]}"
            for length in self._lengths
            if length < len(iri) and iri[:length] in self._prefixes
        ]
        found = [name for name in found if self._look_up(name) == iri]
        return min(found, key=lambda name: (len(name), name), default=None)

    def _scoped(self, scopes: tuple[_Scope, ...]) -> LdContext:
        names = tuple(scope.term for scope in scopes)
        found = self._by_scopes.get(names)
        if found is None:
            objects = [scope.definitions for scope in scopes]
            own = definitions(process(objects, self._active), objects)
            merged = _over(_CORE, _over(own, self._definitions))
            found = LdContext(self.source, " ".join((self.key, *names)), merged)
            if len(self._by_scopes) < _MAX_TYPED:
                self._by_scopes[names] = found
        return found


def build(
    source: ContextSource,
    documents: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    *,
    scoped: Collection[str] = (),
) -> LdContext:
    """Resolve an @context value with the documents of all URLs it leads to.

    Args:
        documents: URL to document (an object with `@context`); the core's need not be given.
        scoped: URLs of documents this platform serves, which may scope terms to types.

    Raises:
        BadRequestData: the @context is not valid, or scopes terms where it must not (5.5.7).
        LdContextNotAvailable: a document is missing, or the @context is cyclic or too large.
    """
    parts = flatten(source, documents, known=CORE_URLS, scoped=scoped)
    served = _served(source)
    if served == CORE_URL:
        return CORE
    objects = [part.definitions for part in parts]
    active = process(objects, _CORE_ACTIVE)
    merged = _over(_CORE, definitions(active, objects))
    digest = hashlib.sha256(msgspec.json.encode((served, objects, [p.scopes for p in parts])))
    return LdContext(
        served,
        digest.hexdigest()[:32],
        merged,
        scopes=_scopes_by_iri(parts, merged),
        active=active if any(part.scopes for part in parts) else None,
    )


def _served(source: ContextSource) -> ContextSource:
    """Return the user's part of an @context, an array of one flattened (clause 5.2.3)."""
    items = [item for item in context_items(source) if item not in _NOTHING]
    if not items:
        return CORE_URL
    return items[0] if len(items) == 1 else items


class _Nothing:
    """Tells @context items that add nothing to the core."""

    def __contains__(self, item: object) -> bool:
        return not item or (isinstance(item, str) and item in CORE_URLS)


_NOTHING = _Nothing()


def _is_name(iri: str) -> bool:
    return iri[0] != "@" and not iri.startswith("_:")


def _shortest_by_iri(prefixes: Mapping[str, str]) -> dict[str, str]:
    shortest: dict[str, str] = {}
    for term, iri in prefixes.items():
        known = shortest.get(iri)
        if known is None or (len(term), term) < (len(known), known):
            shortest[iri] = term
    return shortest


def _over(winner: Definitions, other: Definitions) -> Definitions:
    """Merge definitions; those of the winner stand first and replace the other's."""
    return Definitions(
        {**winner.terms, **{t: i for t, i in other.terms.items() if t not in winner.terms}},
        {**winner.prefixes, **{t: i for t, i in other.prefixes.items() if t not in winner.terms}},
        {**winner.coercions, **{t: c for t, c in other.coercions.items() if t not in winner.terms}},
        winner.vocab,
    )


def _scopes_by_iri(parts: Iterable[Part], merged: Definitions) -> dict[str, _Scope]:
    scopes: dict[str, _Scope] = {}
    for part in parts:
        for term, scope in part.scopes.items():
            iri = merged.terms[term]
            if iri is not None:
                scopes[iri] = _Scope(term, scope)
    return scopes


def _core_definitions() -> dict[str, Any]:
    """Return the core terms without the one scoped context, which imports a remote document."""
    own = {key: value for key, value in CORE_DOCUMENT["@context"].items() if key != "@protected"}
    own["ngsildproof"] = {"@id": own["ngsildproof"]["@id"]}
    return own


_CORE_PARTS = (_core_definitions(),)
# Not protected here: what a user's @context says about a core term is overruled, not an error.
_CORE_ACTIVE = process(_CORE_PARTS)
_CORE = definitions(_CORE_ACTIVE, _CORE_PARTS)

CORE: Final = LdContext(CORE_URL, "core", _CORE)
"""The core @context, which is there when a request brings none (clause 5.5.5)."""
