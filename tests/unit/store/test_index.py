"""The attribute index: what is written, and what a write costs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.identifiers import ExpandedEntity
from broker.store.sqlite import index
from broker.store.sqlite.index_rows import MAX_ELEMENTS, attribute_rows, decode_shape, encode_shape
from tests.support.indexed import FIRST_TENANT, Indexed
from tests.support.queries import entity, expand
from tests.support.strategies import entities


def _with(before: ExpandedEntity, name: str, **parts: Any) -> ExpandedEntity:
    changed = entity("1", {name: parts})["attributes"]
    return ExpandedEntity({**before, "attributes": {**before["attributes"], **changed}})


def _statements(store: Indexed, before: ExpandedEntity, after: ExpandedEntity | None) -> list[str]:
    found: list[str] = []
    store.connection.set_trace_callback(found.append)
    index.write(store.cursor, store.terms, FIRST_TENANT, 1, before, after)
    store.connection.set_trace_callback(None)
    return found


@given(st.lists(st.none() | entities("1"), min_size=1, max_size=6))
def test_the_index_after_any_changes_is_that_of_the_last_state(
    states: list[ExpandedEntity | None],
) -> None:
    changed = Indexed()
    for state in states:
        changed.write(1, state)
    last = states[-1]

    assert changed.rows() == Indexed([] if last is None else [last]).rows()


@given(entities("1"), entities("1"), st.sets(st.sampled_from("abcd")))
def test_attributes_that_are_the_same_object_are_left_as_they_are(
    before: ExpandedEntity, other: ExpandedEntity, kept: set[str]
) -> None:
    names = {expand(name) for name in kept}
    attributes = {
        **{name: one for name, one in other["attributes"].items() if name not in names},
        **{name: one for name, one in before["attributes"].items() if name in names},
    }
    after = ExpandedEntity({**other, "attributes": attributes})
    store = Indexed([before])

    store.write(1, after)

    assert store.rows() == Indexed([after]).rows()


@pytest.mark.parametrize(
    ("parts", "statements"),
    [({"value": 2}, 1), ({"value": "text"}, 1), ({"value": 1, "unitCode": "CEL"}, 1)],
    ids=["number", "text", "unit"],
)
def test_a_measure_costs_one_statement(parts: dict[str, Any], statements: int) -> None:
    before = entity("1", {"a": {"value": 1}, "b": {"value": 1}})
    store = Indexed([before])

    found = _statements(store, before, _with(before, "a", **parts))

    assert len(found) == statements
    assert found[0].startswith("UPDATE value SET")


def test_a_place_costs_two_statements_more_at_most() -> None:
    before = entity("1", {"a": {"geometry": {"type": "Point", "coordinates": [1.0, 2.0]}}})
    store = Indexed([before])
    moved = _with(before, "a", geometry={"type": "Point", "coordinates": [1.5, 2.0]})
    moved["attributes"]["ex:a"]["@none"]["modifiedAt"] = "2026-05-03T00:00:00.000Z"

    found = [one for one in _statements(store, before, moved) if not one.startswith("--")]

    assert [one.split()[0:2] for one in found] == [["UPDATE", "place"], ["UPDATE", "value"]]


def test_the_places_of_an_entity_have_ids_of_their_own() -> None:
    point = {"geometry": {"type": "Point", "coordinates": [1.0, 2.0]}}
    several = [{**point, "datasetId": f"urn:d:{n}"} for n in range(20)]
    store = Indexed([entity("1", dict.fromkeys("abcdefgh", several)), entity("2", {"a": point})])

    counts = store.connection.execute(
        "SELECT id / 65536 AS seq, count(*) FROM place GROUP BY seq ORDER BY seq"
    ).fetchall()

    assert counts == [(1, 160), (2, 1)]


def test_an_entity_that_stays_the_same_costs_nothing() -> None:
    before = entity("1", {"a": {"value": 1}}, scope=["/A"])
    store = Indexed([before])

    assert _statements(store, before, ExpandedEntity({**before})) == []


@pytest.mark.parametrize(
    "parts",
    [
        {"value": list(range(10_000))},
        {"value": {str(n): n for n in range(10_000)}},
        {"value": {"a": {"b": {"c": {"d": {"e": {"f": 1}}}}}}},
        {"languageMap": {f"l{n}": f"text {n}" for n in range(10_000)}},
        {"json": {"a": [list(range(10_000))] * 3, "b": list(range(10_000))}},
        {"value": "x" * 1_000_000},
    ],
    ids=["array", "object", "depth", "languages", "json", "text"],
)
def test_the_rows_of_one_value_are_bounded(parts: dict[str, Any]) -> None:
    rows = attribute_rows(entity("1", {"a": parts})["attributes"]["ex:a"])

    assert len(rows) <= MAX_ELEMENTS + 2
    assert all(len(str(row.value)) < 1000 for row in rows.values())


@pytest.mark.parametrize(
    "geometry",
    [
        {"type": "Point", "coordinates": [1.5, 2.5]},
        {"type": "LineString", "coordinates": [[0.0, 0.0], [1.0, 1.0]]},
    ],
    ids=["point", "line"],
)
def test_a_shape_decodes_to_its_geometry(geometry: dict[str, Any]) -> None:
    decoded = decode_shape(encode_shape(geometry))

    assert decoded["type"] == geometry["type"]
    assert list(decoded["coordinates"]) == geometry["coordinates"]


def test_terms_are_shown_to_readers_once_they_are_committed() -> None:
    store = Indexed()
    terms = store.terms

    number = terms.intern(store.cursor, "ex:a")
    type_set = terms.type_set(store.cursor, ["ex:T", "ex:U"])
    assert terms.find("ex:a") is None
    terms.committed()

    assert terms.find("ex:a") == number
    assert terms.types_of(type_set) == {"ex:T", "ex:U"}
    assert terms.type_set(store.cursor, ["ex:U", "ex:T"]) == type_set


def test_terms_of_a_transaction_that_failed_are_forgotten() -> None:
    store = Indexed()
    store.cursor.execute("BEGIN")
    lost = store.terms.intern(store.cursor, "ex:lost")
    store.connection.rollback()
    store.terms.rolled_back()

    other = store.terms.intern(store.cursor, "ex:other")
    store.terms.committed()

    assert lost == other
    assert store.terms.find("ex:lost") is None


def test_terms_are_read_again_at_start() -> None:
    store = Indexed([entity("1", {"a": {"value": 1}}, ["T", "U"])])
    terms = index.Terms()

    terms.load(store.connection)

    assert terms.find("ex:a") == store.terms.find("ex:a")
    assert terms.type_set(store.cursor, ["ex:U", "ex:T"]) == store.terms.type_set(
        store.cursor, ["ex:T", "ex:U"]
    )
