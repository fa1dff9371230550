"""Applying fragments to entities (clauses 5.5.8, 5.6.1–5.6.5, 5.6.18, 5.6.19, 4.22)."""

from __future__ import annotations

from typing import Any

import pytest

from broker.core import fragments
from broker.core.entity import expand_attribute, expand_entity, expand_fragment
from broker.core.errors import BadRequestData, ResourceNotFound
from broker.core.identifiers import ExpandedEntity, Fragment, Iri
from broker.core.ld_context import CORE
from broker.core.representations import Representation, render
from broker.core.vocabulary import SCOPE

ID = "urn:ngsi-ld:Building:1"
NULL = "urn:ngsi-ld:null"
BIRTH = "2026-01-01T00:00:00.000Z"
NOW = "2026-05-01T12:00:00.000Z"
LATER = "2027-01-01T00:00:00Z"
VOCAB = "https://uri.etsi.org/ngsi-ld/default-context/"
SPEED = Iri(VOCAB + "speed")
NAME = Iri(VOCAB + "name")


def stored(**members: Any) -> ExpandedEntity:
    return fragments.create(expand_entity({"id": ID, "type": "Building", **members}, CORE), BIRTH)


def sent(**members: Any) -> Fragment:
    return expand_fragment(members, CORE)


def speed_fragment(document: Any) -> Fragment:
    return expand_attribute(document, SPEED, CORE)


def shown(entity: ExpandedEntity) -> dict[str, Any]:
    """Return the attributes and the scope of an entity as they are served."""
    document = dict(render(entity, CORE, Representation()) or {})
    del document["id"], document["type"]
    return document


def times(entity: ExpandedEntity, name: Iri, key: str = "@none") -> tuple[str, str]:
    instance = entity["attributes"][name][key]
    return instance["createdAt"], instance["modifiedAt"]


# Create and replace


def test_creating_gives_times_to_the_entity_and_everything_in_it() -> None:
    entity = stored(speed={"value": 1, "source": {"value": 2}}, scope="/a", expiresAt=LATER)

    assert (entity["createdAt"], entity["modifiedAt"]) == (BIRTH, BIRTH)
    assert times(entity, SPEED) == (BIRTH, BIRTH)
    source = entity["attributes"][SPEED]["@none"]["attributes"][VOCAB + "source"]["@none"]
    assert (source["createdAt"], source["modifiedAt"]) == (BIRTH, BIRTH)
    assert entity["scope"] == ["/a"]
    assert entity["expiresAt"] == LATER


def test_replacing_drops_what_was_there_and_keeps_the_creation_times() -> None:
    entity = stored(speed={"value": 1, "unitCode": "KMH"}, name="x", scope="/a", expiresAt=LATER)
    whole = expand_entity({"id": ID, "type": "Tower", "speed": 2, "new": 3}, CORE)

    replaced = fragments.replace(entity, whole, NOW)

    assert shown(replaced) == {
        "speed": {"type": "Property", "value": 2},
        "new": {"type": "Property", "value": 3},
    }
    assert replaced["type"] == [VOCAB + "Tower"]
    assert (replaced["createdAt"], replaced["modifiedAt"]) == (BIRTH, NOW)
    assert times(replaced, SPEED) == (BIRTH, NOW)
    assert times(replaced, Iri(VOCAB + "new")) == (NOW, NOW)
    assert "expiresAt" not in replaced


# Append (5.6.3)


def test_append_replaces_an_attribute_as_a_whole_and_adds_others() -> None:
    entity = stored(speed={"value": 1, "unitCode": "KMH", "expiresAt": LATER}, name="x")

    applied = fragments.append(entity, sent(speed=2, new=3), NOW, overwrite=True)

    assert shown(applied.entity) == {
        "speed": {"type": "Property", "value": 2},
        "name": {"type": "Property", "value": "x"},
        "new": {"type": "Property", "value": 3},
    }
    assert "expiresAt" not in applied.entity["attributes"][SPEED]["@none"]
    assert times(applied.entity, SPEED) == (BIRTH, NOW)
    assert applied.updated == (SPEED, VOCAB + "new")
    assert applied.not_updated == ()


