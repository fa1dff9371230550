"""Which changes concern which subscriptions."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from broker.core.errors import BadRequestData
from broker.core.events import EntityChanged
from broker.core.identifiers import DEFAULT_TENANT, ExpandedEntity, Tenant
from broker.core.ld_context import CORE
from broker.subscriptions.compiled import CompiledSubscription
from broker.subscriptions.matcher import SubscriptionMatcher
from tests.support.subscriptions import changed, compiled, event, road

ENDPOINT_LD = {"uri": "http://receiver.example/", "accept": "application/ld+json"}
CONNECTED_TO = {"type": "Relationship", "object": "urn:ngsi-ld:Road:2"}
SPEED = {"type": "Property", "value": 50}
FREE = road(speed=SPEED, lanes={"type": "Property", "value": 2})
FASTER = changed(FREE, speed={"type": "Property", "value": 80})
CREATION = event(None, FREE)
UPDATE = event(FREE, FASTER)
DELETION = event(FREE, None)
ATTRIBUTE_DELETION = event(FREE, changed(FREE, speed="urn:ngsi-ld:null"))
ATTRIBUTE_CREATION = event(FREE, changed(FREE, name={"type": "Property", "value": "A1"}))


def matched(subscription: CompiledSubscription, change: EntityChanged) -> bool:
    matcher = SubscriptionMatcher()
    matcher.put(change.tenant, subscription.subscription_id, subscription)
    return bool(matcher.match(change))


def test_a_delivery_says_what_and_for_whom() -> None:
    subscription = compiled()
    matcher = SubscriptionMatcher()
    matcher.put(DEFAULT_TENANT, subscription.subscription_id, subscription)

    (delivery,) = matcher.match(UPDATE)

    body = msgspec.json.decode(delivery.body)
    assert body["id"] == delivery.id
    assert body["subscriptionId"] == delivery.subscription_id == subscription.subscription_id
    assert body["notifiedAt"] == delivery.created_at == UPDATE.at
    assert delivery.order_key == FREE["id"]
    assert body["data"][0]["speed"]["value"] == 80


def test_every_match_has_an_id_of_its_own() -> None:
    subscription = compiled()
    matcher = SubscriptionMatcher()
    matcher.put(DEFAULT_TENANT, subscription.subscription_id, subscription)

    found = {matcher.match(UPDATE)[0].id for _ in range(100)}

    assert len(found) == 100


@pytest.mark.parametrize(
    ("trigger", "expected"),
    [
        ("entityCreated", {"creation"}),
        ("entityUpdated", {"creation", "update", "attribute-new", "attribute-gone", "deletion"}),
        ("entityDeleted", {"deletion"}),
        ("attributeCreated", {"creation", "attribute-new"}),
        ("attributeUpdated", {"update"}),
        ("attributeDeleted", {"attribute-gone", "deletion"}),
    ],
)
def test_a_trigger_selects_kinds_of_change(trigger: str, expected: set[str]) -> None:
    subscription = compiled(notificationTrigger=[trigger])
    changes = {
        "creation": CREATION,
        "update": UPDATE,
        "deletion": DELETION,
        "attribute-new": ATTRIBUTE_CREATION,
        "attribute-gone": ATTRIBUTE_DELETION,
    }

    found = {name for name, change in changes.items() if matched(subscription, change)}

    assert found == expected


@pytest.mark.parametrize(
    ("entities", "expected"),
    [
        ([{"type": "Road"}], True),
        ([{"type": "Lane"}], False),
        ([{"type": "*"}], True),
        ([{"type": "Lane|Road"}], True),
        ([{"type": "Lane,Road"}], True),
        ([{"type": "(Lane;Road)"}], False),
        ([{"type": "(Road;Toll),Lane"}], False),
        ([{"type": "Lane"}, {"type": "Road"}], True),
        ([{"type": "Road", "id": "urn:ngsi-ld:Road:1"}], True),
        ([{"type": "Road", "id": ["urn:ngsi-ld:Road:2", "urn:ngsi-ld:Road:1"]}], True),
        ([{"type": "Road", "id": "urn:ngsi-ld:Road:2"}], False),
        ([{"type": "Lane", "id": "urn:ngsi-ld:Road:1"}], False),
        ([{"type": "*", "id": "urn:ngsi-ld:Road:1"}], True),
        ([{"type": "Road", "idPattern": ".*:1$"}], True),
        ([{"type": "Road", "idPattern": "^urn:ngsi-ld:Lane:"}], False),
        ([{"type": "Road", "id": "urn:ngsi-ld:Road:1", "idPattern": "^no"}], True),
        ([{"type": "Lane"}, {"type": "Road", "id": "urn:ngsi-ld:Road:1"}], True),
        ([{"type": "Lane"}, {"type": "Road", "id": "urn:ngsi-ld:Road:2"}], False),
    ],
)
def test_selectors_decide_by_type_and_id(entities: list[dict[str, Any]], expected: bool) -> None:  # noqa: FBT001 - a table's column
    assert matched(compiled(entities=entities), UPDATE) is expected


def test_an_entity_with_several_types_is_notified_once() -> None:
    both = {**FREE, "type": [CORE.expand("Road"), CORE.expand("Toll")]}
    subscription = compiled(entities=[{"type": "Road"}, {"type": "Toll"}, {"type": "Road|Toll"}])
    matcher = SubscriptionMatcher()
    matcher.put(DEFAULT_TENANT, subscription.subscription_id, subscription)

    deliveries = matcher.match(event(None, type(FREE)(both)))

    assert len(deliveries) == 1


@pytest.mark.parametrize(
    ("watched", "expected"),
    [
        (["speed"], True),
        (["lanes"], False),
        (["lanes", "speed"], True),
        (["unknown"], False),
        ([CORE.expand("speed")], True),
    ],
)
def test_only_changes_of_watched_attributes_are_notified(
    watched: list[str],
    expected: bool,  # noqa: FBT001 - a table's column
) -> None:
    assert matched(compiled(watchedAttributes=watched), UPDATE) is expected


def test_watched_attributes_alone_select_entities_of_any_type() -> None:
    subscription = compiled(entities=None, watchedAttributes=["speed"])

    assert matched(subscription, UPDATE)
    assert not matched(subscription, ATTRIBUTE_CREATION)


def test_the_kind_of_change_is_that_of_the_watched_attribute() -> None:
    both = changed(FREE, speed=SPEED | {"value": 60}, name={"type": "Property", "value": "A1"})
    subscription = compiled(watchedAttributes=["name"], notificationTrigger=["attributeUpdated"])

    assert not matched(subscription, event(FREE, both))


def test_writing_an_equal_value_again_is_no_change() -> None:
    same = changed(FREE, speed=dict(SPEED))

    assert same["modifiedAt"] != FREE["modifiedAt"]
    assert not matched(compiled(), event(FREE, same))


@pytest.mark.parametrize(
    "attribute",
    [
        {"type": "Property", "value": 50, "observedAt": "2026-05-01T12:00:00Z"},
        {"type": "Property", "value": 50, "unitCode": "KMH"},
        {"type": "Property", "value": 50, "accuracy": {"type": "Property", "value": 1}},
        {"type": "Property", "value": True},
        {"type": "Relationship", "object": "urn:ngsi-ld:Lane:1"},
    ],
    ids=["observedAt", "unitCode", "sub-attribute", "boolean", "kind"],
)
def test_any_other_member_makes_a_change(attribute: dict[str, Any]) -> None:
    assert matched(compiled(), event(FREE, changed(FREE, speed=attribute)))


@pytest.mark.parametrize(
    ("one", "other", "is_change"),
    [
        (1, True, True),
        ([0, 1], [0, True], True),
        ({"a": {"b": [False]}}, {"a": {"b": [0]}}, True),
        ({"a": {"b": [False]}}, {"a": {"b": [False]}}, False),
        ({"a": 1}, {"a": 1.0}, False),
    ],
)
def test_true_in_place_of_one_is_a_change(one: Any, other: Any, is_change: bool) -> None:  # noqa: FBT001 - a table's column
    was = road(open={"type": "Property", "value": one})
    after = changed(was, open={"type": "Property", "value": other})

    assert bool(matched(compiled(), event(was, after))) is is_change


def test_an_equal_sub_attribute_written_again_is_no_change() -> None:
    attribute = {**SPEED, "accuracy": {"type": "Property", "value": 1}}
    before = road(speed=attribute)

    assert not matched(compiled(), event(before, changed(before, speed=dict(attribute))))


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"q": "speed>60"}, True),
        ({"q": "speed>90"}, False),
        ({"q": "speed>60;lanes==2"}, True),
        ({"q": "speed%3E60%3Blanes==2"}, True),
        ({"scopeQ": "/north/#"}, True),
        ({"scopeQ": "/south"}, False),
        (
            {"geoQ": {"georel": "near;maxDistance==1000", "geometry": "Point",
                      "coordinates": [23.7, 37.9]}},
            True,
        ),
        (
            {"geoQ": {"georel": "near;maxDistance==1000", "geometry": "Point",
                      "coordinates": "[10.0, 10.0]", "geoproperty": "location"}},
            False,
        ),
        ({"q": "speed>60", "scopeQ": "/south"}, False),
    ],
)  # fmt: skip
def test_the_entity_after_the_change_must_meet_the_conditions(
    conditions: dict[str, Any],
    expected: bool,  # noqa: FBT001 - a table's column
) -> None:
    place = {"type": "GeoProperty", "value": {"type": "Point", "coordinates": [23.7, 37.9]}}
    before = road(speed=SPEED, lanes={"type": "Property", "value": 2}, location=place)
    before = type(before)({**before, "scope": ["/north/center"]})
    after = changed(before, speed={"type": "Property", "value": 80})

    assert matched(compiled(**conditions), event(before, after)) is expected


def test_a_deleted_entity_is_judged_by_what_it_was() -> None:
    triggers = ["entityDeleted"]

    assert matched(compiled(q="speed==50", notificationTrigger=triggers), DELETION)
    assert not matched(compiled(q="speed==80", notificationTrigger=triggers), DELETION)


def test_values_are_expanded_where_the_query_asks_for_it() -> None:
    plain = {"type": "VocabProperty", "vocab": "wet"}
    before, after = road(state=plain), road(state={"type": "VocabProperty", "vocab": "dry"})

    assert matched(compiled(q='state=="dry"', expandValues="state"), event(before, after))
    assert not matched(compiled(q='state=="dry"'), event(before, after))


def test_a_paused_subscription_is_not_matched() -> None:
    assert not matched(compiled(isActive=False), UPDATE)


def test_an_expired_subscription_is_not_matched() -> None:
    assert matched(compiled(expiresAt="2026-05-01T12:00:02Z"), UPDATE)
    assert not matched(compiled(expiresAt="2026-05-01T12:00:01Z"), UPDATE)


def test_tenants_do_not_see_each_other() -> None:
    matcher = SubscriptionMatcher()
    subscription = compiled()
    matcher.put(Tenant("north"), subscription.subscription_id, subscription)

    assert not matcher.match(UPDATE)
    assert matcher.match(event(FREE, FASTER, tenant=Tenant("north")))


def test_a_replaced_subscription_is_matched_as_it_is_now() -> None:
    matcher = SubscriptionMatcher()
    before, after = compiled(watchedAttributes=["speed"]), compiled(watchedAttributes=["lanes"])
    matcher.put(DEFAULT_TENANT, before.subscription_id, before)

    matcher.put(DEFAULT_TENANT, before.subscription_id, after)

    assert not matcher.match(UPDATE)
    assert matcher.match(CREATION)


def test_pausing_takes_a_subscription_out_and_resuming_brings_it_back() -> None:
    matcher = SubscriptionMatcher()
    active = compiled()
    matcher.put(DEFAULT_TENANT, active.subscription_id, active)

    matcher.put(DEFAULT_TENANT, active.subscription_id, compiled(isActive=False))
    while_paused = matcher.match(UPDATE)
    matcher.put(DEFAULT_TENANT, active.subscription_id, active)

    assert not while_paused
    assert matcher.match(UPDATE)


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"watchedAttributes": ["speed", "lanes"]},
        {"entities": None, "watchedAttributes": ["speed"]},
        {"entities": [{"type": "*"}]},
        {"entities": [{"type": "Road|Lane"}]},
        {"entities": [{"type": "Road", "id": "urn:ngsi-ld:Road:1"}]},
    ],
)
def test_a_discarded_subscription_is_forgotten(members: dict[str, Any]) -> None:
    matcher = SubscriptionMatcher()
    kept, gone = compiled(), compiled(**members)
    matcher.put(DEFAULT_TENANT, kept.subscription_id, kept)
    matcher.put(DEFAULT_TENANT, gone.subscription_id, gone)

    matcher.discard(DEFAULT_TENANT, gone.subscription_id)
    matcher.discard(DEFAULT_TENANT, gone.subscription_id)

    assert [d.subscription_id for d in matcher.match(UPDATE)] == [kept.subscription_id]


def test_what_the_projection_empties_is_not_notified() -> None:
    assert not matched(compiled(notification={"pick": ["width"]}), UPDATE)


def test_a_subscription_that_cannot_be_evaluated_does_not_stop_the_others() -> None:
    matcher = SubscriptionMatcher()
    bad, good = compiled(q="speed>1"), compiled()
    broken = type(bad)(
        **{
            **{name: getattr(bad, name) for name in bad.__dataclass_fields__},
            "conditions": (("q", lambda entity: bool(1 / 0 and entity)),),
        }
    )
    matcher.put(DEFAULT_TENANT, broken.subscription_id, broken)
    matcher.put(DEFAULT_TENANT, good.subscription_id, good)

    deliveries = matcher.match(UPDATE)

    assert [d.subscription_id for d in deliveries] == [good.subscription_id]
    assert matcher.counts["broken"] == 1
    (candidate,) = matcher.candidates(DEFAULT_TENANT, broken)
    assert candidate.problem is not None
    assert "ZeroDivisionError" in candidate.problem


@pytest.mark.parametrize(
    ("members", "path"),
    [
        ({"entities": [{"type": "(Road"}]}, "entities[0].type"),
        ({"q": "speed>"}, "q"),
        ({"scopeQ": "north/"}, "scopeQ"),
        ({"csf": "(("}, "csf"),
        ({"geoQ": {"georel": "beside", "geometry": "Point", "coordinates": [1, 2]}}, "geoQ.georel"),
        (
            {"geoQ": {"georel": "within", "geometry": "Circle", "coordinates": [1, 2]}},
            "geoQ.geometry",
        ),
    ],
)
def test_what_is_no_query_is_refused_with_its_path(members: dict[str, Any], path: str) -> None:
    with pytest.raises(BadRequestData) as caught:
        compiled(**members)

    assert caught.value.detail.startswith(path)


LANE = road(2, lanes={"type": "Property", "value": 3})
CONNECTED = road(
    speed=SPEED, connectsTo={"type": "Relationship", "object": ["urn:ngsi-ld:Road:2", "urn:x:3"]}
)


def told(
    subscription: CompiledSubscription, *here: ExpandedEntity, change: EntityChanged | None = None
) -> list[dict[str, Any]]:
    """Return the data of what a road's creation tells, where some entities are here."""
    matcher = SubscriptionMatcher()
    matcher.put(DEFAULT_TENANT, subscription.subscription_id, subscription)
    entities = {entity["id"]: entity for entity in here}
    found = matcher.match(change or event(None, CONNECTED), entities.get)
    return [item for one in found for item in msgspec.json.decode(one.body)["data"]]


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("connectsTo{lanes}>2", True),
        ("connectsTo{lanes}>3", False),
        ("speed==50;connectsTo{Road:lanes}", True),
        ("speed==51;connectsTo{Road:lanes}", False),
        ("connectsTo{Lane:lanes}", False),
    ],
)
def test_q_follows_relationships(q: str, expected: bool) -> None:  # noqa: FBT001 - of the table
    assert bool(told(compiled(q=q), LANE)) is expected
    assert not told(compiled(q="connectsTo{lanes}>2"))


