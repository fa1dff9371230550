"""The resources /jsonldContexts and /jsonldContexts/{contextId} (clauses 5.13, 6.29, 6.30)."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from broker.core.ld_context import CORE_URL
from tests.support.api import Answered, Api
from tests.support.hosts import Handler, says, serving

ROOT = "/ngsi-ld/v1/jsonldContexts/"
TERMS = {"@context": {"speed": "https://example.org/speed", "near": "https://example.org/near"}}
LD_JSON = {"Content-Type": "application/ld+json"}
CORE_V1_6 = "https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context-v1.6.jsonld"
ALICE = {"NGSILD-Tenant": "alice"}
BOB = {"NGSILD-Tenant": "bob"}


def context(value: Any) -> Handler:
    return says(msgspec.json.encode({"@context": value}))


def at(identifier: str, query: str = "") -> str:
    return f"/jsonldContexts/{quote(identifier, safe='')}{query}"


async def add(api: Api, document: Any = None, **headers: str) -> str:
    """Add an @context and return its local id."""
    answered = await api("POST", "/jsonldContexts", document or TERMS, headers=headers)
    assert answered.status == 201, answered
    location = answered.headers["Location"]
    assert location.startswith(ROOT)
    return location.removeprefix(ROOT)


async def use(api: Api, ld_context: Any, number: int = 1) -> Answered:
    """Create an entity with an @context."""
    entity = {"id": f"urn:ngsi-ld:T:{number}", "type": "T", "speed": 1, "@context": ld_context}
    return await api("POST", "/entities", entity, headers=LD_JSON)


def problem(answered: Answered) -> tuple[int, str]:
    return answered.status, answered.body["type"].rpartition("/")[2]


# Adding and serving


async def test_an_added_context_is_served_as_it_came(api: Api) -> None:
    answered = await api("POST", "/jsonldContexts", TERMS | {"other": 1})
    served = await api("GET", answered.headers["Location"].removeprefix("/ngsi-ld/v1"))

    assert (answered.status, answered.body) == (201, None)
    assert (served.status, served.body) == (200, TERMS)
    assert served.headers["Content-Type"] == "application/json"


async def test_a_context_is_served_as_json_ld_to_who_asks_for_it(api: Api) -> None:
    identifier = await add(api)

    served = await api("GET", at(identifier), headers={"Accept": "application/ld+json"})

    assert served.headers["Content-Type"] == "application/ld+json"
    assert served.body == TERMS


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"{", "InvalidRequest"),
        (b"", "InvalidRequest"),
        (b"[]", "InvalidRequest"),
        (b'{"A1": "urn:A1"}', "InvalidRequest"),
        (b'{"@context": 42}', "BadRequestData"),
        (b'{"@context": true}', "BadRequestData"),
        (b'{"@context": null}', "BadRequestData"),
        (b'{"@context": ["https://example.org/ctx.jsonld", 7]}', "BadRequestData"),
        (b'{"@context": {"a": 7}}', "BadRequestData"),
        (b'{"@context": {"T": {"@id": "urn:T", "@context": {}}}}', "BadRequestData"),
    ],
)
async def test_what_is_no_context_is_not_stored(api: Api, raw: bytes, error: str) -> None:
    answered = await api("POST", "/jsonldContexts", raw=raw)
    listed = await api("GET", "/jsonldContexts?kind=Hosted")

    assert problem(answered) == (400, error)
    assert "Location" not in answered.headers
    assert listed.body == []


async def test_a_context_of_urls_is_stored_without_asking_their_hosts(api: Api) -> None:
    async with serving({}) as host:
        await add(api, {"@context": [f"{host.url}/c", CORE_URL]})

        assert host.requests == []


async def test_the_broker_uses_what_it_hosts_by_its_own_url(api: Api) -> None:
    async with serving({"/c": context(TERMS["@context"])}) as host:
        identifier = await add(api, {"@context": [f"{host.url}/c"]})

        created = await use(api, api.url + ROOT + identifier)
        read = await api("GET", "/entities/urn:ngsi-ld:T:1?options=keyValues")
        cached = await api("GET", at(f"{host.url}/c", "?details=true"))

    assert created.status == 201, created
    assert read.body["https://example.org/speed"] == 1
    assert cached.body["kind"] == "Cached"


async def test_a_relative_url_is_no_context(api: Api) -> None:
    identifier = await add(api)

    assert problem(await use(api, ROOT + identifier)) == (400, "BadRequestData")


@pytest.mark.parametrize("query", ["", "?details=true", "?details=false"])
async def test_an_unknown_context_is_not_found(api: Api, query: str) -> None:
    answered = await api("GET", at("wrong_id", query))

    assert problem(answered) == (404, "ResourceNotFound")


async def test_a_cached_context_is_served_by_its_origin_alone(api: Api) -> None:
    async with serving({"/c": context({})}) as host:
        await use(api, f"{host.url}/c")

        served = await api("GET", at(f"{host.url}/c"))

    assert problem(served) == (422, "OperationNotSupported")


async def test_a_context_whose_host_is_gone_is_an_error_of_that_request(api: Api) -> None:
    async with serving({}) as host:
        url = f"{host.url}/c"

    answered = await use(api, url)
    other = await use(api, {"speed": "urn:speed"})

    assert problem(answered) == (504, "LdContextNotAvailable")
    assert other.status == 201


# Details and lists


async def test_details_say_where_a_context_comes_from_and_how_it_is_used(api: Api) -> None:
    identifier = await add(api)

    first = await api("GET", at(identifier, "?details=true"))
    await use(api, api.url + ROOT + identifier)
    second = await api("GET", at(identifier, "?details=true"))

    assert set(first.body) == {"URL", "localId", "kind", "createdAt", "numberOfHits"}
    assert first.body["URL"] == api.url + ROOT + identifier
    assert first.body["localId"] == identifier
    assert (first.body["kind"], first.body["numberOfHits"]) == ("Hosted", 0)
    assert second.body["numberOfHits"] > 0
    assert second.body["lastUsage"] >= second.body["createdAt"]


async def test_details_of_a_cached_context_have_its_origin_and_expiry(api: Api) -> None:
    async with serving({"/c": context({})}) as host:
        await use(api, f"{host.url}/c")

        answered = await api("GET", at(f"{host.url}/c", "?details=true"))
        by_local_id = await api("GET", at(answered.body["localId"], "?details=true"))

    assert answered.body["URL"] == f"{host.url}/c"
    assert "extraInfo" not in answered.body
    assert answered.body["expiresAt"] > answered.body["createdAt"]
    assert by_local_id.body["localId"] == answered.body["localId"]


async def test_the_number_of_hits_grows_with_each_use_of_a_cached_context(api: Api) -> None:
    async with serving({"/c": context({})}) as host:
        hits = []
        for number in (1, 2):
            await use(api, f"{host.url}/c", number)
            answered = await api("GET", at(f"{host.url}/c", "?details=true"))
            hits.append(answered.body["numberOfHits"])

    assert hits == [1, 3]


async def test_contexts_are_listed_by_kind(api: Api) -> None:
    async with serving({"/c": context({})}) as host:
        await use(api, f"{host.url}/c")
        hosted = api.url + ROOT + await add(api)

        everything = await api("GET", "/jsonldContexts")
        by_kind = {
            kind: (await api("GET", f"/jsonldContexts?kind={kind}")).body
            for kind in ("Hosted", "Cached", "ImplicitlyCreated")
        }
        details = await api("GET", "/jsonldContexts/?details=true&kind=Hosted")

    assert everything.body == [CORE_URL, f"{host.url}/c", hosted]
    assert by_kind == {
        "Hosted": [hosted],
        "Cached": [CORE_URL, f"{host.url}/c"],
        "ImplicitlyCreated": [],
    }
    assert [each["URL"] for each in details.body] == [hosted]


@pytest.mark.parametrize(
    "query",
    [
        "kind=other",
        "details=other",
        "details=other&kind=other",
        "details=true&kind=other",
        "details=other&kind=Hosted",
    ],
)
async def test_a_wrong_kind_or_details_is_bad(api: Api, query: str) -> None:
    assert problem(await api("GET", f"/jsonldContexts?{query}")) == (400, "BadRequestData")


async def test_an_unknown_parameter_is_invalid(api: Api) -> None:
    assert problem(await api("GET", "/jsonldContexts?limit=1")) == (400, "InvalidRequest")


# Deleting and reloading


async def test_a_deleted_context_is_gone(api: Api) -> None:
    identifier = await add(api)

    deleted = await api("DELETE", at(identifier))
    again = await api("DELETE", at(identifier))
    used = await use(api, api.url + ROOT + identifier)

    assert (deleted.status, deleted.body) == (204, None)
    assert problem(again) == (404, "ResourceNotFound")
    assert problem(used) == (504, "LdContextNotAvailable")


async def test_a_context_can_be_deleted_by_the_url_it_is_hosted_under(api: Api) -> None:
    identifier = await add(api)

    assert (await api("DELETE", at(api.url + ROOT + identifier))).status == 204


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?reload=true", (400, "BadRequestData")),
        ("?reload=false", (404, "ResourceNotFound")),
        ("", (404, "ResourceNotFound")),
        ("?reload=xxx", (400, "BadRequestData")),
    ],
)
async def test_an_unknown_context_cannot_be_deleted(
    api: Api, query: str, expected: tuple[int, str]
) -> None:
    assert problem(await api("DELETE", at("wrong_id_context", query))) == expected


async def test_only_cached_contexts_can_be_reloaded(api: Api) -> None:
    identifier = await add(api)

    answered = await api("DELETE", at(identifier, "?reload=true"))

    assert problem(answered) == (400, "BadRequestData")
    assert (await api("GET", at(identifier))).status == 200


async def test_a_reload_replaces_a_cached_context(api: Api) -> None:
    async with serving({"/c": context({"speed": "urn:old"})}) as host:
        await use(api, f"{host.url}/c", 1)
        host.handlers["/c"] = context({"speed": "urn:new"})

        reloaded = await api("DELETE", at(f"{host.url}/c", "?reload=true"))
        await use(api, f"{host.url}/c", 2)
        read = await api("GET", "/entities/urn:ngsi-ld:T:2?options=keyValues")

    assert reloaded.status == 204
    assert read.body["urn:new"] == 1


async def test_a_failed_reload_leaves_the_context_in_use(api: Api) -> None:
    async with serving({"/c": context({"speed": "urn:speed"})}) as host:
        url = f"{host.url}/c"
        await use(api, url, 1)

    failed = await api("DELETE", at(url, "?reload=true"))
    still = await api("GET", at(url, "?details=true"))
    used = await use(api, url, 2)
    deleted = await api("DELETE", at(url))
    gone = await api("GET", at(url, "?details=true"))

    assert problem(failed) == (504, "LdContextNotAvailable")
    assert (still.status, still.body["kind"]) == (200, "Cached")
    assert used.status == 201
    assert (deleted.status, gone.status) == (204, 404)


@pytest.mark.parametrize("url", [CORE_URL, CORE_V1_6])
async def test_the_core_context_can_be_reloaded_and_not_deleted(api: Api, url: str) -> None:
    described = await api("GET", at(url, "?details=true"))
    deleted = [await api("DELETE", at(url, query)) for query in ("", "?reload=false")]
    reloaded = await api("DELETE", at(url, "?reload=true"))

    assert (described.status, described.body["kind"]) == (200, "Cached")
    assert [problem(each) for each in deleted] == [(400, "BadRequestData")] * 2
    assert reloaded.status == 204


# Tenants


async def test_a_hosted_context_is_private_to_its_tenant(api: Api) -> None:
    identifier = await add(api, None, **ALICE)

    listed = [
        (await api("GET", f"/jsonldContexts{query}", headers=BOB)).body
        for query in ("", "?details=true")
    ]
    for_bob = [await api(method, at(identifier), headers=BOB) for method in ("GET", "DELETE")]
    for_alice = await api("GET", at(identifier), headers=ALICE)

    assert identifier not in str(listed)
    assert [problem(each) for each in for_bob] == [(404, "ResourceNotFound")] * 2
    assert for_alice.body == TERMS
    assert (await api("DELETE", at(identifier), headers=ALICE)).status == 204