def test_append_shares_what_it_leaves_alone() -> None:
    entity = stored(speed=1, name="x")

    after = fragments.append(entity, sent(speed=2), NOW, overwrite=True).entity

    assert after["attributes"][NAME] is entity["attributes"][NAME]
    assert shown(entity)["speed"]["value"] == 1


def test_append_without_overwriting_keeps_what_is_there_and_says_so() -> None:
    entity = stored(speed=1)
    fragment = sent(speed=[{"value": 2}, {"value": 3, "datasetId": "urn:d:1"}], name="x")

    applied = fragments.append(entity, fragment, NOW, overwrite=False)

    assert [one["value"] for one in shown(applied.entity)["speed"]] == [1, 3]
    assert applied.updated == (SPEED, NAME)
    assert [name for name, _ in applied.not_updated] == [SPEED]


def test_append_that_writes_nothing_returns_the_entity_itself() -> None:
    entity = stored(speed=1, expiresAt=LATER)

    applied = fragments.append(entity, sent(speed=2, expiresAt=NOW), NOW, overwrite=False)

    assert applied.entity is entity
    assert len(applied.not_updated) == 2


@pytest.mark.parametrize(
    ("overwrite", "scopes"), [(True, ["/b"]), (False, ["/a", "/b"])], ids=["replaced", "added"]
)
def test_append_replaces_or_extends_the_scope(overwrite: bool, scopes: list[str]) -> None:  # noqa: FBT001
    applied = fragments.append(stored(scope="/a"), sent(scope="/b"), NOW, overwrite=overwrite)

    assert applied.entity["scope"] == scopes
    assert applied.not_updated == ()


def test_append_adds_types_and_an_expiry() -> None:
    applied = fragments.append(
        stored(), sent(type=["Building", "Tower"], expiresAt=LATER), NOW, overwrite=False
    )

    assert applied.entity["type"] == [VOCAB + "Building", VOCAB + "Tower"]
    assert applied.entity["expiresAt"] == LATER


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({"speed": NULL}, id="attribute"),
        pytest.param({"speed": {"value": 1, "unitCode": NULL}}, id="member"),
        pytest.param({"speed": {"value": 1, "sub": NULL}}, id="sub-attribute"),
        pytest.param({"speed": {"value": 1, "sub": {"value": 1, "unitCode": NULL}}}, id="deep"),
        pytest.param({"speed": {"value": {"a": NULL}}}, id="inside a value"),
        pytest.param({"scope": NULL}, id="scope"),
        pytest.param({"expiresAt": NULL}, id="expiresAt"),
    ],
)
def test_append_takes_no_null(members: dict[str, Any]) -> None:
    with pytest.raises(BadRequestData, match=NULL):
        fragments.append(stored(scope="/a"), sent(**members), NOW, overwrite=True)


@pytest.mark.parametrize("value", [{"type": "Property"}, {"observedAt": NOW}])
def test_append_needs_a_value(value: Any) -> None:
    with pytest.raises(BadRequestData, match="expected a type and a value"):
        fragments.append(stored(), sent(speed=value), NOW, overwrite=True)


# Update (5.6.2)


def test_update_replaces_whole_attributes() -> None:
    entity = stored(
        temperature={"value": 25, "unitCode": "CEL", "observedAt": BIRTH, "expiresAt": LATER}
    )

    applied = fragments.update(entity, sent(temperature={"value": 100, "observedAt": NOW}), NOW)

    assert shown(applied.entity) == {
        "temperature": {"type": "Property", "value": 100, "observedAt": NOW}
    }
    assert "expiresAt" not in applied.entity["attributes"][VOCAB + "temperature"]["@none"]
    assert times(applied.entity, Iri(VOCAB + "temperature")) == (BIRTH, NOW)


def test_update_adds_an_instance_for_a_new_dataset_id_and_what_was_missing() -> None:
    entity = stored(speed=25)
    fragment = sent(speed={"value": 30, "datasetId": "urn:d:1"}, name="x")

    applied = fragments.update(entity, fragment, NOW)

    assert [one["value"] for one in shown(applied.entity)["speed"]] == [25, 30]
    assert applied.entity["attributes"][SPEED]["@none"] is entity["attributes"][SPEED]["@none"]
    assert applied.updated == (SPEED, NAME)


