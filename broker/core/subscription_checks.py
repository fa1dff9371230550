"""The restrictions on a subscription that its types do not express (clauses 5.2.12 to 5.2.15)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, TypeVar
from urllib.parse import urlsplit

from msgspec import UNSET, UnsetType

from broker.core import projection
from broker.core.errors import BadRequestData, OperationNotSupported
from broker.core.identifiers import DEFAULT_INSTANCE, check_name, check_uri
from broker.core.kafka import KAFKA, check_kafka_topic
from broker.core.ld_context import CORE
from broker.core.mqtt import MQTT_SCHEMES, check_notifier, check_topic
from broker.core.projection import ENTITY_MEMBERS
from broker.core.query import patterns
from broker.core.subscription import (
    GEO_JSON,
    JSON,
    LD_JSON,
    Endpoint,
    KeyValuePair,
    NotificationParams,
    Selector,
    Subscription,
)
from broker.core.timestamps import parse_timestamp

_T = TypeVar("_T")

TRIGGERS: Final = (
    "entityCreated",
    "entityUpdated",
    "entityDeleted",
    "attributeCreated",
    "attributeUpdated",
    "attributeDeleted",
)
FORMATS: Final = ("normalized", "concise", "simplified", "keyValues")
ACCEPTED: Final = (JSON, LD_JSON, GEO_JSON)
_MOST_JOINED: Final = 10
_LEAST_INTERVAL: Final = 0.05
_LONGEST: Final = 100 * 365 * 86_400
"""Seconds; the moments that follow from longer times would not be dates any more."""
_JOINS: Final = ("flat", "inline", "@none")
_HTTP_SCHEMES: Final = ("http", "https")
_KNOWN_SCHEMES: Final = ("ws", "wss")

_LISTED = re.compile(r"[,|]")
_BRACES = re.compile(r"\{.*\}")
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\U0010ffff]*")
_FRAMING: Final = frozenset(
    {"connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding"}
    | {"upgrade", "expect"}
)
"""Headers that say where a message ends or goes; a receiver's own would let it be split."""


def check_restrictions(subscription: Subscription) -> None:
    """Check what holds between and inside members.

    Raises:
        BadRequestData: a restriction is not met; the detail names the member and what it takes.
        OperationNotSupported: a member asks for what this broker does not offer.
    """
    check_uri(subscription.id, "id")
    if subscription.type != "Subscription":
        raise BadRequestData(f"type: expected 'Subscription', got {subscription.type!r:.120}")
    _check_scope(subscription)
    _check_times(subscription)
    _check_all_of(subscription.notification_trigger, TRIGGERS, "notificationTrigger")
    for number, item in enumerate(_given(subscription.dataset_id)):
        if item != DEFAULT_INSTANCE:
            check_uri(item, f"datasetId[{number}]")
    if subscription.jsonld_context is not UNSET:
        check_uri(subscription.jsonld_context, "jsonldContext")
    if subscription.ngsild_conformance is not UNSET:
        _check_conformance(subscription.ngsild_conformance)
    _check_notification(subscription.notification)


def _check_scope(subscription: Subscription) -> None:
    """Check what is subscribed to."""
    if (
        subscription.entities is UNSET
        and subscription.watched_attributes is UNSET
        and subscription.local_only is not True
    ):
        raise BadRequestData("subscription: expected entities, watchedAttributes or localOnly")
    if subscription.temporal_q is not UNSET:
        raise BadRequestData("temporalQ: only subscriptions to context sources take it")
    for number, selector in enumerate(_given(subscription.entities)):
        _check_selector(selector, f"entities[{number}]")
        if selector.type.strip() == "*" and subscription.local_only is False:
            raise BadRequestData(f"entities[{number}].type: * is local, and localOnly is false")
    _check_names(_given(subscription.watched_attributes), "watchedAttributes")


def _check_selector(selector: Selector, path: str) -> None:
    ids = [selector.id] if isinstance(selector.id, str) else _given(selector.id)
    for item in ids:
        check_uri(item, f"{path}.id")
    if selector.id_pattern is not UNSET:
        patterns.finder(selector.id_pattern, f"{path}.idPattern")


def _check_times(subscription: Subscription) -> None:
    if subscription.expires_at is not UNSET:
        parse_timestamp(subscription.expires_at, "expiresAt")
    _check_number(subscription.throttling, "throttling", _LONGEST)
    _check_number(subscription.time_interval, "timeInterval", _LONGEST)
    if subscription.time_interval is UNSET:
        return
    if subscription.time_interval < _LEAST_INTERVAL:
        raise BadRequestData(f"timeInterval: expected {_LEAST_INTERVAL} seconds or more")
    for member, value in (
        ("watchedAttributes", subscription.watched_attributes),
        ("throttling", subscription.throttling),
    ):
        if value is not UNSET:
            raise BadRequestData(f"{member}: not possible beside timeInterval")


def _check_conformance(version: str) -> None:
    if not re.fullmatch(r"\d{1,2}\.\d{1,3}", version):
        raise BadRequestData(f"ngsildConformance: expected such as '1.9', got {version!r:.80}")


