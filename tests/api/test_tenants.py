"""Tenants see nothing of each other by any route of the API (promise P42)."""

from __future__ import annotations

import re
from typing import Any

import pytest
from aiohttp import ClientSession

from broker.api.app import ROUTES
from broker.api.routes import Route
from tests.support.api import Answered, Api
from tests.support.builders import entity

SECRET = "hush"
HERS, HIS = {"NGSILD-Tenant": "harbour"}, {"NGSILD-Tenant": "market"}
NOBODYS = {"NGSILD-Tenant": "nobody"}
THING = "urn:ngsi-ld:Thing:1"
SUBSCRIPTION = "urn:ngsi-ld:Subscription:1"
EVER = "timerel=before&timeAt=2099-01-01T00:00:00Z&timeproperty=modifiedAt&local=true"
STREAMS = {"streamSubscription", "streamEntities"}
"""Routes whose answers do not end; `test_streams` has those."""

VALUE = {"value": 1}
HIS_THING = entity(1, "Thing", level=VALUE)
BODIES: dict[str, Any] = {
    "mergeEntity": {"level": 1},
    "replaceEntity": {"type": "Thing"},
    "appendAttrs": {"level": 1},
    "updateEntity": {"level": 1},
    "updateAttrs": VALUE,
    "replaceAttrs": VALUE,
    "createEntity": HIS_THING,
    "createBatch": [HIS_THING],
    "upsertBatch": [HIS_THING],
    "updateBatch": [HIS_THING],
    "mergeBatch": [HIS_THING],
    "deleteBatch": [THING],
    "queryBatch": {"type": "Query", "entities": [{"type": "Thing"}]},
    "queryTemporalByPost": {
        "type": "Query",
        "entities": [{"type": "Thing"}],
        "temporalQ": {
            "timerel": "before",
            "timeAt": "2099-01-01T00:00:00Z",
            "timeproperty": "modifiedAt",
        },
    },
    "appendAttrsTemporal": {"level": VALUE},
    "updateAttrsTemporal": {"level": VALUE},
    "upsertTemporal": HIS_THING,
    "createSubscription": {
        "type": "Subscription",
        "entities": [{"type": "Thing"}],
        "notification": {"endpoint": {"uri": "http://127.0.0.1:9/"}},
    },
    "updateSubscription": {"isActive": False},
    "createContext": {"@context": {"a": "http://example.org/a"}},
}
QUERIES = {
    "queryEntity": "?local=true&options=sysAttrs&count=true",
    "purgeEntities": "?local=true",
    "deleteAttrs": "?deleteAll=true",
    "queryTemporal": "?" + EVER,
    "retrieveEntityTypes": "?details=true",
    "retrieveAttrTypes": "?details=true",
    "listContexts": "?details=true",
    "retrieveContext": "?details=true",
}


class Harbour:
    """A broker with a tenant that has something of every kind, and how to look at it.

    Attributes:
        parts: what the placeholders of paths stand for.
    """

    def __init__(self, api: Api) -> None:
        self.api = api
        self.parts: dict[str, str] = {}

    async def fill(self) -> None:
        """Create an entity, its history, a subscription and an @context."""
        shown = {"value": SECRET, "hushNote": SECRET}
        await self._made("/entities", entity(1, "Thing", level=shown, hushLevel=SECRET))
        await self._made(
            "/subscriptions",
            {
                "id": SUBSCRIPTION,
                "type": "Subscription",
                "description": SECRET,
                "entities": [{"type": "Thing"}],
                "notification": {"endpoint": {"uri": "http://127.0.0.1:9/hush"}},
                "isActive": False,
            },
        )
        context = {"@context": {SECRET: "http://example.org/hush"}}
        location = (await self._made("/jsonldContexts", context)).headers["Location"]
        path = f"/temporal/entities/{THING}?options=sysAttrs"
        past = await self.api("GET", path, headers=HERS)
        self.parts = {
            "entityId": THING,
            "attrId": "level",
            "type": "Thing",
            "subscriptionId": SUBSCRIPTION,
            "contextId": location.rpartition("/")[2],
            "instanceId": past.body["level"][0]["instanceId"],
        }

    async def _made(self, path: str, body: Any) -> Answered:
        answered = await self.api("POST", path, body, headers=HERS)
        assert answered.status == 201, answered
        return answered

    async def all_of_hers(self) -> list[Any]:
        """Return everything the tenant has."""
        paths = (
            "/entities?local=true&options=sysAttrs",
            f"/temporal/entities?{EVER}&options=sysAttrs",
            "/subscriptions?options=sysAttrs",
            f"/jsonldContexts/{self.parts['contextId']}",
            "/types?details=true",
        )
        found = [await self.api("GET", path, headers=HERS) for path in paths]
        assert all(one.status == 200 for one in found), found
        return [without_ids(one.body) for one in found]

    async def ask(self, route: Route, headers: dict[str, str]) -> tuple[int, str]:
        """Send a request by a route; return the status and all that the answer says."""
        path = re.sub(r"{(\w+)(:[^}]*)?}", lambda found: self.parts[found[1]], route.path)
        path += QUERIES.get(route.operation_id, "")
        sent = dict(headers)
        body = BODIES.get(route.operation_id)
        if route.operation_id == "importInstances":
            sent["Content-Type"] = "application/x-ndjson"
        if body is None and route.method in {"POST", "PATCH", "PUT"} and route.needs_body:
            body = {}
        async with (
            ClientSession() as session,
            session.request(
                route.method, f"{self.api.url}/ngsi-ld/v1{path}", json=body, headers=sent
            ) as response,
        ):
            return response.status, f"{response.headers}\n{await response.text()}"


