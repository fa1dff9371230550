"""Queries over HTTP: selection, paging, linked entities, GeoJSON, discovery, purge."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.support.api import Api
from tests.support.builders import entity, point, prop


async def city(api: Api) -> None:
    """Create three spots in a zone, the second occupied, and the zone they link to."""
    for number, (status, temperature) in enumerate(
        [("free", 18.5), ("occupied", 21), ("free", 30)], start=1
    ):
        await api.create(
            entity(
                number,
                "Spot",
                status=prop(status),
                temperature=prop(temperature),
                location=point(5 + number / 8, 43.5),
                zone={"type": "Relationship", "object": "urn:ngsi-ld:Zone:1"},
            )
        )
    await api.create(entity(1, "Zone", name=prop("centre")))


def ids(body: list[dict[str, str]]) -> list[int]:
    return [int(one["id"].rpartition(":")[2]) for one in body]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("type=Spot", [1, 2, 3]),
        ("id=urn:ngsi-ld:Spot:3,urn:ngsi-ld:Spot:1&type=Spot", [1, 3]),
        ("type=Spot&idPattern=:[23]$", [2, 3]),
        ("type=Spot&q=status==%22free%22", [1, 3]),
        ("type=Spot&q=temperature>20;status==%22free%22", [3]),
        ("type=Spot&q=temperature==18..22", [1, 2]),
        ("attrs=name", [1]),
        ("type=Spot&georel=near;maxDistance==100&geometry=Point&coordinates=[5.125,43.5]", [1]),
        ("type=Spot&orderBy=temperature;desc", [3, 2, 1]),
        ("type=(Spot,Zone)&limit=2", [1, 2]),
        ("type=Spot&limit=2&offset=2", [3]),
        ("type=*&q=!status", [1]),
    ],
)
async def test_a_query_finds_what_it_asks_for(api: Api, query: str, expected: list[int]) -> None:
    await city(api)

    answered = await api("GET", f"/entities?{query}")

    assert answered.status == 200, answered.body
    assert ids(answered.body) == expected


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", "too wide"),
        ("id=urn:ngsi-ld:Spot:1", "too wide"),
        ("type=*&local=false", "local"),
        ("type=Spot&limit=-1", "limit"),
        ("type=Spot&limit=1001", "1000"),
        ("type=Spot&limit=0", "count=true"),
        ("attrs=createdAt", "too wide"),
        ("type=Spot&csf=((", "csf"),
        ("type=Spot&entityMap=perhaps", "entityMap"),
        ("type=Spot&collation=no+order", "collation"),
        ("type=Spot&orderFrom=here", "orderFrom"),
        ("type=Spot&offset=x", "offset"),
        ("type=Spot&q=temperature==", "q"),
        ("type=Spot&georel=near;maxDistance==1", "geometry"),
        ("type=Spot&geometryProperty=location", "geometryProperty"),
        ("type=Spot&join=sideways", "join"),
        ("type=Spot&join=inline&joinLevel=11", "joinLevel"),
        ("type=Spot&containedBy=urn:x:1", "containedBy"),
        ("type=Spot&options=shiny", "options"),
        ("type=Spot&idPattern=(", "idPattern"),
        ("type=Spot&pick=a&omit=a", "a"),
    ],
)
async def test_a_wrong_query_is_refused_and_the_error_names_the_parameter(
    api: Api, query: str, names: str
) -> None:
    answered = await api("GET", f"/entities?{query}")

    assert answered.status == 400
    assert names in answered.detail


async def test_a_page_links_to_its_neighbours_and_counts_all(api: Api) -> None:
    await city(api)

    middle = await api("GET", "/entities?type=Spot&limit=1&offset=1&count=true")
    counted = await api("GET", "/entities?type=Spot&limit=0&count=true")
    whole = await api("GET", "/entities?type=Spot")

    links = middle.headers["Link"]
    path = "</ngsi-ld/v1/entities?count=true&limit=1&offset={}&type=Spot>"
    assert path.format(0) + ';rel="prev"' in links
    assert path.format(2) + ';rel="next"' in links
    assert middle.headers["NGSILD-Results-Count"] == "3"
    assert (counted.body, counted.headers["NGSILD-Results-Count"]) == ([], "3")
    assert 'rel="next"' not in whole.headers["Link"]


async def test_a_page_shows_a_change_that_was_answered_before_it_was_asked_for(api: Api) -> None:
    await city(api)
    before = await api("GET", "/entities?type=Spot&options=keyValues&attrs=status")

    await api("PATCH", "/entities/urn:ngsi-ld:Spot:1/attrs", {"status": prop("occupied")})
    after = await api("GET", "/entities?type=Spot&options=keyValues&attrs=status")
    await api("DELETE", "/entities/urn:ngsi-ld:Spot:2")
    fewer = await api("GET", "/entities?type=Spot&options=keyValues&attrs=status")

    assert [one["status"] for one in before.body] == ["free", "occupied", "free"]
    assert [one["status"] for one in after.body] == ["occupied", "occupied", "free"]
    assert ids(fewer.body) == [1, 3]


async def test_a_query_may_come_as_a_document(api: Api) -> None:
    await city(api)
    document = {
        "type": "Query",
        "entities": [{"type": "Spot", "idPattern": ":[12]$"}],
        "q": 'status=="free"',
        "pick": ["id", "status"],
    }

    answered = await api("POST", "/entityOperations/query?count=true", document)

    assert answered.status == 200
    assert answered.body == [{"id": "urn:ngsi-ld:Spot:1", "status": prop("free")}]
    assert answered.headers["NGSILD-Results-Count"] == "1"


@pytest.mark.parametrize(
    ("document", "names"),
    [
        ({"type": "Question"}, "type"),
        ({"type": "Query", "entities": []}, "entities"),
        ({"type": "Query", "entities": [{"id": "urn:x:1"}]}, "entities[0].type"),
        ({"type": "Query", "q": 5}, "q"),
        ({"type": "Query", "attrs": []}, "attrs"),
        ({"type": "Query", "temporalQ": {}}, "temporalQ"),
        ({"type": "Query", "joinLevel": 0}, "joinLevel"),
        ({"type": "Query", "geoQ": {"where": 1}}, "geoQ.where"),
        ({"type": "Query", "geoQ": {}}, "geoQ.georel"),
        ({"type": "Query", "entities": [{"type": "A", "id": []}]}, "entities[0].id"),
    ],
)
async def test_a_wrong_query_document_is_refused_by_its_member(
    api: Api, document: object, names: str
) -> None:
    answered = await api("POST", "/entityOperations/query", document)

    assert answered.status == 400
    assert names in answered.detail


async def test_a_document_that_asks_for_all_types_is_answered_from_what_is_here(api: Api) -> None:
    await city(api)
    document = {"type": "Query", "entities": [{"type": "*"}]}

    everything = await api("POST", "/entityOperations/query", document)
    refused = await api("POST", "/entityOperations/query?local=false", document)

    assert len(everything.body) == 4
    assert (refused.status, "local" in refused.detail) == (400, True)


async def test_a_document_may_choose_a_geometry_for_geojson_only(api: Api) -> None:
    await city(api)
    path = "/entityOperations/query?geometryProperty=location"
    document = {"type": "Query", "entities": [{"type": "Spot"}]}

    features = await api("POST", path, document, headers={"Accept": "application/geo+json"})
    refused = await api("POST", path, document)

    assert features.body["features"][0]["geometry"] is not None
    assert (refused.status, "geometryProperty" in refused.detail) == (400, True)


async def test_a_page_is_followed_by_its_link_whatever_the_query_has_in_it(api: Api) -> None:
    await city(api)
    text = quote('status!="a&b#c+d>\u00e9"', safe="")

    first = await api("GET", f"/entities?type=Spot&limit=1&q={text}&lang=en%0d%0aX-A:b")
    link = first.headers["Link"].split(", <")[1]
    second = await api("GET", link.partition(">")[0].removeprefix("/ngsi-ld/v1"))

    assert (ids(first.body), ids(second.body)) == ([1], [2])
    assert "X-A" not in first.headers


async def test_a_page_without_entries_leads_nowhere(api: Api) -> None:
    await city(api)

    counted = await api("GET", "/entities?type=Spot&limit=0&count=true")

    assert "rel=" not in counted.headers["Link"].replace('rel="http', "")


async def test_geojson_has_linked_entities_in_its_properties(api: Api) -> None:
    await city(api)
    path = "/entities/urn:ngsi-ld:Spot:1?options=keyValues&pick=id,zone{name}&join=inline"

    feature = await api("GET", path, headers={"Accept": "application/geo+json"})

    assert feature.status == 200
    assert feature.body["properties"] == {"zone": {"name": "centre"}}


async def test_linked_entities_come_inline_or_beside(api: Api) -> None:
    await city(api)
    path = "/entities/urn:ngsi-ld:Spot:1?options=keyValues&pick=id,zone{name}&joinLevel=1"

    inline = await api("GET", f"{path}&join=inline")
    flat = await api("GET", f"{path}&join=flat")

    assert inline.body == {"id": "urn:ngsi-ld:Spot:1", "zone": {"name": "centre"}}
    assert flat.body == [
        {"id": "urn:ngsi-ld:Spot:1", "zone": "urn:ngsi-ld:Zone:1"},
        {"name": "centre"},
    ]


async def test_entities_that_link_to_each_other_are_joined_once(api: Api) -> None:
    for mine, other in ((1, 2), (2, 1)):
        relation = {"type": "Relationship", "object": f"urn:ngsi-ld:Twin:{other}"}
        await api.create(entity(mine, "Twin", twin=relation))

    flat = await api("GET", "/entities/urn:ngsi-ld:Twin:1?join=flat&joinLevel=10")

    assert ids(flat.body) == [1, 2]


async def test_an_answer_says_what_it_depends_on_besides_the_url(api: Api) -> None:
    await city(api)

    found = [
        await api("GET", path, headers={"Accept": accept})
        for path in (
            "/entities?type=Spot",
            "/entities/urn:ngsi-ld:Spot:1",
            "/types",
            "/jsonldContexts",
        )
        for accept in ("application/json", "application/ld+json")
    ]

    needed = {"Accept", "Link", "NGSILD-Tenant", "Prefer"}
    assert all(needed <= set(one.headers["Vary"].split(", ")) for one in found)


async def test_geojson_has_its_context_in_the_body_unless_told_otherwise(api: Api) -> None:
    await city(api)
    headers = {"Accept": "application/geo+json"}

    feature = await api("GET", "/entities/urn:ngsi-ld:Spot:1", headers=headers)
    features = await api("GET", "/entities?type=Spot", headers=headers)
    linked = await api(
        "GET", "/entities/urn:ngsi-ld:Spot:1", headers={**headers, "Prefer": 'Body="json"'}
    )

    assert feature.headers["Content-Type"] == "application/geo+json"
    assert feature.body["geometry"] == {"type": "Point", "coordinates": [5.125, 43.5]}
    assert "@context" in feature.body
    assert features.body["type"] == "FeatureCollection"
    assert len(features.body["features"]) == 3
    assert "@context" in features.body
    assert "@context" not in linked.body
    assert "json-ld#context" in linked.headers["Link"]


async def test_a_client_of_an_earlier_version_is_shown_what_it_knows(api: Api) -> None:
    await api.create(entity(1, "Spot", names={"type": "VocabProperty", "vocab": "big"}))

    earlier = await api("GET", "/entities/urn:ngsi-ld:Spot:1", headers={"Prefer": "ngsi-ld=1.5"})
    native = await api("GET", "/entities/urn:ngsi-ld:Spot:1", headers={"Prefer": "ngsi-ld=1.9"})

    assert (earlier.status, native.status) == (203, 200)
    assert earlier.headers["Preference-Applied"] == "ngsi-ld=1.5"
    assert native.headers["Preference-Applied"] == "ngsi-ld=1.9"
    assert earlier.body["names"]["type"] == "Property"
    assert native.body["names"]["type"] == "VocabProperty"


async def test_linked_entities_are_shown_in_the_version_asked_for_too(api: Api) -> None:
    await api.create(entity(1, "Zone", names={"vocab": "big"}))
    await api.create(entity(1, "Spot", zone={"object": "urn:ngsi-ld:Zone:1"}))

    earlier = await api(
        "GET", "/entities/urn:ngsi-ld:Spot:1?join=inline", headers={"Prefer": "ngsi-ld=1.5"}
    )

    assert earlier.body["zone"]["entity"]["names"]["type"] == "Property"


async def test_a_preference_that_cannot_be_read_is_passed_over(api: Api) -> None:
    await city(api)
    path = "/entities/urn:ngsi-ld:Spot:1"

    odd = await api("GET", path, headers={"Prefer": "ngsi-ld=latest"})
    both = await api(
        "GET",
        path,
        headers={"Prefer": "body=json, ngsi-ld=1.5", "Accept": "application/geo+json"},
    )

    assert (odd.status, "Preference-Applied" in odd.headers) == (200, False)
    assert both.status == 203
    assert both.headers["Preference-Applied"] == "body=json"


async def test_types_and_attributes_are_discovered_while_entities_have_them(api: Api) -> None:
    await city(api)
    await api("DELETE", "/entities/urn:ngsi-ld:Spot:3")
    await api("DELETE", "/entities/urn:ngsi-ld:Spot:1/attrs/temperature")

    types = await api("GET", "/types")
    detailed = await api("GET", "/types?details=true")
    spot = await api("GET", "/types/Spot")
    temperature = await api("GET", "/attributes/temperature")
    await api("DELETE", "/entities?type=Zone")
    name = await api("GET", "/attributes/name")
    zone = await api("GET", "/types/Zone")

    assert types.body["typeList"] == ["Spot", "Zone"]
    assert [one["typeName"] for one in detailed.body] == ["Spot", "Zone"]
    assert detailed.body[1]["attributeNames"] == ["name"]
    assert spot.body["entityCount"] == 2
    assert {
        one["attributeName"]: one["attributeTypes"] for one in spot.body["attributeDetails"]
    } == {
        "status": ["Property"],
        "temperature": ["Property"],
        "location": ["GeoProperty"],
        "zone": ["Relationship"],
    }
    assert (temperature.body["attributeCount"], temperature.body["typeNames"]) == (1, ["Spot"])
    assert (name.status, zone.status) == (404, 404)


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("type=Spot&q=status==%22free%22", ["Spot:2", "Zone:1"]),
        ("local=true", []),
        ("type=Spot&drop=temperature", ["Spot:1", "Spot:2", "Spot:3", "Zone:1"]),
    ],
)
async def test_a_purge_deletes_what_it_finds_and_nothing_else(
    api: Api, query: str, left: list[str]
) -> None:
    await city(api)

    purged = await api("DELETE", f"/entities?{query}")
    served = await api("GET", "/entities?local=true&options=keyValues")

    assert purged.status == 204
    assert [one["id"].removeprefix("urn:ngsi-ld:") for one in served.body] == left
    assert any("temperature" in one for one in served.body) == ("status" in query)


@pytest.mark.parametrize("query", ["", "id=urn:x:1", "type=Spot&keep=a&drop=b"])
async def test_a_purge_that_is_too_wide_or_contradicts_itself_is_refused(
    api: Api, query: str
) -> None:
    assert (await api("DELETE", f"/entities?{query}")).status == 400


async def test_an_expired_entity_is_gone_and_its_id_free(api: Api) -> None:
    gone = entity(1, "Spot", status=prop("free"), expiresAt="2020-01-01T00:00:00Z")
    await api.create(gone)

    retrieved = await api("GET", "/entities/urn:ngsi-ld:Spot:1")
    queried = await api("GET", "/entities?type=Spot")
    again = await api("POST", "/entities", entity(1, "Spot", status=prop("free")))

    assert (retrieved.status, queried.body, again.status) == (404, [], 201)


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [
        ("gzip", "gzip"),
        ("deflate, br", "deflate"),
        ("*", "gzip"),
        ("gzip;q=0, deflate;q=0.1", "deflate"),
        ("gzip;q=0, *", "deflate"),
        ("identity", None),
        ("gzip;q=0", None),
        ("br", None),
    ],
)
async def test_a_large_answer_is_packed_as_the_client_takes_it(
    api: Api, accepted: str, packed: str | None
) -> None:
    await api.create(entity(1, "Spot", text=prop("x" * 5000)))

    path = "/entities/urn:ngsi-ld:Spot:1"
    answered = await api("GET", path, headers={"Accept-Encoding": accepted})

    assert answered.headers.get("Content-Encoding") == packed
    assert answered.body["text"]["value"] == "x" * 5000


async def test_the_api_describes_every_operation_it_answers(api: Api) -> None:
    described = (await api("GET", "/openapi.json")).body

    operations = {
        operation["operationId"]
        for path in described["paths"].values()
        for operation in path.values()
    }
    assert described["openapi"] == "3.1.0"
    assert {"createEntity", "queryEntity", "createSubscription", "listContexts"} <= operations
    assert "/ngsi-ld/v1/entities/{entityId}" in described["paths"]