def test_an_inline_join_puts_linked_entities_at_their_relationship() -> None:
    (entity,) = told(compiled(notification={"join": "inline"}), LANE)

    assert entity["connectsTo"]["object"] == ["urn:ngsi-ld:Road:2", "urn:x:3"]
    assert [one["id"] for one in entity["connectsTo"]["entity"]] == ["urn:ngsi-ld:Road:2"]
    assert entity["connectsTo"]["entity"][0]["lanes"]["value"] == 3


def test_a_flat_join_puts_linked_entities_beside_the_changed_one() -> None:
    first, second = told(
        compiled(notification={"join": "flat", "endpoint": ENDPOINT_LD}), LANE, CONNECTED
    )

    assert first["id"] == "urn:ngsi-ld:Road:1"
    assert "entity" not in first["connectsTo"]
    assert second["id"] == "urn:ngsi-ld:Road:2"
    assert first["@context"] == second["@context"]


def test_a_join_goes_as_deep_as_its_level() -> None:
    far = road(4, lanes={"type": "Property", "value": 1})
    near = road(2, connectsTo={"type": "Relationship", "object": "urn:ngsi-ld:Road:4"})
    here = (near, far, CONNECTED)

    one = told(compiled(notification={"join": "flat"}), *here)
    two = told(compiled(notification={"join": "flat", "joinLevel": 2}), *here)

    assert [entity["id"][-1] for entity in one] == ["1", "2"]
    assert [entity["id"][-1] for entity in two] == ["1", "2", "4"]


