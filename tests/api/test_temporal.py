"""The temporal API over HTTP (clauses 5.6.11–5.6.16, 5.7.3, 5.7.4, 6.3.10)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.api import Api
from tests.support.builders import entity, prop

PATH = "/temporal/entities"
ID = "urn:ngsi-ld:Sensor:1"
ONE = f"{PATH}/{ID}"
ALL_TIME = "timerel=after&timeAt=2000-01-01T00:00:00Z"


def at(minute: int, hour: int = 10) -> str:
    return f"2026-05-01T{hour:02}:{minute:02}:00Z"


def series(*values: Any, **members: Any) -> list[dict[str, Any]]:
    """Return instances of a Property, a minute apart."""
    return [prop(value, observedAt=at(place), **members) for place, value in enumerate(values)]


@pytest.fixture
async def past(api: Api) -> Api:
    """A broker that has a history of a sensor and no sensor."""
    history = entity(1, speed=series(1, 2, 3, 4, 5), level=series("a", "b", datasetId="urn:d:1"))
    assert (await api("POST", PATH, history)).status == 201
    return api


async def values(api: Api, query: str = "") -> Any:
    found = await api("GET", f"{ONE}?options=temporalValues{query}")
    return [value for value, _ in found.body["speed"]["values"]]


async def test_a_history_is_created_once_and_added_to(api: Api) -> None:
    created = await api("POST", PATH, entity(1, speed=series(1)))
    added = await api("POST", PATH, entity(1, speed=[prop(2, observedAt=at(1))]))

    assert (created.status, added.status) == (201, 204)
    assert created.headers["Location"] == f"/ngsi-ld/v1{ONE}"
    assert await values(api) == [1, 2]


async def test_what_is_written_to_an_entity_is_history_at_once(api: Api) -> None:
    await api.create(entity(1, speed=prop(1, observedAt=at(0))))
    await api("PATCH", f"/entities/{ID}/attrs", {"speed": prop(2, observedAt=at(1))})

    assert await values(api) == [1, 2]


async def test_a_deleted_entity_keeps_its_history(api: Api) -> None:
    await api.create(entity(1, speed=prop(1, observedAt=at(0))))
    await api("DELETE", f"/entities/{ID}")

    assert (await api("GET", f"/entities/{ID}")).status == 404
    assert (await values(api))[0] == 1


async def test_a_deletion_is_an_instance_with_its_time(api: Api) -> None:
    await api.create(entity(1, speed=prop(1), level=prop(2)))
    await api("DELETE", f"/entities/{ID}/attrs/speed")

    found = await api("GET", f"{ONE}?timeproperty=deletedAt&{ALL_TIME}")

    [instance] = found.body["speed"]
    assert instance["value"] == "urn:ngsi-ld:null"
    assert "deletedAt" in instance
    assert not found.body.get("level")


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        (f"timerel=before&timeAt={at(2)}", [1, 2]),
        (f"timerel=after&timeAt={at(2)}", [3, 4, 5]),
        (f"timerel=between&timeAt={at(1)}&endTimeAt={at(3)}", [2, 3]),
        ("lastN=2", [5, 4]),
        (f"lastN=1&timerel=before&timeAt={at(2)}", [2]),
    ],
)
async def test_a_window_selects_instances(past: Api, window: str, expected: list[int]) -> None:
    assert sorted(await values(past, f"&{window}")) == sorted(expected)


async def test_more_instances_than_a_page_has_are_cut_in_time(api: Api) -> None:
    await api("POST", PATH, entity(1, speed=series(*range(40)), level=series(1)))

    page = await api("GET", ONE)
    whole = await api("GET", f"{ONE}?instances=100")

    assert (page.status, whole.status) == (206, 200)
    shown = page.body["speed"]
    assert len(shown) == 15
    first, last = page.headers["Content-Range"].removeprefix("date-time ").split("Z-")
    assert first.startswith("2026-05-01T10:00:00")
    assert last.removesuffix("Z/*")[:19] == shown[-1]["observedAt"][:19]
    assert len(whole.body["speed"]) == 40


@pytest.mark.parametrize(
    ("options", "near"),
    [("normalized", []), ("temporalValues", {"type": "Relationship", "objects": []})],
)
async def test_what_is_wholly_beyond_the_cut_is_named(api: Api, options: str, near: Any) -> None:
    late = {"type": "Relationship", "object": "urn:a:1", "observedAt": at(59)}
    await api("POST", PATH, entity(1, speed=series(*range(40)), near=[late]))

    assert (await api("GET", f"{ONE}?options={options}")).body["near"] == near


async def test_an_answer_goes_on_where_it_was_cut(api: Api) -> None:
    await api("POST", PATH, entity(1, speed=series(*range(40)), level=series(*range(20))))

    found: dict[str, Any] = {}
    start = "2000-01-01T00:00:00Z"
    status = 206
    while status == 206:
        page = await api("GET", f"{ONE}?timerel=after&timeAt={start}")
        status = page.status
        found |= {one["observedAt"]: one["value"] for one in page.body["speed"]}
        start = page.headers.get("Content-Range", "").rpartition("Z-")[2].partition("/")[0]

    assert list(found.values()) == list(range(40))


async def test_the_last_instance_of_many_entities_is_not_cut(api: Api) -> None:
    histories = [entity(number, speed=series(1, 2)) for number in range(100)]
    for history in histories:
        await api("POST", PATH, history)

    found = await api("GET", f"{PATH}?type=Sensor&{ALL_TIME}&lastN=1&limit=100")

    assert found.status == 200
    assert [len(one["speed"]) for one in found.body] == [1] * 100


async def test_aggregates_are_those_of_periods(past: Api) -> None:
    found = await past(
        "GET",
        f"{ONE}?options=aggregatedValues&aggrMethods=avg,totalCount&aggrPeriodDuration=PT2M"
        "&attrs=speed",
    )

    assert found.body["speed"] == {
        "type": "Property",
        "avg": [[1.5, at(0), at(2)], [3.5, at(2), at(4)], [5, at(4), at(6)]],
        "totalCount": [[2, at(0), at(2)], [2, at(2), at(4)], [1, at(4), at(6)]],
    }


async def test_an_aggregate_that_does_not_fit_is_refused(past: Api) -> None:
    found = await past("GET", f"{ONE}?options=aggregatedValues&aggrMethods=avg&attrs=level")

    assert found.status == 400
    assert "avg" in found.detail
    assert "level" in found.detail


async def test_an_instance_is_replaced_and_keeps_its_id(past: Api) -> None:
    instance_id = (await past("GET", ONE)).body["speed"][0]["instanceId"]
    changed = await past(
        "PATCH", f"{ONE}/attrs/speed/{instance_id}", {"speed": [prop(9, observedAt=at(0))]}
    )

    instance = (await past("GET", ONE)).body["speed"][0]
    assert changed.status == 204
    assert (instance["value"], instance["instanceId"]) == (9, instance_id)


async def test_an_instance_is_deleted(past: Api) -> None:
    instance_id = (await past("GET", ONE)).body["speed"][0]["instanceId"]

    assert (await past("DELETE", f"{ONE}/attrs/speed/{instance_id}")).status == 204
    assert await values(past) == [2, 3, 4, 5]
    assert (await past("DELETE", f"{ONE}/attrs/speed/{instance_id}")).status == 404


async def test_an_instance_of_another_attribute_is_not_found(past: Api) -> None:
    instance_id = (await past("GET", ONE)).body["speed"][0]["instanceId"]

    answer = await past("DELETE", f"{ONE}/attrs/level/{instance_id}")

    assert answer.status == 404
    assert await values(past) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("query", "status"),
    [("", 404), ("?datasetId=urn:d:1", 204), ("?deleteAll=true", 204), ("?datasetId=urn:d:2", 404)],
)
async def test_an_attribute_is_deleted_by_dataset(past: Api, query: str, status: int) -> None:
    answer = await past("DELETE", f"{ONE}/attrs/level{query}")

    assert answer.status == status
    assert ("level" in (await past("GET", ONE)).body) == (status == 404)


async def test_a_history_is_deleted_and_the_entity_stays(api: Api) -> None:
    await api.create(entity(1, speed=prop(1)))

    assert (await api("DELETE", ONE)).status == 204
    assert (await api("GET", f"/entities/{ID}")).status == 200


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("type=Sensor&q=speed<4", [1]),
        (f"type=Sensor&q=speed<4&timerel=after&timeAt={at(3)}", []),
        ("type=Sensor&q=speed==10", [2]),
        ("attrs=level", [1]),
        ("type=Sensor&id=urn:ngsi-ld:Sensor:2", [2]),
        ("type=Other", []),
        ("type=Sensor&idPattern=.*2", [2]),
    ],
)
async def test_a_query_looks_at_the_instances_of_its_window(
    past: Api, query: str, numbers: list[int]
) -> None:
    await past("POST", PATH, entity(2, speed=series(10)))
    window = "" if "timerel" in query else f"&{ALL_TIME}"

    found = await past("GET", f"{PATH}?{query}{window}&count=true")

    assert [one["id"] for one in found.body] == [f"urn:ngsi-ld:Sensor:{n}" for n in numbers]
    assert found.headers["NGSILD-Results-Count"] == str(len(numbers))


@pytest.mark.parametrize(
    ("query", "members"),
    [
        ("pick=id,speed", {"id", "speed"}),
        ("pick=speed|level", {"speed", "level"}),
        ("pick=id|type", {"id", "type"}),
        ("omit=speed", {"id", "type", "level"}),
        ("attrs=level", {"id", "type", "level"}),
    ],
)
async def test_a_projection_shows_some_members(past: Api, query: str, members: set[str]) -> None:
    assert set((await past("GET", f"{ONE}?{query}")).body) == members


@pytest.mark.parametrize(
    "query",
    ["attrs=other", "pick=other", "omit=id,type,speed,level", f"timerel=before&timeAt={at(0)}"],
)
async def test_a_history_without_what_is_asked_for_is_not_found(past: Api, query: str) -> None:
    assert (await past("GET", f"{ONE}?{query}")).status == 404


async def test_a_query_leaves_out_what_has_nothing_of_a_dataset(past: Api) -> None:
    path = f"{PATH}?type=Sensor&attrs=speed&{ALL_TIME}&datasetId="

    assert (await past("GET", f"{path}urn:d:1&count=true")).body == []
    assert len((await past("GET", f"{path}@none")).body) == 1


async def test_what_matches_comes_with_all_of_the_window(past: Api) -> None:
    found = await past("GET", f"{PATH}?type=Sensor&q=speed>4&{ALL_TIME}&options=temporalValues")

    assert [value for value, _ in found.body[0]["speed"]["values"]] == [1, 2, 3, 4, 5]


async def test_the_scope_of_what_is_history_only_can_be_deleted(api: Api) -> None:
    await api("POST", PATH, entity(1, scope=["/a", "/b"], speed=series(1)))

    assert (await api("DELETE", f"/entities/{ID}/attrs/scope")).status == 204

    [instance] = (await api("GET", f"{ONE}?timeproperty=deletedAt")).body["scope"]
    assert instance["value"] == []
    assert "deletedAt" in instance
    assert "observedAt" not in instance


async def test_a_past_state_is_sought_by_the_type_of_then(api: Api) -> None:
    await api.create(entity(1, speed=prop(1)))
    made = (await api("GET", f"/entities/{ID}?options=sysAttrs")).body["createdAt"]
    await api("PUT", f"/entities/{ID}", entity(1, speed=prop(2)) | {"type": "Meter"})

    then = await api("GET", f"/entities?type=Sensor&asOf={made}&count=true")
    meters = await api("GET", f"/entities?type=Meter&asOf={made}")
    now = await api("GET", "/entities?type=Sensor")

    assert [one["speed"]["value"] for one in then.body] == [1]
    assert then.headers["NGSILD-Results-Count"] == "1"
    assert (meters.body, now.body) == ([], [])


@pytest.mark.parametrize("query", ["pick=id,type", "pick=id", "pick=id,level"])
async def test_an_answer_is_whole_when_only_what_nobody_asked_for_is_beyond_the_cut(
    api: Api, query: str
) -> None:
    scopes = [prop([f"/a{n}"], observedAt=at(n)) for n in range(40)]
    history = entity(1, speed=series(*range(40)), level=series(1), scope=scopes)
    await api("POST", PATH, history)

    one = await api("GET", f"{ONE}?{query}&{ALL_TIME}")
    many = await api("GET", f"{PATH}?type=Sensor&{query}&{ALL_TIME}")

    assert (one.status, many.status) == (200, 200)
    assert many.body == [one.body]
    assert set(one.body) == set(query.removeprefix("pick=").split(","))


async def test_an_entity_with_nothing_in_the_window_is_not_found_by_its_id_alone(past: Api) -> None:
    before = f"timerel=before&timeAt={at(0)}"

    assert (await past("GET", f"{ONE}?pick=id&{before}")).status == 404
    assert (await past("GET", f"{PATH}?type=Sensor&pick=id&{before}")).body == []


async def test_scopes_do_not_stand_for_an_attribute_that_was_never_there(api: Api) -> None:
    await api("POST", PATH, entity(1, scope="/a", speed=series(1)))

    assert (await api("GET", f"{ONE}?attrs=other")).status == 404
    assert set((await api("GET", f"{ONE}?pick=scope,other")).body) == {"scope"}


@pytest.mark.parametrize("last", ["", "&lastN=39"])
async def test_instances_of_one_moment_are_not_parted(api: Api, last: str) -> None:
    """Those of one request were all created at once, so there is no moment to go on behind."""
    await api("POST", PATH, entity(1, speed=series(*range(40)), level=series(1)))

    found = await api("GET", f"{ONE}?timeproperty=createdAt&pick=speed&{ALL_TIME}{last}")

    assert found.status == 200
    assert len(found.body["speed"]) == (39 if last else 40)


async def test_what_was_created_later_is_on_the_next_page(api: Api) -> None:
    await api("POST", PATH, entity(1, speed=series(*range(20))))
    first = await api("GET", f"{ONE}?timeproperty=createdAt&{ALL_TIME}")
    await api("POST", f"{ONE}/attrs", {"speed": prop(20, observedAt=at(30))})

    page = await api("GET", f"{ONE}?timeproperty=createdAt&{ALL_TIME}")

    assert (first.status, page.status) == (200, 206)
    assert [one["value"] for one in page.body["speed"]] == list(range(20))


async def test_a_query_by_post_asks_the_same(past: Api) -> None:
    query = {
        "type": "Query",
        "entities": [{"type": "Sensor"}],
        "temporalQ": {"timerel": "before", "timeAt": at(2), "lastN": 1},
        "attrs": ["speed"],
    }

    found = await past("POST", "/temporal/entityOperations/query?options=temporalValues", query)

    assert [one["speed"]["values"] for one in found.body] == [[[2, at(1)]]]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "named"),
    [
        ("GET", f"{PATH}?type=Sensor", None, 400, "timerel"),
        ("GET", f"{PATH}?{ALL_TIME}", None, 400, "too wide"),
        ("GET", f"{PATH}?type=Sensor&{ALL_TIME}&orderBy=speed", None, 400, "orderBy"),
        ("GET", f"{ONE}?lastN=0", None, 400, "lastN"),
        ("GET", f"{ONE}?options=aggregatedValues", None, 400, "aggrMethods"),
        ("GET", f"{ONE}?options=aggregatedValues,temporalValues", None, 400, "options"),
        ("GET", f"{ONE}?instances=1000000", None, 400, "instances"),
        ("GET", f"{PATH}/urn:ngsi-ld:Sensor:9", None, 404, "Sensor:9"),
        ("GET", f"{PATH}/nothing", None, 400, "entityId"),
        ("POST", f"{PATH}/urn:ngsi-ld:Sensor:9/attrs", {"a": series(1)}, 404, "Sensor:9"),
        ("POST", f"{ONE}/attrs", {"a": [{"type": "Property"}]}, 400, "a[0]"),
        ("DELETE", f"{ONE}/attrs/nothing", None, 404, "nothing"),
        ("DELETE", f"{ONE}/attrs/speed/none", None, 400, "instanceId"),
        ("PATCH", f"{ONE}/attrs/speed/urn:x:1", {"speed": series(1)}, 404, "urn:x:1"),
        ("DELETE", f"{PATH}/urn:ngsi-ld:Sensor:9", None, 404, "Sensor:9"),
    ],
)
async def test_what_is_wrong_is_told(
    past: Api, method: str, path: str, body: Any, status: int, named: str
) -> None:
    answer = await past(method, path, body)

    assert answer.status == status
    assert named in answer.detail


async def test_the_state_of_a_moment_is_had_from_history(api: Api) -> None:
    await api.create(entity(1, speed=prop(1), level=prop("a")))
    born = (await api("GET", f"/entities/{ID}?options=sysAttrs")).body["modifiedAt"]
    await api("PATCH", f"/entities/{ID}", {"speed": 2, "level": "urn:ngsi-ld:null", "more": 3})
    changed = (await api("GET", f"/entities/{ID}?options=sysAttrs")).body["modifiedAt"]
    await api("DELETE", f"/entities/{ID}")

    async def state(moment: str) -> Any:
        return (await api("GET", f"/entities?type=Sensor&options=simplified&asOf={moment}")).body

    assert await state("2000-01-01T00:00:00Z") == []
    assert [(one["speed"], one["level"]) for one in await state(born)] == [(1, "a")]
    assert await state(changed) == [{"id": ID, "type": "Sensor", "speed": 2, "more": 3}]
    assert (await api("GET", f"/entities/{ID}?asOf={changed}&options=simplified")).body == {
        "id": ID, "type": "Sensor", "speed": 2, "more": 3,
    }  # fmt: skip
    path = f"/entityOperations/query?options=simplified&asOf={born}"
    found = await api("POST", path, {"type": "Query", "entities": [{"type": "Sensor"}]})
    assert [one["speed"] for one in found.body] == [1]


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("asOf=2026-05-01", "asOf"),
        ("asOf=2026-05-01T10:00:00", "asOf"),
        ("asOf=2026-05-01T10:00:00Z&join=inline", "join"),
    ],
)
async def test_a_moment_that_is_none_is_refused(api: Api, query: str, named: str) -> None:
    for path in (f"/entities/{ID}", "/entities"):
        answer = await api("GET", f"{path}?type=Sensor&{query}")

        assert answer.status == 400
        assert named in answer.detail


async def test_no_tenant_sees_the_history_of_another(past: Api) -> None:
    other = {"NGSILD-Tenant": "other"}
    await past("POST", "/entities", entity(2, speed=prop(1)), headers=other)

    for path in (ONE, f"{ONE}?instances=9", f"/entities/{ID}?asOf={at(59)}"):
        assert (await past("GET", path, headers=other)).status == 404
    for path in (
        f"{PATH}?type=Sensor&{ALL_TIME}&attrs=level",
        f"/entities?type=Sensor&asOf={at(59)}",
    ):
        assert (await past("GET", path, headers=other)).body == []
    assert (await past("DELETE", ONE, headers=other)).status == 404
    assert await values(past) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", f"/entities/{ID}/attrs?", {"speed": prop(1, observedAt=at(0))}),
        ("POST", f"/entities/{ID}/attrs?", {"speed": prop(1, observedAt=at(0))}),
        ("PATCH", f"/entities/{ID}?", {"speed": prop(1, observedAt=at(0))}),
        (
            "POST",
            "/entityOperations/upsert?options=update&",
            [entity(1, speed=prop(1, observedAt=at(0)))],
        ),
        ("POST", "/entityOperations/update?", [entity(1, speed=prop(1, observedAt=at(0)))]),
        ("POST", "/entityOperations/merge?", [entity(1, speed=prop(1, observedAt=at(0)))]),
    ],
    ids=["update", "append", "merge", "upsert", "batch update", "batch merge"],
)
async def test_a_late_measure_is_history_only_where_that_is_wanted(
    api: Api, method: str, path: str, body: Any
) -> None:
    await api.create(entity(1, speed=prop(2, observedAt=at(5))))

    kept = await api(method, f"{path}keepNewer=true", body)
    present = (await api("GET", f"/entities/{ID}?options=simplified")).body["speed"]
    history = await values(api)
    await api(method, path, body)

    assert kept.status in (204, 207)
    assert present == 2
    assert history == [1, 2]
    assert (await api("GET", f"/entities/{ID}?options=simplified")).body["speed"] == 1