def _check_notification(notification: NotificationParams) -> None:
    path = "notification"
    _check_one_of(notification.format, FORMATS, f"{path}.format")
    _check_one_of(notification.join, _JOINS, f"{path}.join")
    if notification.join_level is not UNSET and notification.join_level > _MOST_JOINED:
        raise BadRequestData(f"{path}.joinLevel: expected {_MOST_JOINED} at most")
    if notification.show_changes is True and notification.format in ("simplified", "keyValues"):
        raise BadRequestData(f"{path}.showChanges: not possible in format {notification.format}")
    _check_projection(notification, path)
    _check_endpoint(notification.endpoint, f"{path}.endpoint")


def _check_projection(notification: NotificationParams, path: str) -> None:
    attributes = _given(notification.attributes)
    pick, omit = _given(notification.pick), _given(notification.omit)
    _check_names(attributes, f"{path}.attributes")
    if attributes and (pick or omit):
        raise BadRequestData(f"{path}.attributes: not possible beside pick or omit")
    if ENTITY_MEMBERS & set(attributes):
        raise BadRequestData(f"{path}.attributes: id, type and scope are not attributes; use pick")
    both = set(pick) & set(omit)
    if both:
        raise BadRequestData(f"{path}.omit: {min(both)!r:.80} is picked too")
    for member, terms in (("pick", pick), ("omit", omit)):
        for number, term in enumerate(terms):
            _check_term(term, notification.linked_level, f"{path}.{member}[{number}]")


def _check_term(term: str, level: int, path: str) -> None:
    """Check one term of the projection language, such as `street{name}` (clause 4.21)."""
    try:
        projection.parse(CORE, pick=[term], join_level=level)
    except BadRequestData as error:
        raise BadRequestData(f"{path}: {error.detail.partition(': ')[2]}") from error
    if _LISTED.search(_BRACES.sub("", term)):
        raise BadRequestData(f"{path}: {term!r:.80} is more than one; the array lists them")


def _check_endpoint(endpoint: Endpoint, path: str) -> None:
    _check_endpoint_uri(endpoint.uri, f"{path}.uri")
    _check_one_of(endpoint.accept, ACCEPTED, f"{path}.accept")
    _check_number(endpoint.timeout, f"{path}.timeout", _LONGEST * 1000)
    _check_number(endpoint.cooldown, f"{path}.cooldown", _LONGEST * 1000)
    for number, pair in enumerate(_given(endpoint.notifier_info)):
        check_notifier(pair, f"{path}.notifierInfo[{number}]")
    for number, pair in enumerate(_given(endpoint.receiver_info)):
        _check_header(pair, f"{path}.receiverInfo[{number}]")


def _check_endpoint_uri(uri: str, path: str) -> None:
    check_uri(uri, path)
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise BadRequestData(f"{path}: {uri!r:.120} is no URL: {error}") from error
    if parts.scheme in _KNOWN_SCHEMES:
        raise OperationNotSupported(f"{path}: endpoints over {parts.scheme} are not offered yet")
    if parts.scheme not in (*_HTTP_SCHEMES, *MQTT_SCHEMES, KAFKA):
        raise BadRequestData(f"{path}: expected an http(s), mqtt(s) or kafka URL, got {uri!r:.120}")
    if not host or port == 0:
        raise BadRequestData(f"{path}: {uri!r:.120} names no {'port' if host else 'host'}")
    if parts.scheme in MQTT_SCHEMES:
        check_topic(parts, path)
    elif parts.scheme == KAFKA:
        check_kafka_topic(parts, path)
    elif parts.username is not None or parts.password is not None:
        raise BadRequestData(f"{path}: credentials go into receiverInfo, not into the URL")


def _check_header(pair: KeyValuePair, path: str) -> None:
    if not _HEADER_NAME.fullmatch(pair.key):
        raise BadRequestData(f"{path}.key: {pair.key!r:.80} is no header name")
    if pair.key.lower() in _FRAMING:
        raise BadRequestData(f"{path}.key: {pair.key} is the broker's to set")
    if not _HEADER_VALUE.fullmatch(pair.value):
        raise BadRequestData(f"{path}.value: expected text without line breaks or controls")


def _given(items: list[_T] | UnsetType) -> list[_T]:
    return [] if items is UNSET else items


def _check_names(names: Iterable[str], path: str) -> None:
    for number, name in enumerate(names):
        check_name(name, f"{path}[{number}]")


def _check_number(value: float | UnsetType, path: str, most: int) -> None:
    if value is not UNSET and not 0 < value <= most:
        raise BadRequestData(f"{path}: expected a number greater than 0, {most} at most")


def _check_one_of(value: str | UnsetType, allowed: Iterable[str], path: str) -> None:
    if value is not UNSET and value not in allowed:
        raise BadRequestData(f"{path}: expected one of {', '.join(allowed)}, got {value!r:.80}")


def _check_all_of(values: list[str] | UnsetType, allowed: Iterable[str], path: str) -> None:
    for number, value in enumerate(_given(values)):
        _check_one_of(value, allowed, f"{path}[{number}]")
