"""What notifications look like (clauses 5.3.1, 5.8.6)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from broker.core import fragments
from broker.core.entity import expand_entity
from broker.core.events import EntityChanged
from broker.core.identifiers import ExpandedEntity, Iri
from broker.core.ld_context import CORE, CORE_URL, build
from broker.core.notification import entity_data, envelope, merge
from tests.support.subscriptions import CHANGED, CREATED, changed, compiled, event, road

NULL = "urn:ngsi-ld:null"
PARIS = {"type": "Point", "coordinates": [2.3, 48.9]}
NICE = {"type": "Point", "coordinates": [7.3, 43.7]}
NAMES = [
    {"type": "Property", "value": "Eiffel Tower"},
    {"type": "Property", "value": "Tour Eiffel", "datasetId": "urn:ngsi-ld:Dataset:fr"},
    {"type": "Property", "value": "Eiffelturm", "datasetId": "urn:ngsi-ld:Dataset:de"},
]


def data(change: EntityChanged, notification: dict[str, Any] | None = None, **members: Any) -> Any:
    """Return the data of the notification that a subscription makes of a change."""
    form = compiled(notification=notification, **members).form
    rendered = entity_data(change, form, list(change.attributes()))
    return None if rendered is None else msgspec.json.decode(rendered)


def entity(
    change: EntityChanged, /, notification: dict[str, Any] | None = None, **members: Any
) -> Any:
    (found,) = data(change, notification, **members)
    return found


def without(before: ExpandedEntity, attribute: str, **which: Any) -> EntityChanged:
    """Return the deletion of an attribute or of some of its instances."""
    chosen = {"dataset_id": None, "delete_all": False, **which}
    after = fragments.delete_attribute(before, CORE.expand(attribute), CHANGED, **chosen)
    return event(before, after)


def test_the_envelope_names_the_subscription_and_the_moment() -> None:
    made, body = envelope(Iri("urn:ngsi-ld:Subscription:1"), CHANGED, b"[]")

    assert msgspec.json.decode(body) == {
        "id": made,
        "type": "Notification",
        "subscriptionId": "urn:ngsi-ld:Subscription:1",
        "notifiedAt": CHANGED,
        "data": [],
    }
    assert made.startswith("urn:ngsi-ld:Notification:")


@pytest.mark.parametrize(
    ("form", "speed"),
    [
        ("normalized", {"type": "Property", "value": 80, "unitCode": "KMH"}),
        ("concise", {"value": 80, "unitCode": "KMH"}),
        ("simplified", 80),
        ("keyValues", 80),
    ],
)
def test_the_entity_is_shown_whole_in_the_format_asked_for(form: str, speed: Any) -> None:
    before = road(speed={"type": "Property", "value": 50}, lanes={"type": "Property", "value": 2})
    after = changed(before, speed={"type": "Property", "value": 80, "unitCode": "KMH"})

    shown = entity(event(before, after), {"format": form})

    assert shown["id"] == "urn:ngsi-ld:Road:1"
    assert shown["type"] == "Road"
    assert shown["speed"] == speed
    assert "lanes" in shown


def test_system_attributes_are_shown_when_asked_for() -> None:
    before = road(speed={"type": "Property", "value": 50})
    change = event(before, changed(before, speed={"type": "Property", "value": 80}))

    shown = entity(change, {"sysAttrs": True})

    assert shown["createdAt"] == shown["speed"]["createdAt"] == CREATED
    assert shown["modifiedAt"] == shown["speed"]["modifiedAt"] == CHANGED
    assert "createdAt" not in entity(change)


@pytest.mark.parametrize(
    ("projection", "members"),
    [
        ({"attributes": ["speed"]}, {"id", "type", "speed"}),
        ({"pick": ["id", "lanes"]}, {"id", "lanes"}),
        ({"omit": ["type", "speed"]}, {"id", "lanes"}),
        ({"pick": ["id", "speed"], "omit": ["lanes"]}, {"id", "speed"}),
    ],
)
def test_the_projection_chooses_members(projection: dict[str, Any], members: set[str]) -> None:
    made = road(speed={"type": "Property", "value": 50}, lanes={"type": "Property", "value": 2})

    assert entity(event(None, made), projection).keys() == members


def test_a_dataset_chooses_instances() -> None:
    made = road(name=NAMES)

    shown = entity(event(None, made), datasetId=["urn:ngsi-ld:Dataset:fr"])

    assert shown["name"] == NAMES[1]


def test_a_language_is_chosen() -> None:
    made = road(street={"type": "LanguageProperty", "languageMap": {"fr": "Place", "nl": "Markt"}})

    shown = entity(event(None, made), lang="nl")

    assert shown["street"] == {"type": "Property", "value": "Markt", "lang": "nl"}


def test_json_ld_has_the_context_in_each_entity() -> None:
    context = build({"speed": "https://city.example/speed"})
    made = fragments.create(
        expand_entity({"id": "urn:ngsi-ld:Road:1", "type": "Road", "speed": 5}, context), CREATED
    )
    form = compiled(
        context,
        notification={
            "endpoint": {"uri": "http://receiver.example/", "accept": "application/ld+json"}
        },
    ).form

    rendered = entity_data(event(None, made), form, [])

    assert rendered is not None
    (shown,) = msgspec.json.decode(rendered)
    assert shown["@context"] == {"speed": "https://city.example/speed"}
    assert shown["speed"] == {"type": "Property", "value": 5}


@pytest.mark.parametrize("prefer", [None, "body=json"])
def test_geo_json_is_a_feature_collection(prefer: str | None) -> None:
    info = [] if prefer is None else [{"key": "Prefer", "value": prefer}]
    endpoint = {
        "uri": "http://receiver.example/",
        "accept": "application/geo+json",
        "receiverInfo": info,
    }
    made = road(location=PARIS, lanes={"type": "Property", "value": 2})

    shown = data(event(None, made), {"endpoint": endpoint})

    (feature,) = shown["features"]
    assert shown["type"] == "FeatureCollection"
    assert shown.get("@context") == (CORE_URL if prefer is None else None)
    assert feature["id"] == "urn:ngsi-ld:Road:1"
    assert feature["geometry"] == PARIS
    assert feature["properties"]["lanes"] == {"type": "Property", "value": 2}


@pytest.mark.parametrize(
    ("attribute", "null"),
    [
        ({"type": "Property", "value": "A1"}, {"type": "Property", "value": NULL}),
        (
            {"type": "Relationship", "object": "urn:ngsi-ld:City:1"},
            {"type": "Relationship", "object": NULL},
        ),
        ({"type": "GeoProperty", "value": PARIS}, {"type": "GeoProperty", "value": NULL}),
        (
            {"type": "LanguageProperty", "languageMap": {"fr": "Place"}},
            {"type": "LanguageProperty", "languageMap": {"@none": NULL}},
        ),
        ({"type": "VocabProperty", "vocab": "wet"}, {"type": "VocabProperty", "vocab": NULL}),
        ({"type": "JsonProperty", "json": {"a": 1}}, {"type": "JsonProperty", "json": NULL}),
        (
            {"type": "ListProperty", "valueList": [1, 2]},
            {"type": "ListProperty", "valueList": NULL},
        ),
        (
            {"type": "ListRelationship", "objectList": ["urn:ngsi-ld:City:1"]},
            {"type": "ListRelationship", "objectList": NULL},
        ),
    ],
    ids=lambda value: value["type"],
)
def test_a_deleted_attribute_is_a_null_beside_what_is_left(
    attribute: dict[str, Any], null: dict[str, Any]
) -> None:
    before = road(gone=attribute, lanes={"type": "Property", "value": 2})

    shown = entity(without(before, "gone"))

    assert shown["gone"] == null
    assert shown["lanes"] == {"type": "Property", "value": 2}


@pytest.mark.parametrize("form", ["simplified", "concise"])
def test_a_deleted_attribute_is_only_the_null_in_short_formats(form: str) -> None:
    before = road(gone={"type": "Property", "value": 1}, lanes={"type": "Property", "value": 2})

    shown = entity(without(before, "gone"), {"format": form})

    assert shown == {"id": "urn:ngsi-ld:Road:1", "type": "Road", "gone": NULL, "lanes": 2}


def test_a_deleted_instance_is_named_by_its_dataset() -> None:
    change = without(road(name=NAMES), "name", dataset_id="urn:ngsi-ld:Dataset:fr")

    shown = entity(change)["name"]

    assert sorted(shown, key=lambda one: one.get("datasetId", "")) == [
        NAMES[0],
        NAMES[2],
        {"type": "Property", "value": NULL, "datasetId": "urn:ngsi-ld:Dataset:fr"},
    ]


def test_a_deleted_instance_is_named_by_its_dataset_in_simplified_format() -> None:
    change = without(road(name=NAMES), "name", dataset_id="urn:ngsi-ld:Dataset:fr")

    shown = entity(change, {"format": "simplified"})["name"]

    assert shown == {
        "dataset": {
            "@none": "Eiffel Tower",
            "urn:ngsi-ld:Dataset:de": "Eiffelturm",
            "urn:ngsi-ld:Dataset:fr": NULL,
        }
    }


def test_one_instance_left_beside_a_deleted_one_keeps_its_dataset() -> None:
    change = without(road(name=NAMES[1:]), "name", dataset_id="urn:ngsi-ld:Dataset:fr")

    assert entity(change, {"format": "simplified"})["name"] == {
        "dataset": {"urn:ngsi-ld:Dataset:de": "Eiffelturm", "urn:ngsi-ld:Dataset:fr": NULL}
    }
    assert entity(change)["name"] == [
        NAMES[2],
        {"type": "Property", "value": NULL, "datasetId": "urn:ngsi-ld:Dataset:fr"},
    ]


@pytest.mark.parametrize(
    ("form", "null"),
    [("normalized", {"type": "Property", "value": NULL}), ("simplified", NULL)],
)
def test_all_instances_deleted_at_once_are_one_null(form: str, null: Any) -> None:
    change = without(road(name=NAMES), "name", delete_all=True)

    assert entity(change, {"format": form})["name"] == null


def test_a_deletion_that_the_projection_or_the_dataset_hides_is_not_shown() -> None:
    before = road(name=NAMES, lanes={"type": "Property", "value": 2})

    assert "lanes" not in entity(without(before, "lanes"), {"pick": ["id", "name"]})
    assert "lanes" not in entity(without(before, "lanes"), datasetId=["urn:ngsi-ld:Dataset:fr"])


def test_a_deletion_alone_is_shown_when_nothing_else_is_left() -> None:
    before = road(lanes={"type": "Property", "value": 2})

    assert entity(without(before, "lanes"), {"pick": ["lanes"]}) == {
        "lanes": {"type": "Property", "value": NULL}
    }


def test_system_attributes_of_a_deleted_attribute_have_its_end() -> None:
    before = road(lanes={"type": "Property", "value": 2})

    assert entity(without(before, "lanes"), {"sysAttrs": True})["lanes"] == {
        "type": "Property",
        "value": NULL,
        "createdAt": CREATED,
        "modifiedAt": CREATED,
        "deletedAt": CHANGED,
    }


def test_a_deleted_entity_is_its_id_its_type_and_its_end() -> None:
    made = road(speed={"type": "Property", "value": 50}, scope="/north")

    shown = entity(event(made, None), notificationTrigger=["entityDeleted"])

    assert shown == {"id": made["id"], "type": "Road", "deletedAt": CHANGED}


def test_a_deleted_entity_with_system_attributes_has_its_times_too() -> None:
    made = road(speed={"type": "Property", "value": 50})

    shown = entity(event(made, None), {"sysAttrs": True}, notificationTrigger=["entityDeleted"])

    assert shown == {
        "id": made["id"],
        "type": "Road",
        "createdAt": CREATED,
        "modifiedAt": CREATED,
        "deletedAt": CHANGED,
    }


def test_a_deleted_entity_shows_the_watched_attributes_as_null() -> None:
    made = road(speed={"type": "Property", "value": 50}, lanes={"type": "Property", "value": 2})

    shown = entity(
        event(made, None), watchedAttributes=["speed"], notificationTrigger=["attributeDeleted"]
    )

    assert shown == {
        "id": made["id"],
        "type": "Road",
        "deletedAt": CHANGED,
        "speed": {"type": "Property", "value": NULL},
    }


def test_a_deleted_entity_with_changes_shows_what_it_was() -> None:
    made = road(
        name={"type": "Property", "value": "A1"},
        street={"type": "LanguageProperty", "languageMap": {"fr": "Place"}},
        city={"type": "Relationship", "object": "urn:ngsi-ld:City:1"},
        state={"type": "VocabProperty", "vocab": "wet"},
    )

    shown = entity(event(made, None), {"showChanges": True}, notificationTrigger=["entityDeleted"])

    assert shown == {
        "id": made["id"],
        "type": "Road",
        "deletedAt": CHANGED,
        "name": {"type": "Property", "value": NULL, "previousValue": "A1"},
        "street": {
            "type": "LanguageProperty",
            "languageMap": {"@none": NULL},
            "previousLanguageMap": {"fr": "Place"},
        },
        "city": {
            "type": "Relationship",
            "object": NULL,
            "previousObject": "urn:ngsi-ld:City:1",
        },
        "state": {"type": "VocabProperty", "vocab": NULL, "previousVocab": "wet"},
    }


def test_a_deleted_entity_in_geo_json_has_no_geometry() -> None:
    endpoint = {"uri": "http://receiver.example/", "accept": "application/geo+json"}
    made = road(location=PARIS)

    shown = data(event(made, None), {"endpoint": endpoint}, notificationTrigger=["entityDeleted"])

    (feature,) = shown["features"]
    assert feature["geometry"] is None
    assert feature["properties"] == {"type": "Road", "deletedAt": CHANGED}


@pytest.mark.parametrize(
    ("before", "after", "previous"),
    [
        (
            {"type": "Property", "value": "A1"},
            {"type": "Property", "value": "A2"},
            {"previousValue": "A1"},
        ),
        (
            {"type": "GeoProperty", "value": PARIS},
            {"type": "GeoProperty", "value": NICE},
            {"previousValue": PARIS},
        ),
        (
            {"type": "Relationship", "object": "urn:ngsi-ld:City:1"},
            {"type": "Relationship", "object": "urn:ngsi-ld:City:2"},
            {"previousObject": "urn:ngsi-ld:City:1"},
        ),
        (
            {"type": "LanguageProperty", "languageMap": {"fr": "Place"}},
            {"type": "LanguageProperty", "languageMap": {"es": "Plaza"}},
            {"previousLanguageMap": {"fr": "Place"}},
        ),
        (
            {"type": "JsonProperty", "json": {"a": None}},
            {"type": "JsonProperty", "json": {"a": 1}},
            {"previousJson": {"a": None}},
        ),
        (
            {"type": "VocabProperty", "vocab": "wet"},
            {"type": "VocabProperty", "vocab": "dry"},
            {"previousVocab": "wet"},
        ),
        (
            {"type": "ListProperty", "valueList": [1, 2]},
            {"type": "ListProperty", "valueList": [3]},
            {"previousValueList": [1, 2]},
        ),
        (
            {"type": "Property", "value": 3},
            {"type": "Relationship", "object": "urn:ngsi-ld:City:2"},
            {"previousValue": 3},
        ),
    ],
    ids=["property", "geo", "relationship", "language", "json", "vocab", "list", "kind"],
)
def test_changes_show_the_previous_value(
    before: dict[str, Any], after: dict[str, Any], previous: dict[str, Any]
) -> None:
    was = road(one=before, other={"type": "Property", "value": 1})

    shown = entity(event(was, changed(was, one=after)), {"showChanges": True})

    assert shown["one"] == after | previous
    assert shown["other"] == {"type": "Property", "value": 1}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("A2", {"value": "A2", "previousValue": "A1"}),
        ({"a": 1}, {"value": {"a": 1}, "previousValue": "A1"}),
    ],
    ids=["scalar", "object"],
)
def test_changes_in_concise_format_keep_the_value_apart(value: Any, shown: Any) -> None:
    was = road(name={"type": "Property", "value": "A1"})
    change = event(was, changed(was, name={"type": "Property", "value": value}))

    assert entity(change, {"showChanges": True, "format": "concise"})["name"] == shown


def test_changes_of_one_instance_stand_with_that_instance() -> None:
    was = road(name=NAMES)
    new = {"type": "Property", "value": "La Tour", "datasetId": "urn:ngsi-ld:Dataset:fr"}

    shown = entity(event(was, changed(was, name=new)), {"showChanges": True})["name"]

    by_dataset = {one.get("datasetId"): one for one in shown}
    assert by_dataset["urn:ngsi-ld:Dataset:fr"] == new | {"previousValue": "Tour Eiffel"}
    assert by_dataset[None] == NAMES[0]


FR = "urn:ngsi-ld:Dataset:fr"
DE = "urn:ngsi-ld:Dataset:de"


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [
        ([DE], NAMES[2]),
        (["@none", DE], [NAMES[0], NAMES[2]]),
        ([FR], NAMES[1] | {"value": "La Tour", "previousValue": "Tour Eiffel"}),
    ],
)
def test_changes_of_an_instance_that_the_dataset_hides_are_not_shown(
    wanted: list[str], shown: Any
) -> None:
    was = road(name=NAMES)
    new = {"type": "Property", "value": "La Tour", "datasetId": FR}

    change = event(was, changed(was, name=new))

    assert entity(change, {"showChanges": True}, datasetId=wanted)["name"] == shown


@pytest.mark.parametrize(
    ("form", "wanted", "shown"),
    [
        ("simplified", [FR], NULL),
        ("simplified", ["@none", FR], {"dataset": {"@none": "Eiffel Tower", FR: NULL}}),
        ("concise", [FR], {"value": NULL, "datasetId": FR}),
        ("concise", [FR, "@none"], [{"value": "Eiffel Tower"}, {"value": NULL, "datasetId": FR}]),
        ("normalized", [FR], {"type": "Property", "value": NULL, "datasetId": FR}),
    ],
)
def test_of_what_is_left_beside_a_deleted_instance_only_the_datasets_asked_for_are_shown(
    form: str, wanted: list[str], shown: Any
) -> None:
    change = without(road(name=NAMES), "name", dataset_id=FR)

    assert entity(change, {"format": form}, datasetId=wanted)["name"] == shown


def test_the_default_instance_that_was_deleted_beside_others_is_an_instance() -> None:
    change = without(road(name=NAMES[:2]), "name")

    assert entity(change, {"format": "concise"})["name"] == [
        {"value": "Tour Eiffel", "datasetId": FR},
        {"value": NULL},
    ]


def test_an_array_that_stands_bare_is_one_value_also_where_changes_are_shown() -> None:
    was = road(one={"type": "Property", "value": [1, 2]})
    after = changed(was, one={"type": "Property", "value": [3, 4]})

    shown = entity(event(was, after), {"showChanges": True, "format": "concise"})

    assert shown["one"] == {"value": [3, 4], "previousValue": [1, 2]}


@pytest.mark.parametrize("value", [[1, 2], {"a": 1}, PARIS])
def test_what_stood_bare_is_the_previous_value_in_concise_format(value: Any) -> None:
    was = road(one={"type": "Property", "value": value})

    shown = entity(without(was, "one"), {"showChanges": True, "format": "concise"})

    assert shown["one"] == {"value": NULL, "previousValue": value}


def test_previous_targets_are_written_as_the_present_ones() -> None:
    was = road(to={"type": "ListRelationship", "objectList": ["urn:ngsi-ld:City:1"]})
    after = changed(was, to={"type": "ListRelationship", "objectList": ["urn:ngsi-ld:City:2"]})

    normalized, concise = (
        entity(event(was, after), {"showChanges": True, "format": form})["to"]
        for form in ("normalized", "concise")
    )

    assert normalized["previousObjectList"] == [{"object": "urn:ngsi-ld:City:1"}]
    assert concise == {
        "objectList": ["urn:ngsi-ld:City:2"],
        "previousObjectList": ["urn:ngsi-ld:City:1"],
    }


def test_an_array_that_stands_bare_is_one_value_also_beside_a_deleted_instance() -> None:
    was = road(
        one=[
            {"type": "Property", "value": [1, 2]},
            {"type": "Property", "value": 5, "datasetId": FR},
        ]
    )

    shown = entity(without(was, "one", dataset_id=FR), {"format": "concise"})

    assert shown["one"] == [{"value": [1, 2]}, {"value": NULL, "datasetId": FR}]


def test_a_feature_of_which_only_a_deletion_is_left_has_a_geometry_member() -> None:
    endpoint = {"uri": "http://receiver.example/", "accept": "application/geo+json"}
    change = without(road(lanes={"type": "Property", "value": 2}), "lanes")

    shown = data(change, {"endpoint": endpoint, "pick": ["lanes"]})

    assert shown["features"] == [
        {
            "type": "Feature",
            "geometry": None,
            "properties": {"lanes": {"type": "Property", "value": NULL}},
        }
    ]


def test_there_is_nothing_previous_on_creation() -> None:
    made = road(speed={"type": "Property", "value": 50})
    more = changed(made, lanes={"type": "Property", "value": 2})

    assert "previousValue" not in entity(event(None, made), {"showChanges": True})["speed"]
    assert entity(event(made, more), {"showChanges": True})["lanes"] == {
        "type": "Property",
        "value": 2,
    }


def test_a_deleted_attribute_with_changes_shows_what_it_was() -> None:
    before = road(lanes={"type": "Property", "value": 2})

    assert entity(without(before, "lanes"), {"showChanges": True})["lanes"] == {
        "type": "Property",
        "value": NULL,
        "previousValue": 2,
    }


def test_merged_notifications_hold_the_entities_of_all() -> None:
    subscription_id = Iri("urn:ngsi-ld:Subscription:1")
    bodies = [envelope(subscription_id, f"at {n}", b'[{"id":"urn:x:%d"}]' % n)[1] for n in (1, 2)]

    merged = msgspec.json.decode(merge(Iri("urn:ngsi-ld:Notification:m"), bodies))

    assert merged == {
        "id": "urn:ngsi-ld:Notification:m",
        "type": "Notification",
        "subscriptionId": subscription_id,
        "notifiedAt": "at 2",
        "data": [{"id": "urn:x:1"}, {"id": "urn:x:2"}],
    }


def test_merged_geo_json_notifications_hold_the_features_of_all() -> None:
    one = b'{"type":"FeatureCollection","features":[%d],"@context":"c"}'
    bodies = [envelope(Iri("urn:s:1"), "now", one % number)[1] for number in (1, 2)]

    merged = msgspec.json.decode(merge(Iri("urn:n:1"), bodies))

    assert merged["data"] == {"type": "FeatureCollection", "features": [1, 2], "@context": "c"}
