"""Query parameters that several operations share (clause 6.3.20)."""

from __future__ import annotations

from collections.abc import Mapping

from broker.api.request import Request
from broker.core.errors import BadRequestData, InvalidRequest
from broker.core.etag import parse_tags
from broker.core.identifiers import Iri, check_name, check_uri
from broker.core.ld_context import LdContext
from broker.core.query import types as type_language
from broker.core.query.nodes import TypeNode
from broker.operations.broker import Limits
from broker.operations.changes import ANY, Narrowing

PAGE = frozenset({"limit", "offset", "count"})

_MOST_DIGITS = 12


def options(request: Request, known: frozenset[str]) -> list[str]:
    """Return the keywords of `options` (clause 6.3.20).

    Raises:
        InvalidRequest: one of them is not known to the operation.
    """
    return chosen(request.params, known)


def simplified(request: Request) -> bool:
    """Tell whether the body of a merge is in simplified representation (table 6.5.3.4-1).

    Raises:
        InvalidRequest: `format` or `options` is something else.
    """
    known = frozenset({"simplified", "keyValues"})
    found = chosen(request.params, known)
    name = request.params.get("format")
    if name is not None and name not in known:
        raise InvalidRequest(f"format: expected simplified or keyValues, got {name!r:.80}")
    return bool(name or found)


def narrowing(request: Request, ld_context: LdContext) -> Narrowing:
    """Return what must be true of an entity to be written: type (4.17), state (If-Match).

    With it comes whether what it has stays when it was observed later (an extension).
    """
    state = request.raw.headers.get("If-Match")
    if state is None and "type" not in request.params and "keepNewer" not in request.params:
        return ANY
    return Narrowing(
        types=types(request.params, ld_context),
        tags=None if state is None else parse_tags(state, "If-Match"),
        keep_newer=flag(request.params, "keepNewer"),
    )


def attribute(request: Request, ld_context: LdContext) -> Iri:
    """Return the attribute a path names, as an IRI.

    Raises:
        BadRequestData: it is no attribute name.
    """
    return ld_context.expand(check_name(request.path("attrId"), "attrId"))


def page(params: Mapping[str, str], limits: Limits) -> tuple[int, int, bool]:
    """Return `limit`, `offset` and whether `count` is asked for, of any list.

    Raises:
        BadRequestData: one is out of bounds, or nothing but a page without entries is asked for.
    """
    limit = number(params, "limit", limits.default_limit, most=limits.max_limit)
    count = flag(params, "count")
    if limit == 0 and not count:
        raise BadRequestData("limit: 0 only together with count=true")
    return limit, number(params, "offset", 0), count


def types(params: Mapping[str, str], ld_context: LdContext) -> TypeNode | None:
    """Return the type selection of the parameters (clause 4.17); None is any type."""
    text = params.get("type")
    if text is None or text.strip() == "*":
        return None
    return type_language.parse(text, ld_context.expand)


def listed(params: Mapping[str, str], name: str) -> list[str]:
    """Return the items of a parameter that is a list; none when it is absent.

    Raises:
        BadRequestData: an item is empty.
    """
    if name not in params:
        return []
    parts = [part.strip() for part in params[name].split(",")]
    if not all(parts):
        raise BadRequestData(
            f"{name}: expected a list separated by commas, got {params[name]!r:.80}"
        )
    return parts


def dataset_id(params: Mapping[str, str]) -> str | None:
    """Return the one datasetId asked for, `@none` for the default instance.

    Raises:
        BadRequestData: it is no URI.
    """
    text = params.get("datasetId")
    return text if text in (None, "@none") else check_uri(text, "datasetId")


def dataset_ids(params: Mapping[str, str]) -> frozenset[str] | None:
    """Return the datasetIds asked for (clause 4.5.5); None when there are none."""
    parts = listed(params, "datasetId")
    if not parts:
        return None
    return frozenset(part if part == "@none" else check_uri(part, "datasetId") for part in parts)


def chosen(params: Mapping[str, str], known: frozenset[str]) -> list[str]:
    """Return the keywords of `options`.

    Raises:
        InvalidRequest: one of them is not known.
    """
    found = [part.strip() for part in params.get("options", "").split(",") if part.strip()]
    for option in found:
        if option not in known:
            expected = ", ".join(sorted(known))
            raise InvalidRequest(f"options: expected some of {expected}, got {option!r:.80}")
    return found


def flag(params: Mapping[str, str], name: str) -> bool:
    """Return a parameter that is `true` or `false`, false when it is absent.

    Raises:
        InvalidRequest: it is something else.
    """
    value = params.get(name, "false").lower()
    if value not in {"true", "false"}:
        raise InvalidRequest(f"{name}: expected true or false, got {value!r:.80}")
    return value == "true"


def number(
    params: Mapping[str, str], name: str, default: int, *, least: int = 0, most: int | None = None
) -> int:
    """Return a parameter that is a whole number.

    Raises:
        BadRequestData: it is none, or too small or too large.
    """
    text = params.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > _MOST_DIGITS:
        raise BadRequestData(f"{name}: expected a whole number from {least}, got {text!r:.80}")
    number = int(text)
    if number < least:
        raise BadRequestData(f"{name}: at least {least}, got {number}")
    if most is not None and number > most:
        raise BadRequestData(f"{name}: at most {most}, got {number}")
    return number