def test_update_may_change_the_type_of_an_attribute() -> None:
    applied = fragments.update(stored(speed=1), sent(speed={"object": "urn:x:1"}), NOW)

    assert shown(applied.entity) == {"speed": {"type": "Relationship", "object": "urn:x:1"}}


@pytest.mark.parametrize(
    ("value", "left"),
    [
        pytest.param({"type": "Property", "value": NULL}, [2], id="default instance"),
        pytest.param({"value": NULL, "datasetId": "urn:d:1"}, [1], id="named instance"),
        pytest.param({"value": NULL, "datasetId": "urn:d:2"}, [1, 2], id="none such"),
    ],
)
def test_update_deletes_an_instance_given_as_null(value: Any, left: list[int]) -> None:
    entity = stored(speed=[{"value": 1}, {"value": 2, "datasetId": "urn:d:1"}])

    after = fragments.update(entity, sent(speed=value), NOW).entity

    assert [one["value"] for one in after["attributes"][SPEED].values()] == left


def test_update_deletes_an_attribute_with_its_last_instance() -> None:
    applied = fragments.update(stored(speed=1, name="x"), sent(speed=NULL), NOW)

    assert list(applied.entity["attributes"]) == [NAME]
    assert applied.updated == (SPEED,)


def test_update_writes_no_nulls_into_a_new_attribute() -> None:
    value = {"value": 1, "unitCode": NULL, "gone": NULL, "sub": {"value": 2, "unitCode": NULL}}

    applied = fragments.update(stored(), sent(speed=value), NOW)

    assert shown(applied.entity)["speed"] == {
        "type": "Property",
        "value": 1,
        "sub": {"type": "Property", "value": 2},
    }


def test_update_of_sub_attributes_all_of_which_are_null_leaves_none() -> None:
    applied = fragments.update(stored(), sent(speed={"value": 1, "gone": NULL}), NOW)

    assert "attributes" not in applied.entity["attributes"][SPEED]["@none"]


def test_update_keeps_the_creation_time_of_a_sub_attribute_of_the_same_name() -> None:
    entity = stored(speed={"value": 1, "source": 2})

    after = fragments.update(entity, sent(speed={"value": 2, "source": 3}), NOW).entity

    source = after["attributes"][SPEED]["@none"]["attributes"][VOCAB + "source"]["@none"]
    assert (source["createdAt"], source["modifiedAt"]) == (BIRTH, NOW)


def test_update_replaces_a_scope_or_leaves_it_out() -> None:
    replaced = fragments.update(stored(scope="/a"), sent(scope="/b"), NOW)
    ignored = fragments.update(stored(), sent(scope="/b"), NOW)

    assert replaced.entity["scope"] == ["/b"]
    assert "scope" not in ignored.entity
    assert [name for name, _ in ignored.not_updated] == [SCOPE]


def test_update_deletes_scope_and_expiry_given_as_null() -> None:
    entity = stored(scope="/a", expiresAt=LATER)

    after = fragments.update(entity, sent(scope=NULL, expiresAt=NULL), NOW).entity

    assert "scope" not in after
    assert "expiresAt" not in after


def test_update_with_a_null_for_a_scope_that_is_not_there_changes_nothing() -> None:
    entity = stored()

    applied = fragments.update(entity, sent(scope=NULL), NOW)

    assert applied == fragments.Applied(entity, (), ())
    assert applied.entity is entity


def test_update_unites_types() -> None:
    after = fragments.update(stored(), sent(type=["Tower", "Building"]), NOW).entity

    assert after["type"] == [VOCAB + "Building", VOCAB + "Tower"]


def test_update_takes_no_null_inside_a_value() -> None:
    with pytest.raises(BadRequestData, match=r"speed\.value\.a: .* for merging only"):
        fragments.update(stored(), sent(speed={"value": {"a": NULL}}), NOW)


# Partial update (5.6.4)


