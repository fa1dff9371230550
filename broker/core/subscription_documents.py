"""Read, change and serve subscriptions as documents (clauses 5.8.1 to 5.8.4).

Names are expanded on the way in and compacted on the way out, so that a subscription can be served
with any @context; texts in a query language stay as they came, beside the @context to read them
with.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET

from broker.core.errors import BadRequestData
from broker.core.identifiers import NGSI_LD_NULL, Iri, new_id
from broker.core.projection import ENTITY_MEMBERS
from broker.core.subscription import DEFAULT_TRIGGERS, Subscription
from broker.core.subscription_checks import check_restrictions
from broker.core.timestamps import format_timestamp, parse_timestamp

if TYPE_CHECKING:
    from broker.core.ld_context import LdContext

DELIVERY_MEMBERS: Final = (
    "status",
    "timesSent",
    "timesFailed",
    "lastNotification",
    "lastSuccess",
    "lastFailure",
    "lastPeriod",
    "lettersDropped",
)
"""Members of `notification` that the broker writes (clause 5.2.14.2); the last two are its own."""

_INTERNAL = ("@context", "qContext", "contextLink")
_BROKERS_OWN = frozenset({*_INTERNAL, "status", "createdAt", "modifiedAt"})
_NAME = re.compile(r"[^\s,;|()]+")
_PROJECTED = re.compile(r"[^,|{}]+")


def parse(document: object, ld_context: LdContext, now: datetime) -> Subscription:
    """Check a subscription to create and expand its names (clause 5.8.1).

    Raises:
        BadRequestData: a member is missing, of the wrong type or against a restriction; the detail
            names its path.
        OperationNotSupported: it asks for what this broker does not offer.
    """
    sent = _members(document)
    _refuse_nulls(sent, "")
    at = format_timestamp(now)
    own = {"@context": ld_context.source, "createdAt": at, "modifiedAt": at}
    document = {"id": new_id("Subscription"), **sent, **own}
    return _build(document, sent, ld_context, now)


def update(
    subscription: Subscription, fragment: object, ld_context: LdContext, now: datetime
) -> Subscription:
    """Replace the members that a fragment names, and remove those it gives as null (clause 5.8.2).

    Raises:
        BadRequestData: as in `parse`, or the fragment has another id or type, or removes what must
            be there.
        OperationNotSupported: as in `parse`.
    """
    sent = _members(fragment)
    for member, own in (("id", subscription.id), ("type", subscription.type)):
        if sent.pop(member, own) != own:
            raise BadRequestData(f"{member}: an update cannot change it from {own!r}")
    removed = {key for key, value in sent.items() if value is None or value == NGSI_LD_NULL}
    changed = {key: value for key, value in sent.items() if key not in removed}
    _refuse_nulls(changed, "")
    if "expiresAt" in changed and "isActive" not in changed:  # it ended, and begins anew
        removed |= {"isActive"} if subscription.status(now) == "expired" else set()
    own_members: dict[str, Any] = {"modifiedAt": format_timestamp(now)}
    if "q" in changed:
        own_members["qContext"] = ld_context.source
    document = {**stored(subscription), **changed, **own_members}
    kept = {key: value for key, value in document.items() if key not in removed}
    return _build(kept, changed, ld_context, now)


def stored(subscription: Subscription) -> dict[str, Any]:
    """Return the document that `restore` reads."""
    document: dict[str, Any] = msgspec.to_builtins(subscription)
    return document


def restore(document: Mapping[str, Any]) -> tuple[Subscription, dict[str, Any]]:
    """Return a stored subscription and its delivery members.

    Raises:
        BadRequestData: the document is none that `stored` makes.
    """
    subscription = _convert(document)
    notification = document["notification"]
    return subscription, {k: notification[k] for k in DELIVERY_MEMBERS if k in notification}


def render(
    subscription: Subscription,
    delivery: Mapping[str, Any],
    ld_context: LdContext,
    now: datetime,
    *,
    sys_attrs: bool = False,
) -> dict[str, Any]:
    """Return a subscription as it is served, without `@context` (clauses 5.2.12, 5.2.14).

    Args:
        delivery: its delivery members.
    """
    document = stored(subscription)
    link = document.get("contextLink")
    for member in _INTERNAL:
        document.pop(member, None)
    names = ld_context.for_types(selected_types(subscription))
    for selector in document.get("entities", ()):
        selector["type"] = _map_types(selector["type"], ld_context.compact)
    _map_names(document, names.compact)
    document["notification"] |= delivery
    document.setdefault("notificationTrigger", list(DEFAULT_TRIGGERS))
    if link is not None:
        document.setdefault("jsonldContext", link)
    document["status"] = subscription.status(now)
    if not sys_attrs:
        document.pop("createdAt", None)
        document.pop("modifiedAt", None)
    return document


def selected_types(subscription: Subscription) -> list[Iri]:
    """List the types that the selectors name, for the terms that are scoped to them."""
    if subscription.entities is UNSET:
        return []
    return _types(msgspec.to_builtins(subscription.entities))


def _members(document: object) -> dict[str, Any]:
    if not isinstance(document, Mapping):
        raise BadRequestData("subscription: expected a JSON object")
    return {key: value for key, value in document.items() if key not in _BROKERS_OWN}


def _refuse_nulls(value: object, path: str) -> None:
    """Refuse null and its NGSI-LD form at any depth (clause 5.5.4)."""
    if value is None or value == NGSI_LD_NULL:
        raise BadRequestData(f"{path}: null stands for a deletion, which has no place here")
    if isinstance(value, Mapping):
        for key, member in value.items():
            _refuse_nulls(member, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            _refuse_nulls(item, f"{path}[{number}]")


def _build(
    document: Mapping[str, Any], given: Collection[str], ld_context: LdContext, now: datetime
) -> Subscription:
    """Check a whole subscription, of which the given members are the client's and not expanded."""
    checked = _convert(document)
    check_restrictions(checked)
    if "expiresAt" in given and parse_timestamp(checked.expires_at, "expiresAt") <= now:
        raise BadRequestData(f"expiresAt: {checked.expires_at} is in the past")
    expanded = stored(checked)
    if expanded.get("isActive") is True:
        del expanded["isActive"]
    if "entities" in given:
        for selector in expanded["entities"]:
            selector["type"] = _map_types(selector["type"], ld_context.expand)
    names = ld_context.for_types(_types(expanded.get("entities", ())))
    _map_names({key: expanded[key] for key in given if key in expanded}, names.expand)
    return _convert(expanded)


