"""How fast changes find their subscriptions, and what those cost that they do not find."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bench.city import TYPE, spot
from broker.core import fragments
from broker.core.entity import expand_entity, expand_fragment
from broker.core.events import EntityChanged
from broker.core.identifiers import DEFAULT_TENANT, Iri
from broker.core.ld_context import CORE
from broker.core.subscription_documents import parse
from broker.subscriptions.compiled import Contexts, compile_subscription
from broker.subscriptions.matcher import SubscriptionMatcher

_MOMENT = datetime(2026, 5, 1, 8, tzinfo=UTC)
_CONTEXTS = Contexts(CORE, CORE, CORE)
_CANDIDATES = 100
_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Matched:
    """Pairs of a change and a candidate looked at per second, and microseconds for a change."""

    pairs: float
    few: float
    many: float


def matching(subscriptions: int) -> Matched:
    """Match changes with some candidates of which one fits, and beside many others.

    Args:
        subscriptions: how many there are beside, to other types, entities and attributes.
    """
    matcher = SubscriptionMatcher()
    for number in range(_CANDIDATES):
        _put(matcher, number, q=f"temperature=={number}.5")
    event = _changed()
    pairs = _CANDIDATES / _duration(matcher, event)
    matcher = SubscriptionMatcher()
    _put(matcher, 0, q="temperature==7.5")
    few = _duration(matcher, event)
    for number in range(1, subscriptions):
        _put(matcher, number, **_elsewhere(number))
    many = _duration(matcher, event)
    return Matched(pairs, few * 1e6, many * 1e6)


def _elsewhere(number: int) -> dict[str, Any]:
    """Return what a subscription says that the change does not concern."""
    if number % 3 == 0:
        return {"entities": [{"type": f"Kind{number}"}]}
    if number % 3 == 1:
        return {"entities": [{"type": TYPE, "id": f"urn:ngsi-ld:{TYPE}:{number}"}]}
    return {"watchedAttributes": [f"attribute{number}"]}


def _put(matcher: SubscriptionMatcher, number: int, **members: Any) -> None:
    document = {
        "id": f"urn:ngsi-ld:Subscription:{number}",
        "type": "Subscription",
        "entities": [{"type": TYPE}],
        "notification": {"endpoint": {"uri": "http://receiver.example/"}},
        **members,
    }
    compiled = compile_subscription(parse(document, CORE, _MOMENT), _CONTEXTS)
    matcher.put(DEFAULT_TENANT, compiled.subscription_id, compiled)


def _changed() -> EntityChanged:
    at = "2026-05-01T08:00:01.000Z"
    chance = random.Random(1)  # noqa: S311 - reproducible, not secret
    before = fragments.create(expand_entity(spot(1, chance), CORE), "2026-05-01T08:00:00.000Z")
    fragment = expand_fragment({"temperature": {"type": "Property", "value": 7.5}}, CORE)
    after = fragments.update(before, fragment, at).entity
    return EntityChanged(DEFAULT_TENANT, Iri(before["id"]), before, after, at, 2)


def _duration(matcher: SubscriptionMatcher, event: EntityChanged) -> float:
    """Return the seconds that one change takes."""
    rounds = 0
    started = time.perf_counter()
    while time.perf_counter() - started < _SECONDS:
        for _ in range(100):
            matcher.match(event)
        rounds += 100
    return (time.perf_counter() - started) / rounds