def without_ids(body: Any) -> Any:
    """Leave out the id of a list of types, which is made for each answer."""
    return {**body, "id": None} if isinstance(body, dict) else body


@pytest.fixture
async def harbour(api: Api) -> Harbour:
    found = Harbour(api)
    await found.fill()
    await api("POST", "/entities", entity(2, "Other", own=1), headers=HIS)
    return found


@pytest.mark.parametrize("headers", [HIS, NOBODYS, {}], ids=["another", "none yet", "the default"])
async def test_no_route_tells_or_touches_what_another_tenant_has(
    harbour: Harbour, headers: dict[str, str]
) -> None:
    before = await harbour.all_of_hers()

    for route in ROUTES:
        if route.operation_id not in STREAMS:
            status, told = await harbour.ask(route, headers)
            assert status < 500, (route.operation_id, told)
            assert SECRET not in told, (route.operation_id, told)

    assert await harbour.all_of_hers() == before


async def test_every_route_is_known_to_the_test(harbour: Harbour) -> None:
    """The owner is told by the same requests: they do reach what is there."""
    telling = set()
    for route in ROUTES:
        if route.operation_id not in STREAMS and route.method == "GET":
            status, told = await harbour.ask(route, HERS)
            assert status == 200, (route.operation_id, told)
            if SECRET in told:
                telling.add(route.operation_id)

    assert telling == {
        "retrieveEntity",
        "queryEntity",
        "retrieveTemporal",
        "queryTemporal",
        "exportInstances",
        "retrieveEntityTypes",
        "retrieveEntityTypeInfo",
        "retrieveAttrTypes",
        "querySubscription",
        "retrieveSubscription",
    }


async def test_relationships_do_not_lead_into_another_tenant(harbour: Harbour) -> None:
    api = harbour.api
    linking = entity(1, "Link", to={"object": THING})
    await api("POST", "/entities", linking, headers=HIS)

    queries = ("join=inline", "join=flat", "join=inline&q=to{level}", "join=flat&q=!to{level}")
    found = [await api("GET", f"/entities?type=Link&{query}", headers=HIS) for query in queries]

    assert [len(one.body) for one in found] == [1, 1, 0, 1]
    assert SECRET not in str([one.body for one in found])


async def test_what_another_tenant_has_is_missing_like_what_nobody_has(harbour: Harbour) -> None:
    for path in ("/entities/{}", "/temporal/entities/{}", "/subscriptions/{}", "/types/{}"):
        asked = SUBSCRIPTION if "subscriptions" in path else THING
        absent = asked.removesuffix("1") + "9"
        there = await harbour.api("GET", path.format(asked), headers=HIS)
        nowhere = await harbour.api("GET", path.format(absent), headers=HIS)

        assert there.status == nowhere.status == 404
        assert there.detail.replace(asked, "") == nowhere.detail.replace(absent, "")
