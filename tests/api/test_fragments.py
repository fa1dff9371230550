"""Fragments at any depth, with deletions and expiry (clauses 4.22, 5.5.8, 5.5.12, 5.6.4–5.6.19)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.api import Api
from tests.support.builders import entity, prop

ID = "urn:ngsi-ld:Sensor:1"
NULL = "urn:ngsi-ld:null"
PAST = "2020-01-01T00:00:00Z"
FUTURE = "2099-01-01T00:00:00Z"
PRESENT = {"value": 5, "unitCode": "CEL", "source": {"value": 1, "trust": {"value": 2}}}


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        ({"source": NULL}, {"value": 5, "unitCode": "CEL"}),
        ({"source": {"trust": NULL}}, {"value": 5, "unitCode": "CEL", "source": 1}),
        (
            {"type": "Property", "source": {"trust": NULL}},
            {"value": 5, "unitCode": "CEL", "source": 1},
        ),
        ({"source": {"trust": {"value": NULL}}}, {"value": 5, "unitCode": "CEL", "source": 1}),
        (
            {"source": {"trust": 7}},
            {"value": 5, "unitCode": "CEL", "source": {"value": 1, "trust": 7}},
        ),
        (
            {"by": {"type": "Relationship", "object": "urn:x:1"}},
            {**PRESENT, "source": {"value": 1, "trust": 2}, "by": {"object": "urn:x:1"}},
        ),
        ({"new": 7}, {**PRESENT, "value": {"new": 7}, "source": {"value": 1, "trust": 2}}),
        ({"unitCode": NULL}, {"value": 5, "source": {"value": 1, "trust": 2}}),
    ],
    ids=[
        "a sub-attribute deleted",
        "one below it deleted",
        "the same in a typed fragment",
        "the same by its value",
        "one below it changed",
        "a sub-attribute added with its type",
        "another object is a value",
        "a member deleted",
    ],
)
async def test_a_merge_reaches_sub_attributes_without_their_values(
    api: Api, patch: Any, expected: Any
) -> None:
    await api.create(entity(level=PRESENT))

    merged = await api("PATCH", f"/entities/{ID}", {"level": patch})
    served = await api("GET", f"/entities/{ID}?options=concise")

    assert merged.status == 204
    assert served.body["level"] == expected


async def test_a_simplified_merge_takes_an_object_for_a_value(api: Api) -> None:
    await api.create(entity(level=PRESENT))

    await api("PATCH", f"/entities/{ID}?format=simplified", {"level": {"source": 7}})
    served = await api("GET", f"/entities/{ID}?options=keyValues")

    assert served.body["level"] == {"source": 7}


WRONG = {"level": {"type": "Nonsense"}}
WRONG_LEVEL = {"type": "Nonsense"}


@pytest.mark.parametrize(
    ("method", "path", "body", "of_unknown"),
    [
        ("PATCH", "", WRONG, 404),
        ("PUT", "", {"type": "Sensor", **WRONG}, 404),
        ("POST", "/attrs", WRONG, 404),
        ("PATCH", "/attrs", WRONG, 404),
        ("PUT", "/attrs/level", WRONG_LEVEL, 404),
        ("PATCH", "/attrs/level", WRONG_LEVEL, 400),
        ("PUT", "/attrs/scope", {"value": "/a"}, 400),
        ("PUT", "/attrs/no-name", {"value": 1}, 400),
        ("POST", "/attrs?options=nonsense", {"level": 1}, 400),
        ("PATCH", "?observedAt=now", {"level": 1}, 400),
    ],
)
async def test_an_entity_that_is_missing_is_told_before_what_is_wrong_with_the_body(
    api: Api, method: str, path: str, body: Any, of_unknown: int
) -> None:
    await api.create(entity(level=1))

    unknown = await api(method, f"/entities/urn:ngsi-ld:Sensor:9{path}", body)
    known = await api(method, f"/entities/{ID}{path}", body)

    assert (unknown.status, known.status) == (of_unknown, 400)


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_a_bare_geometry_is_the_fragment_of_a_geo_property(api: Api, method: str) -> None:
    await api.create(entity(area={"type": "Point", "coordinates": [1, 2]}))
    moved = {"type": "Point", "coordinates": [3, 4]}

    answered = await api(method, f"/entities/{ID}/attrs/area", moved)
    served = await api("GET", f"/entities/{ID}?options=keyValues")

    assert answered.status == 204
    assert served.body["area"] == moved


async def test_all_instances_are_deleted_though_one_is_named_too(api: Api) -> None:
    await api.create(entity(speed=[prop(1), prop(2, datasetId="urn:d:1")]))

    deleted = await api("DELETE", f"/entities/{ID}/attrs/speed?deleteAll=true&datasetId=urn:d:1")
    served = await api("GET", f"/entities/{ID}")

    assert deleted.status == 204
    assert "speed" not in served.body


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/attrs", {"level": 5}, 204),
        ("POST", "/attrs?options=noOverwrite", {"level": 5}, 204),
        ("PATCH", "/attrs", {"level": 5}, 204),
        ("PATCH", "", {"level": 5}, 204),
        ("PUT", "", {"type": "Sensor", "level": 5}, 204),
        ("PATCH", "/attrs/level", {"value": 5}, 404),
        ("PUT", "/attrs/level", {"value": 5}, 404),
        ("DELETE", "/attrs/level", None, 404),
    ],
)
async def test_an_expired_attribute_is_written_like_one_that_was_never_there(
    api: Api, method: str, path: str, body: Any, status: int
) -> None:
    await api.create(entity(name="a", level=prop(1, expiresAt=PAST)))

    written = await api(method, f"/entities/{ID}{path}", body)
    served = await api("GET", f"/entities/{ID}?options=keyValues")
    old = await api("GET", "/entities?type=Sensor&q=level==1")
    new = await api("GET", "/entities?type=Sensor&q=level==5")

    assert written.status == status
    assert served.body.get("level") == (5 if status == 204 else None)
    assert old.body == []
    assert len(new.body) == (1 if status == 204 else 0)


async def test_what_expired_is_gone_after_a_write_of_something_else(api: Api) -> None:
    part = prop(2, source=prop(1, expiresAt=PAST))
    await api.create(entity(level=prop(1, expiresAt=PAST), count=part, state=prop(1)))

    first = await api("PATCH", f"/entities/{ID}/attrs", {"state": 2})
    second = await api("PATCH", f"/entities/{ID}", {"level": 3, "count": {"source": prop(4)}})
    served = await api("GET", f"/entities/{ID}?options=concise")

    assert (first.status, second.status) == (204, 204)
    assert served.body == entity(level=3, count={"value": 2, "source": 4}, state=2)


async def test_an_entity_that_expired_is_made_again_by_an_upsert(api: Api) -> None:
    await api.create(entity(level=1, expiresAt=PAST))

    upserted = await api("POST", "/entityOperations/upsert", [entity(level=2, expiresAt=FUTURE)])
    served = await api("GET", f"/entities/{ID}?options=keyValues")

    assert (upserted.status, upserted.body) == (201, [ID])
    assert served.body == entity(level=2)