def _convert(document: Mapping[str, Any]) -> Subscription:
    try:
        return msgspec.convert(document, Subscription)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at ")
        path = where.strip("`").removeprefix("$.") or "subscription"
        raise BadRequestData(f"{path}: {what[0].lower()}{what[1:]}") from error


def _types(selectors: Iterable[Mapping[str, Any]]) -> list[Iri]:
    names = (name for selector in selectors for name in _NAME.findall(selector["type"]))
    return [Iri(name) for name in names if name != "*"]


def _map_types(selection: str, mapped: Callable[[str], str]) -> str:
    """Map the names in a type selection (clause 4.17), leaving its operators."""
    return _NAME.sub(lambda name: name[0] if name[0] == "*" else mapped(name[0]), selection)


def _map_names(document: Mapping[str, Any], mapped: Callable[[str], str]) -> None:
    """Map the attribute names that stand for themselves in a subscription, in place."""
    notification = document.get("notification", {})
    for holder, member in ((document, "watchedAttributes"), (notification, "attributes")):
        if member in holder:
            holder[member][:] = [_map_member(name, mapped) for name in holder[member]]
    for member in ("pick", "omit"):
        if member in notification:
            notification[member][:] = [_map_term(term, mapped) for term in notification[member]]
    geo = document.get("geoQ", {})
    if "geoproperty" in geo:
        geo["geoproperty"] = mapped(geo["geoproperty"])


def _map_term(term: str, mapped: Callable[[str], str]) -> str:
    """Map the names in a term of the projection language, such as `street{name}` (clause 4.21)."""
    return _PROJECTED.sub(lambda name: _map_member(name[0], mapped), term)


def _map_member(name: str, mapped: Callable[[str], str]) -> str:
    return name if name in ENTITY_MEMBERS else mapped(name)
