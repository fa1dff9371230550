"""Notifications of any change in any form: they can be made, and show what they are to show."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core.events import EntityChanged
from broker.core.identifiers import ExpandedEntity
from broker.core.ld_context import CORE
from broker.core.notification import entity_data
from broker.core.representations import Representation, render
from broker.core.vocabulary import VALUE_KINDS
from tests.support.subscriptions import compiled, event, road

MEMBERS = ["id", "type", "scope", "a", "b", "c"]
DATASETS = ["@none", "urn:d:1", "urn:d:2"]
NULL = "urn:ngsi-ld:null"
FORMATS = ["normalized", "concise", "simplified"]

_some = st.lists(st.sampled_from(MEMBERS), min_size=1, max_size=3, unique=True)
projections: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}), _some.map(lambda names: {"pick": names}), _some.map(lambda names: {"omit": names})
)


VALUES: list[dict[str, Any]] = [
    {"type": "Property", "value": 1},
    {"type": "Property", "value": [1, 2]},
    {"type": "Property", "value": {"a": 1}},
    {"type": "Property", "value": "x", "unitCode": "KMH"},
    {"type": "LanguageProperty", "languageMap": {"en": "yes", "fr": "oui"}},
    {"type": "Relationship", "object": "urn:ngsi-ld:2"},
    {"type": "ListRelationship", "objectList": ["urn:ngsi-ld:2"]},
    {"type": "GeoProperty", "value": {"type": "Point", "coordinates": [1, 2]}},
]


@st.composite
def entities(draw: st.DrawFn) -> ExpandedEntity:
    """Return a road whose attributes have one to three instances."""
    instances = st.dictionaries(
        st.sampled_from(DATASETS), st.sampled_from(VALUES), min_size=1, max_size=3
    )
    attributes = draw(st.dictionaries(st.sampled_from("abc"), instances, max_size=3))
    members: dict[str, Any] = {
        name: [{**value, "datasetId": dataset} for dataset, value in found.items()]
        for name, found in attributes.items()
    }
    return road(**members)


@st.composite
def changes(draw: st.DrawFn) -> EntityChanged:
    """Return a creation, an update that leaves some instances alone, or a deletion."""
    before = draw(st.none() | entities())
    after = draw(entities() if before is None else st.none() | entities())
    if before is not None and after is not None:
        attributes = dict(after["attributes"])
        for name, old in before["attributes"].items():
            kept = {key: item for key, item in old.items() if draw(st.booleans())}
            if kept:
                attributes[name] = {**attributes.get(name, {}), **kept}
        after = ExpandedEntity({**after, "attributes": attributes})
    return event(before, after)


@st.composite
def subscriptions(draw: st.DrawFn) -> dict[str, Any]:
    """Return what decides how notifications look."""
    form = draw(st.sampled_from(FORMATS))
    accept = draw(st.sampled_from(["json", "ld+json", "geo+json"]))
    endpoint = {"uri": "http://receiver.example/", "accept": f"application/{accept}"}
    notification = {"endpoint": endpoint, "format": form, **draw(projections)}
    if form != "simplified":
        notification["showChanges"] = draw(st.booleans())
    notification["sysAttrs"] = draw(st.booleans())
    datasets = st.lists(st.sampled_from(DATASETS), min_size=1, max_size=2, unique=True)
    triggers = st.sampled_from([None, ["entityDeleted"], ["attributeDeleted"]])
    members = {
        "notification": notification,
        "datasetId": draw(st.none() | datasets),
        "lang": draw(st.sampled_from([None, "fr", "*"])),
        "notificationTrigger": draw(triggers),
        "ngsildConformance": draw(st.sampled_from([None, "1.3", "1.8"])),
    }
    return {name: item for name, item in members.items() if item is not None}


@settings(max_examples=300)
@given(change=changes(), members=subscriptions())
def test_every_change_can_be_told_in_every_form(
    change: EntityChanged, members: dict[str, Any]
) -> None:
    form = compiled(**members).form

    data = entity_data(change, form, list(change.attributes()))

    if data is None:
        assert "pick" in members["notification"] or "omit" in members["notification"]
        return
    told = msgspec.json.decode(data)
    documents = told["features"] if isinstance(told, dict) else told
    assert len(documents) == 1
    assert documents[0]
    assert None not in [item for key, item in documents[0].items() if key != "geometry"]
    assert form.show_changes or b'"previous' not in data


@settings(max_examples=300)
@given(change=changes(), form=st.sampled_from(FORMATS), wanted=st.none() | st.just(DATASETS[1:]))
def test_what_is_left_is_shown_as_a_query_shows_it(
    change: EntityChanged, form: Any, wanted: list[str] | None
) -> None:
    """Nulls and previous values stand beside it, and change nothing of it."""
    if change.after is None:
        return
    datasets = {} if wanted is None else {"datasetId": wanted}
    made = compiled(notification={"format": form, "showChanges": form != "simplified"}, **datasets)
    representation = Representation(form, dataset_ids=None if wanted is None else frozenset(wanted))
    expected: dict[str, Any] = dict(render(change.after, CORE, representation) or {})

    data = entity_data(change, made.form, list(change.attributes()))

    assert data is not None
    [told] = msgspec.json.decode(data)
    assert expected.keys() <= told.keys()
    for name, item in told.items():
        assert instances_of(item, form) == instances_of(expected.get(name, NULL), form)


def instances_of(shown: Any, form: str) -> list[bytes]:
    """Return the instances of an attribute without previous values, and without those deleted."""
    if form == "simplified":
        is_several = isinstance(shown, dict) and shown.keys() == {"dataset"}
        found = list(shown["dataset"].values()) if is_several else [shown]
    else:
        is_several = isinstance(shown, list) and all(isinstance(one, dict) for one in shown)
        found = [as_instance(one) for one in (shown if is_several else [shown])]
    left = [one for one in found if NULL not in msgspec.json.encode(one).decode()]
    return sorted(msgspec.json.encode(one, order="sorted") for one in left)


def as_instance(shown: Any) -> Any:
    if not isinstance(shown, dict) or VALUE_KINDS.keys().isdisjoint(shown):
        return {"value": shown}
    return {key: item for key, item in shown.items() if not key.startswith("previous")}