def test_partial_update_changes_the_members_it_names_and_no_others() -> None:
    entity = stored(
        speed={"value": 25, "unitCode": "CEL", "observedAt": BIRTH, "expiresAt": LATER, "sub": 1}
    )

    after = fragments.partial_update(
        entity, speed_fragment({"type": "Property", "value": 100, "observedAt": NOW}), NOW
    )

    assert shown(after)["speed"] == {
        "type": "Property",
        "value": 100,
        "unitCode": "CEL",
        "observedAt": NOW,
        "sub": {"type": "Property", "value": 1},
    }
    assert after["attributes"][SPEED]["@none"]["expiresAt"] == LATER
    assert times(after, SPEED) == (BIRTH, NOW)
    assert after["modifiedAt"] == NOW


def test_partial_update_replaces_adds_and_deletes_sub_attributes_as_wholes() -> None:
    entity = stored(speed={"value": 1, "a": {"value": 2, "unitCode": "x"}, "b": 3, "c": 4})

    after = fragments.partial_update(
        entity, speed_fragment({"a": {"value": 5}, "b": NULL, "d": {"value": 6}}), NOW
    )

    assert shown(after)["speed"] == {
        "type": "Property",
        "value": 1,
        "a": {"type": "Property", "value": 5},
        "c": {"type": "Property", "value": 4},
        "d": {"type": "Property", "value": 6},
    }


def test_partial_update_deletes_members_and_the_last_sub_attribute_given_as_null() -> None:
    entity = stored(speed={"value": 1, "unitCode": "CEL", "a": 2})

    after = fragments.partial_update(entity, speed_fragment({"unitCode": NULL, "a": NULL}), NOW)

    assert shown(after)["speed"] == {"type": "Property", "value": 1}


def test_partial_update_deletes_the_instance_whose_value_is_null() -> None:
    entity = stored(speed=[{"value": 1}, {"value": 2, "datasetId": "urn:d:1"}])

    after = fragments.partial_update(entity, speed_fragment({"value": NULL}), NOW)

    assert list(after["attributes"][SPEED]) == ["urn:d:1"]


def test_partial_update_deletes_the_attribute_with_its_last_instance() -> None:
    after = fragments.partial_update(stored(speed=1), speed_fragment({"value": NULL}), NOW)

    assert after["attributes"] == {}


@pytest.mark.parametrize(
    "document", [{"value": 1}, {"value": 1, "datasetId": "urn:d:2"}], ids=["default", "named"]
)
def test_partial_update_of_an_instance_that_is_not_there_finds_nothing(document: Any) -> None:
    entity = stored(speed={"value": 1, "datasetId": "urn:d:1"})

    with pytest.raises(ResourceNotFound):
        fragments.partial_update(entity, speed_fragment(document), NOW)


def test_partial_update_of_an_attribute_that_is_not_there_finds_nothing() -> None:
    with pytest.raises(ResourceNotFound, match="has no attribute"):
        fragments.partial_update(stored(), speed_fragment({"value": 1}), NOW)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        pytest.param({"type": "Relationship"}, "cannot become Relationship", id="5.6.4.4 type"),
        pytest.param({"object": "urn:x:1"}, "cannot become Relationship", id="5.6.4.4 inferred"),
        pytest.param({"objectType": "A"}, "objectType: has no place in a Property", id="4.5.2.2"),
        pytest.param({"value": {"a": NULL}}, "for merging only", id="5.5.4"),
    ],
)
def test_partial_update_keeps_the_type(document: Any, message: str) -> None:
    with pytest.raises(BadRequestData, match=message):
        fragments.partial_update(stored(speed=1), speed_fragment(document), NOW)


# Replace an attribute (5.6.19)


def test_replacing_an_attribute_replaces_the_instance_and_keeps_its_creation_time() -> None:
    entity = stored(
        speed=[
            {"value": 1, "unitCode": "KMH"},
            {"value": 2, "datasetId": "urn:d:1", "expiresAt": LATER},
        ]
    )

    after = fragments.replace_attribute(
        entity, speed_fragment({"object": "urn:x:1", "datasetId": "urn:d:1"}), NOW
    )

    assert after["attributes"][SPEED]["urn:d:1"] == {
        "type": "Relationship",
        "object": "urn:x:1",
        "createdAt": BIRTH,
        "modifiedAt": NOW,
    }
    assert after["attributes"][SPEED]["@none"] is entity["attributes"][SPEED]["@none"]


