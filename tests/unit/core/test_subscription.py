"""Subscriptions as documents: what is accepted, how it is changed, how it is served."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from broker.core.errors import BadRequestData, NgsiLdError, OperationNotSupported
from broker.core.ld_context import CORE, build
from broker.core.subscription import Subscription
from broker.core.subscription_documents import parse, render, restore, stored, update

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
DEFAULT = "https://uri.etsi.org/ngsi-ld/default-context/"
CITY = build({"speed": "https://city.example/speed", "Road": "https://city.example/Road"})
ENDPOINT = {"uri": "http://receiver.example/notify"}


def document(**members: Any) -> dict[str, Any]:
    return {
        "id": "urn:ngsi-ld:Subscription:1",
        "type": "Subscription",
        "entities": [{"type": "Road"}],
        "notification": {"endpoint": ENDPOINT},
        **members,
    }


def notification(**members: Any) -> dict[str, Any]:
    return document(notification={"endpoint": ENDPOINT, **members})


def endpoint(**members: Any) -> dict[str, Any]:
    return document(notification={"endpoint": {**ENDPOINT, **members}})


def parsed(**members: Any) -> Subscription:
    return parse(document(**members), CORE, NOW)


def served(subscription: Subscription, **delivery: Any) -> dict[str, Any]:
    return render(subscription, delivery, CORE, NOW)


def test_a_subscription_without_id_gets_one() -> None:
    sent = document()
    del sent["id"]

    made = parse(sent, CORE, NOW)

    assert made.id.startswith("urn:ngsi-ld:Subscription:")


def test_names_are_expanded_and_served_in_the_readers_context() -> None:
    sent = document(
        entities=[{"type": "Road|(Lane;Closed)"}],
        watchedAttributes=["speed"],
        geoQ={"georel": "within", "geometry": "Polygon", "coordinates": [], "geoproperty": "speed"},
        notification={"endpoint": ENDPOINT, "pick": ["id", "speed"], "omit": ["type", "width"]},
    )

    made = parse(sent, CITY, NOW)

    assert made.watched_attributes == ["https://city.example/speed"]
    assert served(made)["watchedAttributes"] == ["https://city.example/speed"]
    back = render(made, {}, CITY, NOW)
    assert back["entities"] == sent["entities"]
    assert back["watchedAttributes"] == ["speed"]
    assert back["geoQ"] == sent["geoQ"]
    assert back["notification"] == sent["notification"]


def test_type_scoped_terms_are_expanded_by_the_types_selected() -> None:
    url = "https://city.example/scoped.jsonld"
    scoped = {
        "@context": {
            "Road": {
                "@id": "https://city.example/Road",
                "@context": {"state": "https://city.example/roadState"},
            },
            "state": "https://city.example/state",
        }
    }
    context = build(url, {url: scoped}, scoped={url})

    made = parse(document(watchedAttributes=["state"]), context, NOW)

    assert made.watched_attributes == ["https://city.example/roadState"]
    assert render(made, {}, context, NOW)["watchedAttributes"] == ["state"]


def test_read_only_and_unknown_members_are_ignored() -> None:
    sent = document(status="expired", createdAt="1999", hijack={"a": 1})
    sent["notification"] = {"endpoint": ENDPOINT, "timesSent": 42, "status": "failed"}

    back = served(parse(sent, CORE, NOW))

    assert back["status"] == "active"
    assert back["notification"] == {"endpoint": ENDPOINT}
    assert "hijack" not in back
    assert "createdAt" not in back


def test_what_a_subscription_does_not_say_is_served_with_its_default() -> None:
    back = served(parsed(isActive=True))

    assert back["notificationTrigger"] == ["attributeCreated", "attributeUpdated"]
    assert "isActive" not in back


def test_system_attributes_are_served_when_asked_for() -> None:
    back = render(parsed(), {}, CORE, NOW, sys_attrs=True)

    assert back["createdAt"] == back["modifiedAt"] == "2026-05-01T12:00:00.000Z"


def test_delivery_members_are_served_inside_the_notification() -> None:
    back = served(parsed(), timesSent=3, lastSuccess="2026-05-01T12:00:00.000Z")

    assert back["notification"]["timesSent"] == 3
    assert back["notification"]["lastSuccess"] == "2026-05-01T12:00:00.000Z"


@pytest.mark.parametrize(
    ("members", "at", "status"),
    [
        ({}, NOW, "active"),
        ({"isActive": False}, NOW, "paused"),
        ({"expiresAt": "2026-05-02T00:00:00Z"}, NOW, "active"),
        ({"expiresAt": "2026-05-02T00:00:00Z"}, NOW + timedelta(days=1), "expired"),
        ({"expiresAt": "2026-05-02T00:00:00Z", "isActive": False}, NOW + timedelta(1), "expired"),
    ],
    ids=["plain", "paused", "not-yet-over", "over", "paused-and-over"],
)
def test_the_status_follows_from_time_and_pause(
    members: dict[str, Any], at: datetime, status: str
) -> None:
    made = parsed(**members)

    assert render(made, {}, CORE, at)["status"] == status


def test_a_stored_subscription_comes_back_as_it_was() -> None:
    made = parsed(q="speed>80", throttling=0.5, scopeQ="/north/#")
    kept = stored(made)
    kept["notification"] |= {"timesSent": 7, "status": "ok"}

    back, delivery = restore(kept)

    assert back == made
    assert delivery == {"timesSent": 7, "status": "ok"}


@pytest.mark.parametrize(
    ("sent", "path"),
    [
        ([], "subscription"),
        (document(type="Subscriptions"), "type"),
        (document(id="road"), "id"),
        ({"type": "Subscription", "entities": [{"type": "Road"}]}, "subscription"),
        (
            {"type": "Subscription", "notification": {"endpoint": ENDPOINT}},
            "subscription: expected entities",
        ),
        (document(entities=[]), "entities"),
        (document(entities=[{}]), "entities[0]"),
        (document(entities=[{"type": "Road", "id": "x"}]), "entities[0].id"),
        (document(entities=[{"type": "Road", "idPattern": "(a"}]), "entities[0].idPattern"),
        (document(watchedAttributes=[]), "watchedAttributes"),
        (document(watchedAttributes=["a b"]), "watchedAttributes[0]"),
        (document(watchedAttributes="speed"), "watchedAttributes"),
        (document(notificationTrigger=["entityChanged"]), "notificationTrigger[0]"),
        (document(notificationTrigger=[]), "notificationTrigger"),
        (document(q=1), "q"),
        (document(temporalQ={}), "temporalQ"),
        (document(datasetId=["x"]), "datasetId[0]"),
        (document(datasetId=[]), "datasetId"),
        (document(expiresAt="2026-05-01T11:59:59Z"), "expiresAt"),
        (document(expiresAt="tomorrow"), "expiresAt"),
        (document(isActive="yes"), "isActive"),
        (document(jsonldContext="cities"), "jsonldContext"),
        (document(throttling=0), "throttling"),
        (document(throttling=-0.5), "throttling: expected a number greater than 0"),
        (document(throttling=1e300), "throttling"),
        (document(timeInterval=1e300), "timeInterval"),
        (document(entities=[{"type": "*"}], localOnly=False), "entities[0].type"),
        (document(timeInterval=5, throttling=3), "throttling"),
        (document(timeInterval=5, watchedAttributes=["speed"]), "watchedAttributes"),
        (document(timeInterval=0), "timeInterval"),
        (document(timeInterval=0.01), "timeInterval"),
        (notification(join="flat", joinLevel=11), "notification.joinLevel"),
        (notification(pick=["street{name}"]), "notification.pick[0]"),
        (notification(join="inline", pick=["a{b{c}}"]), "notification.pick[0]"),
        (notification(join="inline", omit=["id", "a{b"]), "notification.omit[1]"),
        (endpoint(uri="mqtt://broker.example"), "notification.endpoint.uri"),
        (endpoint(uri="mqtt://broker.example/a/+"), "notification.endpoint.uri"),
        (endpoint(uri="mqtt://broker.example/a#b"), "notification.endpoint.uri"),
        (endpoint(uri="mqtt://broker.example/a?b"), "notification.endpoint.uri"),
        (
            endpoint(notifierInfo=[{"key": "MQTT-QoS", "value": "3"}]),
            "notification.endpoint.notifierInfo[0].value",
        ),
        (
            endpoint(notifierInfo=[{"key": "MQTT-Version", "value": "mqtt4"}]),
            "notification.endpoint.notifierInfo[0].value",
        ),
        (document(description="urn:ngsi-ld:null"), "description"),
        (document(description=None), "description"),
        (document(ngsildConformance="newest"), "ngsildConformance"),
        (notification(attributes=[]), "notification.attributes"),
        (notification(pick=[]), "notification.pick"),
        (notification(omit=[]), "notification.omit"),
        (notification(attributes=["id"]), "notification.attributes"),
        (notification(attributes=["a"], pick=["a"]), "notification.attributes"),
        (notification(attributes=["a"], omit=["b"]), "notification.attributes"),
        (notification(pick=["id"], omit=["id"]), "notification.omit"),
        (notification(pick=["a,b"]), "notification.pick[0]"),
        (notification(format="xml"), "notification.format"),
        (notification(format="keyValues", showChanges=True), "notification.showChanges"),
        (notification(format="simplified", showChanges=True), "notification.showChanges"),
        (notification(join="deep"), "notification.join"),
        (notification(joinLevel=0), "notification.joinLevel"),
        (document(notification={}), "notification"),
        (document(notification={"endpoint": {}}), "notification.endpoint"),
        (endpoint(uri="receiver"), "notification.endpoint.uri"),
        (endpoint(uri="ftp://receiver.example/"), "notification.endpoint.uri"),
        (endpoint(uri="http:///notify"), "notification.endpoint.uri"),
        (endpoint(uri="http://receiver.example:port/"), "notification.endpoint.uri"),
        (endpoint(uri="http://receiver.example:0/"), "notification.endpoint.uri"),
        (endpoint(uri="http://me:secret@receiver.example/"), "notification.endpoint.uri"),
        (endpoint(accept="text/html"), "notification.endpoint.accept"),
        (endpoint(timeout=0), "notification.endpoint.timeout"),
        (endpoint(cooldown=-1), "notification.endpoint.cooldown"),
        (endpoint(cooldown=1e300), "notification.endpoint.cooldown"),
        (endpoint(timeout=1e300), "notification.endpoint.timeout"),
        (endpoint(receiverInfo=[{"key": "K", "value": 4}]), "notification.endpoint.receiverInfo"),
        (endpoint(receiverInfo=[{"key": "K"}]), "notification.endpoint.receiverInfo"),
        (
            endpoint(receiverInfo=[{"key": "K", "value": "a\r\nX: b"}]),
            "notification.endpoint.receiverInfo[0].value",
        ),
        (
            endpoint(receiverInfo=[{"key": "Content-Length", "value": "0"}]),
            "notification.endpoint.receiverInfo[0].key",
        ),
        (
            endpoint(receiverInfo=[{"key": "two words", "value": "a"}]),
            "notification.endpoint.receiverInfo[0].key",
        ),
    ],
)
def test_what_is_wrong_is_refused_with_its_path(sent: Any, path: str) -> None:
    with pytest.raises(BadRequestData) as caught:
        parse(sent, CORE, NOW)

    assert caught.value.detail.startswith(path)


@pytest.mark.parametrize(
    ("sent", "path"),
    [
        (endpoint(uri="ws://broker.example/topic"), "notification.endpoint.uri"),
    ],
)
def test_what_is_not_offered_is_refused_by_name(sent: Any, path: str) -> None:
    with pytest.raises(OperationNotSupported) as caught:
        parse(sent, CORE, NOW)

    assert caught.value.detail.startswith(path)


def test_a_local_subscription_needs_neither_entities_nor_attributes() -> None:
    sent = document(localOnly=True)
    del sent["entities"]

    assert parse(sent, CORE, NOW).local_only is True


def test_an_update_replaces_whole_members() -> None:
    before = parse(notification(attributes=["speed"], format="concise"), CORE, NOW)

    after = update(before, {"notification": {"endpoint": ENDPOINT}}, CORE, NOW)

    assert served(after)["notification"] == {"endpoint": ENDPOINT}
    assert served(after)["entities"] == served(before)["entities"]


def test_an_update_expands_its_names_in_its_own_context() -> None:
    before = parse(document(watchedAttributes=["speed"]), CORE, NOW)

    after = update(before, {"entities": [{"type": "Road"}]}, CITY, NOW)

    assert served(after)["entities"] == [{"type": "https://city.example/Road"}]
    assert served(after)["watchedAttributes"] == ["speed"]
    assert after.ld_context == before.ld_context


def test_a_query_given_by_an_update_is_read_in_the_updates_context() -> None:
    before = parsed(q="speed>80")

    after = update(before, {"q": "speed>90"}, CITY, NOW)

    assert after.q_context == CITY.source
    assert before.ld_context == after.ld_context == CORE.source


@pytest.mark.parametrize("null", [None, "urn:ngsi-ld:null"], ids=["json", "ngsi-ld"])
def test_a_null_in_an_update_removes_the_member(null: object) -> None:
    before = parsed(throttling=5, description="roads")

    after = update(before, {"throttling": null}, CORE, NOW)

    assert "throttling" not in served(after)
    assert served(after)["description"] == "roads"


@pytest.mark.parametrize(
    "fragment",
    [
        {"id": "urn:ngsi-ld:Subscription:2"},
        {"type": "Registration"},
        {"notification": None},
        {"entities": None},
        {"notification": {"format": "keyValues"}},
        {"notification": {"endpoint": None}},
        {"expiresAt": "2020-01-01T00:00:00Z"},
        {"expiresAt": "2020-01-01T00:00:00Z", "isActive": True},
        {"throttling": -1},
        "paused",
    ],
)
def test_an_update_to_what_is_no_subscription_is_refused(fragment: object) -> None:
    with pytest.raises(BadRequestData):
        update(parsed(), fragment, CORE, NOW)


def test_an_update_of_the_same_id_and_type_is_fine() -> None:
    before = parsed()

    after = update(before, {"id": before.id, "type": "Subscription", "lang": "el"}, CORE, NOW)

    assert after.lang == "el"


@pytest.mark.parametrize(
    ("members", "fragment", "status"),
    [
        ({"isActive": False}, {"isActive": True}, "active"),
        ({}, {"isActive": False}, "paused"),
        ({"isActive": False}, {"expiresAt": "2026-06-01T00:00:00Z"}, "paused"),
        (
            {"isActive": False, "expiresAt": "2026-05-02T00:00:00Z"},
            {"expiresAt": "2026-06-01T00:00:00Z"},
            "active",
        ),
        ({"expiresAt": "2026-05-02T00:00:00Z"}, {"isActive": True}, "expired"),
        ({"expiresAt": "2026-05-02T00:00:00Z"}, {"isActive": False}, "expired"),
        (
            {"expiresAt": "2026-05-02T00:00:00Z"},
            {"isActive": True, "expiresAt": "2026-06-01T00:00:00Z"},
            "active",
        ),
    ],
    ids=[
        "resume",
        "pause",
        "paused-stays-paused",
        "expired-begins-anew",
        "expired-is-not-resumed",
        "expired-is-not-paused",
        "resume-until",
    ],
)
def test_an_update_changes_the_status_as_clause_5_8_2_says(
    members: dict[str, Any], fragment: dict[str, Any], status: str
) -> None:
    later = NOW + timedelta(days=2)

    after = update(parsed(**members), fragment, CORE, later)

    assert render(after, {}, CORE, later)["status"] == status


def test_restoring_a_document_that_is_none_says_what_is_wrong() -> None:
    with pytest.raises(NgsiLdError, match="notification"):
        restore({"id": "urn:ngsi-ld:Subscription:1", "type": "Subscription"})


def test_names_in_braces_are_expanded_and_served_in_the_readers_context() -> None:
    sent = notification(join="inline", joinLevel=2, pick=["id", "speed{id,speed|Road}"])

    made = parse(sent, CITY, NOW)

    (_, term) = stored(made)["notification"]["pick"]
    assert (
        term
        == "https://city.example/speed{id,https://city.example/speed|https://city.example/Road}"
    )
    assert render(made, {}, CITY, NOW)["notification"]["pick"] == sent["notification"]["pick"]


@pytest.mark.parametrize(
    "members",
    [
        {"timeInterval": 5},
        {"timeInterval": 0.5, "localOnly": True},
        {"ngsildConformance": "1.3"},
        {"ngsildConformance": "2.0"},
    ],
)
def test_members_are_served_as_they_were_sent(members: dict[str, Any]) -> None:
    assert served(parsed(**members)).items() >= members.items()


@pytest.mark.parametrize(
    "uri",
    [
        "mqtt://broker.example/a",
        "mqtts://me:s%40cret@broker.example:8884/a/b%20c",
        "mqtt://[::1]/a",
    ],
)
def test_mqtt_topics_are_endpoints(uri: str) -> None:
    info = [{"key": "MQTT-QoS", "value": "2"}, {"key": "MQTT-Version", "value": "mqtt3.1.1"}]

    made = parse(endpoint(uri=uri, notifierInfo=info), CORE, NOW)

    assert served(made)["notification"]["endpoint"] == {"uri": uri, "notifierInfo": info}
