"""Entities over HTTP: create, retrieve, change, delete (clauses 5.6, 5.7.1)."""

from __future__ import annotations

import gzip
import zlib
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession

from tests.support.api import Api
from tests.support.builders import entity, point, prop

ID = "urn:ngsi-ld:Sensor:1"
BAD_POINT = {"type": "GeoProperty", "value": {"type": "Point", "coordinates": [1]}}
CORE = "https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context-v1.9.jsonld"


async def test_a_created_entity_is_served_as_it_was_sent(api: Api) -> None:
    sent = entity(
        temperature=prop(21.5, unitCode="CEL", observedAt="2026-05-01T08:00:00Z"),
        name=prop("<a> & 'b' = \"c\"; (ü)"),
        refRoom={"type": "Relationship", "object": "urn:ngsi-ld:Room:1"},
        location=point(5.4, 43.5),
    )

    created = await api("POST", "/entities", sent)
    served = await api("GET", f"/entities/{ID}")

    assert (created.status, created.body) == (201, None)
    assert created.headers["Location"] == f"/ngsi-ld/v1/entities/{ID}"
    assert served.status == 200
    assert served.headers["Content-Type"] == "application/json"
    assert CORE in served.headers["Link"]
    assert served.body == sent


@pytest.mark.parametrize(
    "entity_id",
    ["urn:x:caf\u00e9", "urn:x:a%20b", "https://example.org/a?b=c#d", "urn:x:a;b(c),d'=+&"],
)
async def test_the_location_of_a_created_entity_leads_to_it(api: Api, entity_id: str) -> None:
    created = await api("POST", "/entities", {"id": entity_id, "type": "Sensor"})
    path = created.headers["Location"].removeprefix("/ngsi-ld/v1")
    served = await api("GET", path)

    assert path.isascii()
    assert served.body == {"id": entity_id, "type": "Sensor"}


async def test_an_entity_is_created_once(api: Api) -> None:
    await api.create(entity(temperature=prop(1)))

    again = await api("POST", "/entities", entity(temperature=prop(2)))
    served = await api("GET", f"/entities/{ID}?options=keyValues")

    assert again.status == 409
    assert again.body["type"].endswith("/AlreadyExists")
    assert served.body["temperature"] == 1


ATTRS = f"/entities/{ID}/attrs"


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("PATCH", f"/entities/{ID}", {"temperature": prop(2)}, {"temperature": 2, "humidity": 0.4}),
        ("PATCH", ATTRS, {"temperature": prop(2)}, {"temperature": 2, "humidity": 0.4}),
        ("POST", ATTRS, {"co2": prop(400)}, {"temperature": 1, "humidity": 0.4, "co2": 400}),
        ("PATCH", f"{ATTRS}/temperature", {"value": 2}, {"temperature": 2, "humidity": 0.4}),
        ("PUT", f"{ATTRS}/temperature", prop(2), {"temperature": 2, "humidity": 0.4}),
        ("PUT", f"/entities/{ID}", entity(co2=prop(400)), {"co2": 400}),
        ("DELETE", f"{ATTRS}/temperature", None, {"humidity": 0.4}),
    ],
    ids=[
        "5.6.17 merge",
        "5.6.2 update",
        "5.6.3 append",
        "5.6.4 partial update",
        "5.6.19 replace attribute",
        "5.6.18 replace",
        "5.6.5 delete attribute",
    ],
)
async def test_an_entity_is_changed(
    api: Api, method: str, path: str, body: Any, expected: dict[str, Any]
) -> None:
    await api.create(entity(temperature=prop(1), humidity=prop(0.4)))

    changed = await api(method, path, body)
    served = await api("GET", f"/entities/{ID}?options=keyValues")

    assert (changed.status, changed.body) == (204, None)
    assert served.body == {"id": ID, "type": "Sensor", **expected}


