"""Content negotiation and the @context of an exchange (clauses 6.3.4, 6.3.5)."""

from __future__ import annotations

import re
from functools import lru_cache

from aiohttp import web

from broker.api.problems import http_problem
from broker.core.errors import BadRequestData

JSON = "application/json"
LD_JSON = "application/ld+json"
GEO_JSON = "application/geo+json"
MERGE_PATCH = "application/merge-patch+json"
NDJSON = "application/x-ndjson"
CSV = "text/csv"

DOCUMENTS = (JSON, LD_JSON)
ENTITIES = (JSON, LD_JSON, GEO_JSON)
LINES = (NDJSON, CSV)

CONTEXT_REL = "http://www.w3.org/ns/json-ld#context"
_LINK = re.compile(r"<([^>]*)>((?:\s*;\s*[\w!#$&+.^`|~*-]+\s*(?:=\s*(?:\"[^\"]*\"|[^\s\";,]+))?)*)")
_REL = re.compile(r";\s*rel\s*=\s*(?:\"([^\"]*)\"|([^\s\";,]+))", re.IGNORECASE)
_QUALITY = re.compile(r"(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)")


class Refused(Exception):
    """The exchange ends here with this answer: 406, 411, 413 or 415."""

    def __init__(self, response: web.Response) -> None:
        super().__init__(response.status)
        self.response = response


@lru_cache(maxsize=1024)
def negotiate(accept: str, offers: tuple[str, ...]) -> str | None:
    """Return the media type to answer with, None when none of the offers will do.

    The highest quality wins, then the order of the offers; a malformed quality counts as absent.
    """
    ranges = [_media_range(part) for part in accept.split(",") if part.strip()]
    if not ranges:
        return offers[0]
    best = max(offers, key=lambda offer: (_quality(offer, ranges), -offers.index(offer)))
    return best if _quality(best, ranges) > 0 else None


def _media_range(text: str) -> tuple[str, float]:
    name, *parameters = (part.strip() for part in text.split(";"))
    quality = 1.0
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "q" and _QUALITY.fullmatch(value.strip()):
            quality = float(value)
    return name.lower(), quality


def _quality(offer: str, ranges: list[tuple[str, float]]) -> float:
    """Return the quality of the most specific range that covers an offer."""
    family = offer.partition("/")[0] + "/*"
    for wanted in (offer, family, "*/*"):
        found = [quality for name, quality in ranges if name == wanted]
        if found:
            return max(found)
    return 0.0


@lru_cache(maxsize=256)
def content_coding(accepted: str) -> str | None:
    """Return how an answer may be packed for an Accept-Encoding header, None if not at all."""
    codings = dict(_media_range(part) for part in accepted.split(",") if part.strip())
    for name in ("gzip", "deflate"):
        if codings.get(name, codings.get("*", 0.0)) > 0:
            return name
    return None


def not_acceptable(accept: str, offers: tuple[str, ...]) -> Refused:
    """Say which media types there are."""
    return Refused(
        http_problem(
            406, "Not acceptable", f"Accept: {accept!r:.200} allows none of {', '.join(offers)}"
        )
    )


def content_type(header: str | None, method: str, takes: tuple[str, ...] = DOCUMENTS) -> str:
    """Return the media type of a request's body.

    Args:
        takes: those that the operation takes, besides that of a merge patch.

    Raises:
        Refused: 415 without a body (6.3.4), it is none that the operation takes.
    """
    name = (header or "").partition(";")[0].strip().lower()
    if name in takes or (name == MERGE_PATCH and method == "PATCH"):
        return name
    taken = (*takes, MERGE_PATCH) if method == "PATCH" else takes
    raise Refused(web.Response(status=415, headers={"Accept": ", ".join(taken)}))


@lru_cache(maxsize=1024)
def context_link(header: str) -> str | None:
    """Return the URL of the @context a Link header names, None when it names none.

    Raises:
        BadRequestData: it names more than one.
    """
    found = []
    for match in _LINK.finditer(header):
        rel = _REL.search(match[2])
        if rel is not None and CONTEXT_REL in (rel[1] or rel[2] or "").split():
            found.append(match[1].strip())
    if len(found) > 1:
        raise BadRequestData(f"Link: expected one @context, got {len(found)}")
    return found[0] if found else None


@lru_cache(maxsize=256)
def prefers(header: str, preference: str) -> str | None:
    """Return the value a Prefer header gives a preference, None when it has none (RFC 7240).

    Names are taken without regard to case; the first value given counts.
    """
    for part in header.split(","):
        name, _, value = part.partition(";")[0].partition("=")
        if name.strip().lower() == preference:
            return value.strip().strip('"')
    return None


@lru_cache(maxsize=1024)
def link_to(url: str) -> str:
    """Return a Link header's value for the @context of an answer."""
    return f'<{url}>; rel="{CONTEXT_REL}"; type="{LD_JSON}"'