@pytest.mark.parametrize("join", ["inline", "flat"])
def test_what_is_picked_of_linked_entities_is_what_they_show(join: str) -> None:
    picked = {"join": join, "pick": ["id", "connectsTo{lanes}"], "format": "simplified"}

    found = told(compiled(notification=picked), LANE)

    flat = [{"id": CONNECTED["id"], "connectsTo": ["urn:ngsi-ld:Road:2", "urn:x:3"]}, {"lanes": 3}]
    inline = [{"id": CONNECTED["id"], "connectsTo": [{"lanes": 3}, "urn:x:3"]}]
    assert found == (flat if join == "flat" else inline)


def test_a_deleted_entity_brings_none_along() -> None:
    subscription = compiled(notification={"join": "flat"}, notificationTrigger=["entityDeleted"])

    (entity,) = told(subscription, LANE, change=event(CONNECTED, None))

    assert entity.keys() == {"id", "type", "deletedAt"}


def test_a_receiver_of_an_earlier_version_sees_what_that_had() -> None:
    named: dict[str, Any] = {
        "name": {"type": "LanguageProperty", "languageMap": {"en": "Main Street"}}
    }
    before, linked = road(connectsTo=CONNECTED_TO, **named), road(2, **named)
    after = changed(before, name={"type": "LanguageProperty", "languageMap": {"en": "High Street"}})
    asked = {"join": "inline", "showChanges": True}
    subscription = compiled(ngsildConformance="1.3", notification=asked)

    (entity,) = told(subscription, linked, change=event(before, after))

    assert entity["name"] == {
        "type": "Property",
        "value": {"en": "High Street"},
        "previousValue": {"en": "Main Street"},
    }
    assert entity["connectsTo"]["entity"]["name"]["type"] == "Property"


def test_a_periodic_subscription_is_not_told_of_changes() -> None:
    assert not matched(compiled(timeInterval=5), UPDATE)
