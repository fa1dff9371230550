"""Batches over HTTP: each item for itself, nothing half-written (5.6.7–5.6.10, 5.6.20)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.api import Api
from tests.support.builders import entity, prop

OPERATIONS = "/entityOperations"
WRONG = {"id": "urn:ngsi-ld:Sensor:9", "type": "Sensor", "temperature": {"type": "Property"}}


async def stored(api: Api) -> dict[str, Any]:
    """Return what is stored: the temperature by id."""
    served = await api("GET", "/entities?local=true&options=keyValues")
    return {one["id"][-1]: one.get("temperature") for one in served.body}


async def test_a_created_batch_lists_its_ids(api: Api) -> None:
    answered = await api(
        "POST",
        f"{OPERATIONS}/create",
        [entity(1, temperature=prop(1)), entity(2, temperature=prop(2))],
    )

    assert answered.status == 201
    assert answered.body == ["urn:ngsi-ld:Sensor:1", "urn:ngsi-ld:Sensor:2"]


@pytest.mark.parametrize(
    ("operation", "items", "status", "success", "errors", "left"),
    [
        (
            "create",
            [entity(1, temperature=prop(7)), WRONG, entity(2, temperature=prop(2))],
            207,
            ["2"],
            ["1", "9"],
            {"1": 1, "2": 2},
        ),
        ("upsert", [entity(1, temperature=prop(7))], 204, None, None, {"1": 7}),
        ("upsert", [entity(2, temperature=prop(2))], 201, None, None, {"1": 1, "2": 2}),
        (
            "upsert?options=update",
            [entity(1, humidity=prop(0.4)), WRONG],
            207,
            ["1"],
            ["9"],
            {"1": 1},
        ),
        ("upsert", [entity(1, humidity=prop(0.4))], 204, None, None, {"1": None}),
        (
            "update",
            [entity(1, temperature=prop(7)), entity(2, temperature=prop(2))],
            207,
            ["1"],
            ["2"],
            {"1": 7},
        ),
        ("update?options=noOverwrite", [entity(1, temperature=prop(7))], 207, [], ["1"], {"1": 1}),
        ("merge", [entity(1, temperature={"value": 7})], 204, None, None, {"1": 7}),
        (
            "delete",
            ["urn:ngsi-ld:Sensor:1", "urn:ngsi-ld:Sensor:1", "no uri"],
            207,
            ["1"],
            ["1", "i"],
            {},
        ),
    ],
)
async def test_a_batch_does_what_it_can_and_reports_the_rest(
    api: Api,
    operation: str,
    items: list[Any],
    status: int,
    success: list[str] | None,
    errors: list[str] | None,
    left: dict[str, Any],
) -> None:
    await api.create(entity(1, temperature=prop(1)))

    answered = await api("POST", f"{OPERATIONS}/{operation}", items)

    assert answered.status == status, answered.body
    if success is not None:
        assert [one[-1] for one in answered.body["success"]] == success
        assert sorted(one["entityId"][-1] for one in answered.body["errors"]) == errors
        assert all(one["error"]["detail"] for one in answered.body["errors"])
    assert await stored(api) == left


async def test_a_batch_of_simplified_fragments_is_merged_as_such(api: Api) -> None:
    await api.create(entity(1, room={"object": "urn:x:1"}, count={"vocab": "few"}))
    fragment = entity(1, room="urn:x:2", count={"vocab": "many"})

    merged = await api("POST", "/entityOperations/merge?format=simplified", [fragment])
    served = await api("GET", "/entities/urn:ngsi-ld:Sensor:1")

    assert merged.status == 204
    assert served.body["room"] == {"type": "Relationship", "object": "urn:x:2"}
    assert served.body["count"] == {"type": "VocabProperty", "vocab": "many"}


@pytest.mark.parametrize(("before", "after"), [("/old", "/new"), (None, None)])
async def test_an_update_by_upsert_treats_scopes_like_an_update_of_attributes(
    api: Api, before: str | None, after: str | None
) -> None:
    await api.create(entity(1, temperature=1) | ({"scope": before} if before else {}))
    fragment = entity(1, temperature=2, humidity=3) | {"scope": "/new"}

    upserted = await api("POST", "/entityOperations/upsert?options=update", [fragment])
    served = await api("GET", "/entities/urn:ngsi-ld:Sensor:1?options=keyValues")

    assert upserted.status == 204
    assert (served.body["temperature"], served.body["humidity"]) == (2, 3)
    assert served.body.get("scope") == after


async def test_an_entity_upserted_twice_in_a_batch_ends_as_the_last_says(api: Api) -> None:
    items = [entity(1, temperature=prop(number)) for number in (1, 2, 3)]

    answered = await api("POST", f"{OPERATIONS}/upsert", items)

    assert (answered.status, await stored(api)) == (201, {"1": 3})


@pytest.mark.parametrize(
    "body",
    [[], {}, [None], [entity(1), None], [entity(1)] * 1001],
    ids=["empty", "no array", "null", "null behind", "too many"],
)
async def test_a_batch_that_is_none_is_refused_whole(api: Api, body: Any) -> None:
    answered = await api("POST", f"{OPERATIONS}/create", body)

    assert answered.status == 400
    assert answered.body["type"].endswith("/BadRequestData")
    assert await stored(api) == {}


async def test_items_of_other_contexts_are_taken_and_refused_each_for_itself(api: Api) -> None:
    good = {**entity(1, temperature=prop(1)), "@context": {"temperature": "https://example.org/t"}}
    bad = entity(2, temperature=prop(2))

    answered = await api(
        "POST",
        f"{OPERATIONS}/create",
        [good, bad],
        headers={"Content-Type": "application/ld+json"},
    )
    served = await api("GET", "/entities/urn:ngsi-ld:Sensor:1")

    assert answered.status == 207
    assert answered.body["success"] == ["urn:ngsi-ld:Sensor:1"]
    assert served.body["https://example.org/t"] == prop(1)
