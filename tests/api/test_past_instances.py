"""Past instances go in and out as lines (an extension)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession

from broker.client import Client
from tests.support.api import Answered, Api
from tests.support.builders import entity, prop

PATH = "/temporal/instances"
ID = "urn:ngsi-ld:Sensor:1"
NDJSON = "application/x-ndjson"
CSV = "text/csv"
MEDIA = [NDJSON, CSV]
HEADER = "entityId,entityType,attribute,observedAt,value"


def at(minute: int) -> str:
    return f"2026-05-01T10:{minute:02}:00Z"


def row(minute: int, value: Any, **members: Any) -> dict[str, Any]:
    return {
        "entityId": ID,
        "entityType": "Sensor",
        "attribute": "speed",
        "type": "Property",
        "observedAt": at(minute),
        "value": value,
        **members,
    }


async def take(api: Api, lines: list[Any], media_type: str = NDJSON) -> Answered:
    """Import rows, or lines of text as they stand."""
    texts = [
        line if isinstance(line, str) else msgspec.json.encode(line).decode() for line in lines
    ]
    raw = "".join(text + "\n" for text in texts).encode(errors="surrogateescape")
    return await api("POST", PATH, raw=raw, headers={"Content-Type": media_type})


async def values(api: Api) -> Any:
    found = await api("GET", f"/temporal/entities/{ID}?options=temporalValues")
    return found.body["speed"]["values"]


async def test_lines_are_imported_each_for_itself(api: Api) -> None:
    bad = row(3, 4)
    del bad["observedAt"]

    answer = await take(api, [row(0, 1), "", "{", row(1, 2), bad, "[]"])

    assert answer.status == 207
    assert (answer.body["imported"], answer.body["refused"]) == (2, 3)
    assert [(one["line"], one["detail"].split(":")[0]) for one in answer.body["errors"]] == [
        (3, "not JSON"), (6, "expected an object, got []"), (5, "observedAt"),
    ]  # fmt: skip
    assert await values(api) == [[1, at(0)], [2, at(1)]]


async def test_lines_that_come_again_change_nothing(api: Api) -> None:
    first = await take(api, [row(0, 1), row(1, 2)])
    again = await take(api, [row(1, 2), row(0, 1)])

    assert (first.status, again.status) == (200, 200)
    assert await values(api) == [[1, at(0)], [2, at(1)]]


async def test_an_import_leaves_the_present_as_it_is(api: Api) -> None:
    await api.create(entity(1, speed=prop(9, observedAt=at(30))))

    await take(api, [row(0, 1), row(59, 2)])

    assert (await api("GET", f"/entities/{ID}?options=simplified")).body["speed"] == 9
    assert [value for value, _ in await values(api)] == [1, 9, 2]


async def test_csv_has_numbers_texts_and_json(api: Api) -> None:
    lines = [HEADER] + [
        f"{ID},Sensor,speed,{at(minute)},{cell}"
        for minute, cell in enumerate(["1.5", "fast", '"{""a"": [1]}"', '"""12"""', '"a, b"'])
    ]

    answer = await take(api, lines, CSV)

    assert answer.body == {"imported": 5, "refused": 0, "errors": []}
    assert [value for value, _ in await values(api)] == [1.5, "fast", {"a": [1]}, "12", "a, b"]


async def test_a_line_of_csv_that_is_wrong_is_named(api: Api) -> None:
    lines = [HEADER, f"{ID},Sensor,speed,{at(0)}", f"{ID},Sensor,speed,soon,1", f"x,S,s,{at(0)},1"]

    answer = await take(api, lines, CSV)

    assert [(one["line"], one["detail"].split(" ")[0]) for one in answer.body["errors"]] == [
        (2, "expected"), (3, "speed.observedAt:"), (4, "entityId:"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("bad", "behind", "told"),
    [
        (b"\xff", 1, "can't decode"),
        (b'"' + b"x" * 2_000_000, 0, "too long; nothing behind it was read"),
    ],
    ids=["no text", "too long"],
)
async def test_what_stands_before_a_line_that_cannot_be_read_is_taken(
    api: Api, bad: bytes, behind: int, told: str
) -> None:
    lines = [msgspec.json.encode(row(minute, minute)) for minute in range(5)]
    body = b"\n".join([*lines[:4], bad, lines[4]])

    answer = await api("POST", PATH, raw=body, headers={"Content-Type": NDJSON})

    assert (answer.status, answer.body["imported"]) == (207, 4 + behind)
    [error] = answer.body["errors"]
    assert error["line"] == 5
    assert told in error["detail"]


@pytest.mark.parametrize(
    ("lines", "media_type", "status", "named"),
    [
        (["entityId,value"], CSV, 400, "entityType, attribute, observedAt"),
        ([HEADER + ",value"], CSV, 400, "once"),
        ([], CSV, 400, "columns"),
        (["x" * 2_000_000], CSV, 400, "too long"),
        (["\udcff"], CSV, 400, "utf-8"),
    ],
    ids=["no columns", "a column twice", "nothing", "too long a header", "no text"],
)
async def test_a_file_that_is_wrong_is_refused(
    api: Api, lines: list[Any], media_type: str, status: int, named: str
) -> None:
    answer = await take(api, lines, media_type)

    assert answer.status == status
    assert named in answer.detail


async def test_a_file_of_another_media_type_is_refused(api: Api) -> None:
    answer = await take(api, [row(0, 1)], "application/json")

    assert (answer.status, answer.headers["Accept"]) == (415, f"{NDJSON}, {CSV}")


async def test_more_than_a_body_may_have_is_taken_as_it_comes(api: Api) -> None:
    rows = [row(0, "x" * 5000, datasetId=f"urn:d:{number}") for number in range(3000)]

    async def sent() -> AsyncIterator[bytes]:
        for one in rows:
            yield msgspec.json.encode(one) + b"\n"

    url = f"{api.url}/ngsi-ld/v1{PATH}"
    async with (
        ClientSession() as session,
        session.post(url, data=sent(), headers={"Content-Type": NDJSON}) as answer,
    ):
        assert (await answer.json())["imported"] == 3000


@pytest.mark.parametrize("media_type", MEDIA)
async def test_what_is_exported_can_be_imported(api: Api, media_type: str) -> None:
    kinds: dict[str, Any] = {
        "speed": [prop(1, observedAt=at(0), unitCode="KMH"), prop(2.5, observedAt=at(1))],
        "name": [
            prop("12", observedAt=at(0)),
            prop('a"b,c', observedAt=at(1), datasetId="urn:d:1"),
        ],
        "near": [{"type": "Relationship", "object": "urn:a:1", "observedAt": at(0)}],
        "place": [
            {
                "type": "GeoProperty",
                "value": {"type": "Point", "coordinates": [1.5, 2]},
                "observedAt": at(0),
            }
        ],
        "title": [{"type": "LanguageProperty", "languageMap": {"en": "x"}, "observedAt": at(0)}],
        "list": [{"type": "ListProperty", "valueList": [1, "b"], "observedAt": at(0)}],
    }
    await api("POST", "/temporal/entities", entity(1, type=["Sensor", "Thing"], **kinds))

    async with ClientSession() as session:
        client = Client(session, api.url)
        other = Client(session, api.url, tenant="other")
        lines = [line async for line in client.lines(f"{PATH}?type=Sensor", media_type)]
        taken = await other.send_lines(PATH, b"".join(lines), media_type)

        copied = await other.request("GET", f"/temporal/entities/{ID}")

    assert taken == {"imported": 8, "refused": 0, "errors": []}
    assert _without_ids(copied) == _without_ids((await api("GET", f"/temporal/entities/{ID}")).body)


def _without_ids(history: dict[str, Any]) -> dict[str, Any]:
    return {
        name: [{**one, "instanceId": ""} for one in instances] if name != "type" else instances
        for name, instances in history.items()
        if isinstance(instances, list)
    }


@pytest.mark.parametrize("query", ["q=speed>1", "type=Sensor&georel=near", "lastN=1"])
async def test_an_export_refuses_what_it_does_not_look_at(api: Api, query: str) -> None:
    assert (await api("GET", f"{PATH}?{query}")).status == 400


async def test_an_export_is_of_what_is_asked_for(api: Api) -> None:
    await take(api, [row(0, 1), row(1, 2), row(2, 3), row(1, 5, attribute="level")])

    window = f"timerel=between&timeAt={at(1)}&endTimeAt={at(2)}"
    async with ClientSession() as session:
        path = f"{PATH}?type=Sensor&attrs=speed&{window}"
        lines = [line async for line in Client(session, api.url).lines(path, NDJSON)]

    assert [msgspec.json.decode(line) for line in lines] == [row(1, 2)]
