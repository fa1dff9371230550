"""What the matcher keeps of the last changes, and what is said of them."""

from __future__ import annotations

from typing import Any

import pytest

from broker.core.events import EntityChanged
from broker.core.identifiers import DEFAULT_TENANT, Iri
from broker.core.ld_context import CORE
from broker.core.subscription_documents import parse
from broker.subscriptions.candidates import DEPTH, Candidate, Candidates, Ring
from broker.subscriptions.compiled import CompiledSubscription
from broker.subscriptions.explanation import Explained, explain_change, explain_entity
from broker.subscriptions.matcher import SubscriptionMatcher
from tests.support.subscriptions import CHANGED, MOMENT, changed, compiled, event, road

ENDPOINT = {"uri": "http://receiver.example/"}
BEFORE = road(speed={"type": "Property", "value": 50}, scope="/north")
UPDATE = event(BEFORE, changed(BEFORE, speed={"type": "Property", "value": 80}))


def explained(**members: Any) -> Explained:
    document = {
        "type": "Subscription",
        "entities": [{"type": "Road"}],
        "notification": {"endpoint": ENDPOINT},
        **members,
    }
    looked_at = {"q": frozenset({CORE.expand("speed")})}
    return Explained(parse(document, CORE, MOMENT), document, compiled(**members), looked_at)


def explanation(change: EntityChanged, **members: Any) -> dict[str, Any]:
    """Match a change as a store does, and explain what came of it."""
    asked = explained(**members)
    matcher = SubscriptionMatcher()
    matcher.put(DEFAULT_TENANT, asked.compiled.subscription_id, asked.compiled)
    matcher.match(change)
    (candidate,) = matcher.candidates(DEFAULT_TENANT, asked.compiled)
    return explain_change(asked, candidate)


def test_a_fault_of_the_broker_is_told_as_such() -> None:
    asked = explained(q="speed>60")

    told = explain_change(asked, Candidate(UPDATE, problem="the broker failed"))

    assert (told["stoppedBy"], told["problem"]) == ("problem", "the broker failed")
    assert told["notified"] is False


def test_an_entity_of_which_nothing_would_be_told_would_not_be_notified() -> None:
    told = explain_entity(explained(notification={"endpoint": ENDPOINT, "pick": ["x"]}), BEFORE, 0)

    assert (told["wouldBeNotified"], told["stoppedBy"]) == (False, "pick")


def test_a_change_that_passes_every_condition_is_told_with_its_notification() -> None:
    told = explanation(UPDATE, q="speed>60", watchedAttributes=["speed"])

    assert told["notified"] is True
    assert told["notificationId"].startswith("urn:ngsi-ld:Notification:")
    assert told["changed"] == ["speed"]
    assert all(one["holds"] for one in told["conditions"])


@pytest.mark.parametrize(
    ("members", "condition", "seen"),
    [
        ({"watchedAttributes": ["lanes"]}, "watchedAttributes", ["speed"]),
        ({"notificationTrigger": ["entityDeleted"]}, "notificationTrigger", ["attributeUpdated"]),
        ({"q": "speed>90"}, "q", {"speed": 80}),
        ({"scopeQ": "/south"}, "scopeQ", ["/north"]),
        (
            {"entities": [{"type": "Road", "idPattern": "Road:2$"}]},
            "entities",
            {"id": "urn:ngsi-ld:Road:1", "type": ["Road"]},
        ),
        ({"expiresAt": CHANGED}, "expiresAt", None),
        ({"notification": {"endpoint": ENDPOINT, "pick": ["lanes"]}}, "pick", None),
    ],
    ids=[
        "watchedAttributes",
        "notificationTrigger",
        "q",
        "scopeQ",
        "entities",
        "expiresAt",
        "pick",
    ],
)
def test_the_condition_that_stopped_a_change_is_named_with_what_it_saw(
    members: dict[str, Any], condition: str, seen: object
) -> None:
    told = explanation(UPDATE, **members)

    assert told["notified"] is False
    assert told["stoppedBy"] == condition
    found = {one["condition"]: one["seen"] for one in told["conditions"]}
    assert found.get(condition) == seen


def test_a_paused_subscription_says_so_of_an_entity_it_would_be_notified_of() -> None:
    asked = explained(isActive=False, q="speed>40")

    told = explain_entity(asked, BEFORE, MOMENT.timestamp())

    assert told["wouldBeNotified"] is False
    assert told["stoppedBy"] == "isActive"
    assert [one["condition"] for one in told["conditions"] if one["holds"]] == ["entities", "q"]


def test_an_update_of_an_entity_that_meets_all_conditions_would_be_notified() -> None:
    told = explain_entity(explained(q="speed==50"), BEFORE, MOMENT.timestamp())

    assert told["wouldBeNotified"] is True
    assert "stoppedBy" not in told


def test_only_the_last_changes_are_kept() -> None:
    ring = Ring()

    for number in range(10 * DEPTH):
        ring.append(UPDATE, Iri(f"urn:{number}"))

    kept = [candidate.notification for candidate in ring.last()]
    assert kept == [f"urn:{number}" for number in range(9 * DEPTH, 10 * DEPTH)]


def test_the_number_of_rings_is_bounded() -> None:
    candidates = Candidates(most=2)
    first, second, third = (compiled() for _ in range(3))

    for subscription in (first, second, third):
        candidates.note(subscription, UPDATE, None)

    assert [len(candidates.of(one)) for one in (first, second, third)] == [0, 1, 1]


def test_a_write_that_was_made_again_is_told_once() -> None:
    subscription: CompiledSubscription = compiled()
    matcher = SubscriptionMatcher()
    matcher.put(DEFAULT_TENANT, subscription.subscription_id, subscription)

    matcher.match(UPDATE)
    matcher.match(UPDATE)

    assert len(matcher.candidates(DEFAULT_TENANT, subscription)) == 1