async def test_a_deleted_entity_is_gone_and_its_id_free(api: Api) -> None:
    await api.create(entity(temperature=prop(1)))

    deleted = await api("DELETE", f"/entities/{ID}")
    gone = await api("GET", f"/entities/{ID}")
    again = await api("DELETE", f"/entities/{ID}")
    created = await api("POST", "/entities", entity(temperature=prop(2)))

    assert deleted.status == 204
    assert (gone.status, again.status) == (404, 404)
    assert gone.body["type"].endswith("/ResourceNotFound")
    assert created.status == 201


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"type": "Sensor"}, "id"),
        ({"id": "no uri", "type": "Sensor"}, "id"),
        ({"id": ID}, "type"),
        (entity(temperature={"type": "Property"}), "temperature"),
        (entity(temperature=prop(1, observedAt="yesterday")), "temperature.observedAt"),
        (entity(location=BAD_POINT), "location"),
        (entity(temperature=prop("urn:ngsi-ld:null")), "temperature"),
        (entity(temperature=prop(1, ngsildproof="x")), "temperature.ngsildproof"),
    ],
    ids=["no id", "id not a URI", "no type", "no value", "bad time", "bad point", "null", "proof"],
)
async def test_a_wrong_entity_is_refused_and_the_error_names_the_place(
    api: Api, body: Any, names: str
) -> None:
    answered = await api("POST", "/entities", body)

    assert answered.status == 400
    assert answered.body["type"].endswith("/BadRequestData")
    assert names in answered.detail
    assert (await api("GET", f"/entities/{ID}")).status == 404


@pytest.mark.parametrize(
    ("headers", "raw", "status"),
    [
        ({"Accept": "text/html"}, b"{}", 406),
        ({}, b"{", 400),
        ({}, b"[]", 400),
        ({}, b'{"a": NaN}', 400),
        ({}, b'"' + b"x" * 11_000_000 + b'"', 413),
        ({}, b"[" * 100_000, 400),
        ({"Content-Type": "application/ld+json"}, b'{"id":"urn:x:1","type":"T"}', 400),
    ],
    ids=["406", "no JSON", "no object", "NaN", "413", "deep", "ld+json without @context"],
)
async def test_a_request_that_cannot_be_read_is_refused(
    api: Api, headers: dict[str, str], raw: bytes, status: int
) -> None:
    answered = await api("POST", "/entities", raw=raw, headers=headers)

    assert answered.status == status
    assert {"type", "title", "detail"} <= answered.body.keys()


async def test_a_body_of_another_media_type_is_refused_with_those_that_are_taken(
    api: Api,
) -> None:
    plain = {"Content-Type": "text/plain"}

    created = await api("POST", "/entities", raw=b"{}", headers=plain)
    patched = await api("PATCH", f"/entities/{ID}", raw=b"{}", headers=plain)

    assert (created.status, created.body) == (415, None)
    assert created.headers["Accept"] == "application/json, application/ld+json"
    assert patched.headers["Accept"].endswith("application/merge-patch+json")


async def test_an_unknown_parameter_is_refused_by_name(api: Api) -> None:
    answered = await api("GET", "/entities?typ=Sensor")

    assert answered.status == 400
    assert answered.body["type"].endswith("/InvalidRequest")
    assert "'typ'" in answered.detail


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", f"/entities/{ID}?local=perhaps", None),
        ("PATCH", f"/entities/{ID}?local=perhaps", {"temperature": 2}),
        ("POST", "/entities?local=perhaps", entity(2)),
        ("GET", "/types?local=perhaps", None),
        ("GET", f"/entities/{ID}?entityMap=perhaps", None),
        ("DELETE", f"/entities/{ID}?local=perhaps", None),
    ],
)
async def test_a_boolean_that_is_none_is_refused_and_nothing_done(
    api: Api, method: str, path: str, body: Any
) -> None:
    await api.create(entity(temperature=1))

    answered = await api(method, path, body)
    served = await api("GET", "/entities?local=true&options=keyValues")

    assert answered.status == 400
    assert answered.body["type"].endswith("/InvalidRequest")
    assert served.body == [entity(temperature=1)]