@pytest.mark.parametrize(
    ("document", "error"),
    [
        pytest.param({"value": 1, "datasetId": "urn:d:9"}, ResourceNotFound, id="no instance"),
        pytest.param({"value": NULL}, BadRequestData, id="null"),
        pytest.param({"value": 1, "unitCode": NULL}, BadRequestData, id="null member"),
        pytest.param({"unitCode": "KMH"}, BadRequestData, id="no value"),
        pytest.param({"value": {"a": NULL}}, BadRequestData, id="null inside"),
    ],
)
def test_replacing_an_attribute_needs_an_instance_and_a_value(
    document: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        fragments.replace_attribute(stored(speed=1), speed_fragment(document), NOW)


# Delete (5.6.5)


@pytest.mark.parametrize(
    ("dataset_id", "delete_all", "left"),
    [
        pytest.param(None, False, ["urn:d:1"], id="default"),
        pytest.param("@none", False, ["urn:d:1"], id="default by name"),
        pytest.param("urn:d:1", False, ["@none"], id="named"),
        pytest.param(None, True, [], id="all"),
    ],
)
def test_deleting_an_attribute_deletes_the_instances_asked_for(
    dataset_id: str | None,
    delete_all: bool,  # noqa: FBT001
    left: list[str],
) -> None:
    entity = stored(speed=[{"value": 1}, {"value": 2, "datasetId": "urn:d:1"}])

    after = fragments.delete_attribute(
        entity, SPEED, NOW, dataset_id=dataset_id, delete_all=delete_all
    )

    assert list(after["attributes"].get(SPEED, {})) == left
    assert after["modifiedAt"] == NOW


def test_deleting_the_scope_leaves_the_entity_without() -> None:
    after = fragments.delete_attribute(
        stored(scope="/a"), SCOPE, NOW, dataset_id=None, delete_all=False
    )

    assert "scope" not in after


@pytest.mark.parametrize(("name", "dataset_id"), [(SPEED, "urn:d:9"), (NAME, None), (SCOPE, None)])
def test_deleting_what_is_not_there_finds_nothing(name: Iri, dataset_id: str | None) -> None:
    with pytest.raises(ResourceNotFound):
        fragments.delete_attribute(
            stored(speed=1), name, NOW, dataset_id=dataset_id, delete_all=False
        )


# What expired


def test_an_entity_that_expired_is_gone() -> None:
    assert fragments.drop_expired(stored(expiresAt=NOW), NOW) is None


def test_an_entity_in_which_nothing_expired_is_the_same() -> None:
    entity = stored(expiresAt=LATER, speed={"value": 1, "expiresAt": LATER, "sub": 1})

    assert fragments.drop_expired(entity, NOW) is entity


def test_expired_instances_are_dropped_and_their_siblings_shared() -> None:
    entity = stored(
        speed=[{"value": 1}, {"value": 2, "datasetId": "urn:d:1", "expiresAt": BIRTH}],
        name={"value": "x", "expiresAt": BIRTH},
        other=5,
    )

    left = fragments.drop_expired(entity, NOW)

    assert left is not None
    assert {name: list(one) for name, one in left["attributes"].items()} == {
        SPEED: ["@none"],
        VOCAB + "other": ["@none"],
    }
    other = Iri(VOCAB + "other")
    assert left["attributes"][other] is entity["attributes"][other]


def test_expired_sub_attributes_are_dropped_and_their_attribute_stays() -> None:
    entity = stored(
        speed={"value": 1, "a": {"value": 2, "expiresAt": BIRTH}, "b": 3},
        name={"value": "x", "a": {"value": 2, "expiresAt": BIRTH}},
    )

    left = fragments.drop_expired(entity, NOW)

    assert left is not None
    assert shown(left) == {
        "speed": {"type": "Property", "value": 1, "b": {"type": "Property", "value": 3}},
        "name": {"type": "Property", "value": "x"},
    }


def test_expiry_compares_instants_not_texts() -> None:
    entity = stored(expiresAt="2026-05-01T12:00:00,5Z")

    assert fragments.drop_expired(entity, "2026-05-01T12:00:00.499Z") is entity
    assert fragments.drop_expired(entity, "2026-05-01T12:00:00.500Z") is None