async def test_tenants_do_not_see_each_other(api: Api) -> None:
    mine, yours = {"NGSILD-Tenant": "mine"}, {"NGSILD-Tenant": "yours"}
    await api("POST", "/entities", entity(temperature=prop(1)), headers=mine)

    seen = await api("GET", f"/entities/{ID}", headers=mine)
    unknown = await api("GET", f"/entities/{ID}", headers=yours)
    default = await api("GET", f"/entities/{ID}")

    assert seen.status == 200
    assert seen.headers["NGSILD-Tenant"] == "mine"
    assert unknown.status == 404
    assert unknown.body["type"].endswith("/NonexistentTenant")
    assert unknown.headers["NGSILD-Tenant"] == "yours"
    assert default.status == 404
    assert default.body["type"].endswith("/ResourceNotFound")


async def test_operators_see_which_tenants_there_are(api: Api) -> None:
    await api("POST", "/entities", entity(), headers={"NGSILD-Tenant": "Mine"})
    await api("POST", "/entities", {}, headers={"NGSILD-Tenant": "refused"})

    async with ClientSession() as session, session.get(f"{api.url}/ngsi-ld/ex/v1/tenants") as got:
        listed = await got.json()

    assert listed == {"tenants": ["", "mine"]}


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_body_may_come_compressed(api: Api, encoding: str) -> None:
    body = msgspec.json.encode(entity(temperature=prop(1)))
    packed = gzip.compress(body) if encoding == "gzip" else zlib.compress(body)

    answered = await api("POST", "/entities", raw=packed, headers={"Content-Encoding": encoding})

    assert answered.status == 201


async def test_a_body_that_unpacks_to_too_much_is_refused(api: Api) -> None:
    packed = gzip.compress(b" " * 64_000_000)

    answered = await api("POST", "/entities", raw=packed, headers={"Content-Encoding": "gzip"})

    assert answered.status == 413


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("PUT", "/entities", 405),
        ("OPTIONS", "/entities", 204),
        ("GET", f"/entities/{ID}", 404),
        ("GET", "/entities?typ=Sensor", 400),
    ],
)
async def test_every_answer_names_the_tenant_that_was_asked_for(
    api: Api, method: str, path: str, status: int
) -> None:
    answered = await api(method, path, headers={"NGSILD-Tenant": "North"})

    assert answered.status == status
    assert answered.headers["NGSILD-Tenant"] == "North"


async def test_a_client_changes_only_the_state_it_has_seen(api: Api) -> None:
    await api.create(entity(temperature=prop(1)))
    tag = (await api("GET", f"/entities/{ID}")).headers["ETag"]

    unchanged = await api("GET", f"/entities/{ID}", headers={"If-None-Match": tag})
    first = await api("PATCH", f"/entities/{ID}", {"temperature": 2}, headers={"If-Match": tag})
    second = await api("PATCH", f"/entities/{ID}", {"temperature": 3}, headers={"If-Match": tag})

    assert (unchanged.status, first.status, second.status) == (304, 204, 412)
    assert (await api("GET", f"/entities/{ID}?options=keyValues")).body["temperature"] == 2


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", f"/entities/{ID}", 405),
        ("PATCH", "/subscriptions/", 405),
        ("PATCH", "/entities/", 400),
        ("GET", "/entities/no-uri", 400),
        ("GET", "/nothing", 404),
    ],
)
async def test_paths_and_methods_that_are_not_there_are_named(
    api: Api, method: str, path: str, status: int
) -> None:
    answered = await api(method, path, {} if method != "GET" else None)

    assert answered.status == status
    assert answered.detail


async def test_options_say_what_a_path_takes(api: Api) -> None:
    answered = await api("OPTIONS", "/entities")

    assert answered.status == 204
    assert answered.headers["Allow"] == "DELETE, GET, OPTIONS, POST"
