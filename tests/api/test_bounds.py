"""Every input is bounded, and no error says more than it should (promises P46–P50, P58)."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest
from aiohttp import ClientSession

from tests.support.api import Api
from tests.support.builders import entity, point, prop
from tests.support.serve import running_broker

LETTERS = "a" * 30_000
THING = "urn:ngsi-ld:Thing:1"
RING = [[0, 0], [1, 0], [1, 1], [0, 0]]


def whole(attributes: str) -> bytes:
    """Return an entity with attributes written out, to say what a dict cannot."""
    return b'{"id":"urn:ngsi-ld:Thing:1","type":"Thing",' + attributes.encode() + b"}"


def nested(start: str, end: str, times: int, inner: str = "1") -> str:
    return '"a":' + start * times + inner + end * times


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (whole(nested("[", "]", 100)), "nested deeper than 64"),
        (whole(nested('{"b":', "}", 100)), "nested deeper than 64"),
        (whole(nested('{"value":1,"b":', "}", 20)), "nested deeper than 16"),
        (b"[" * 100_000, "not JSON"),
        (whole(",".join(f'"a{n}":1' for n in range(1001))), "more than 1000"),
        (whole('"a":{"value":1,' + ",".join(f'"b{n}":1' for n in range(1001)) + "}"), "1000"),
        (whole('"a":{"object":["urn:x:1"' + ',"urn:x:1"' * 10_000 + "]}"), "10000"),
        (whole(f'"{"a" * 257}":1'), "longer than 256"),
        (whole('"a":NaN'), "not JSON"),
        (whole('"a":-Infinity'), "not JSON"),
        (whole('"a":1e999'), "not JSON"),
        (b'{"id":"urn:ngsi-ld:Thing:1","type":"Thing","a":"\xff"}', "not JSON"),
        (whole('"a":"\\ud800"'), "not JSON"),
        (b"", "not JSON"),
    ],
    ids=[
        "arrays", "objects", "sub-attributes", "brackets", "attributes", "parts", "objects of one",
        "name", "NaN", "infinity", "too large a number", "no UTF-8", "half a character", "nothing",
    ],
)  # fmt: skip
async def test_a_body_beyond_the_bounds_is_refused(api: Api, body: bytes, says: str) -> None:
    answered = await api("POST", "/entities", raw=body)

    assert answered.status == 400
    assert says in answered.detail
    assert len(answered.detail) < 1000


@pytest.mark.parametrize("sign", ["", "-"])
async def test_a_whole_number_beyond_all_floats_is_kept_and_found(api: Api, sign: str) -> None:
    number = int(sign + "9" * 400)

    created = await api("POST", "/entities", raw=whole(f'"a":{number},"b":{{"c":[{number}]}}'))
    found = await api("GET", f"/entities?type=Thing&q=a{'<' if sign else '>'}0&options=keyValues")

    assert created.status == 201
    assert found.body[0]["a"] == number


async def test_a_body_that_is_not_packed_as_it_says_is_refused(api: Api) -> None:
    packed = {"Content-Encoding": "gzip"}

    answered = await api("POST", "/entities", raw=b"junk" * 9, headers=packed)

    assert answered.status == 400
    assert "gzip" in answered.detail


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+$", "(a|a)*$", "(a|aa)+$", "(.*a){20}$", "^(([a-z])+.)+[A-Z]$", "(a*)*b", "a*a*a*a*a*b"],
)
async def test_a_pattern_that_stalls_others_is_answered(api: Api, pattern: str) -> None:
    await api.create(entity(1, "Thing", name=prop(LETTERS + "!")))

    by_value = await api("GET", f"/entities?type=Thing&q={quote(f'name~={pattern}', safe='')}")
    by_id = await api("GET", f"/entities?type=Thing&idPattern={quote(pattern, safe='')}")

    assert (by_value.status, by_id.status) == (200, 200)


@pytest.mark.parametrize(
    ("geometry", "status"),
    [
        ({"type": "Polygon", "coordinates": [RING] * 20_000}, 400),
        ({"type": "MultiPolygon", "coordinates": [[RING]] * 20_000}, 400),
        ({"type": "LineString", "coordinates": [[0, 0], [1, 1]] * 30_000}, 400),
        ({"type": "Point", "coordinates": [181, 0]}, 400),
        ({"type": "Point", "coordinates": [1e300, 0]}, 400),
        ({"type": "Polygon", "coordinates": [[[0, 0], [10, 10], [0, 10], [10, 0], [0, 0]]]}, 201),
        ({"type": "Polygon", "coordinates": [[[0, 0]] * 4]}, 201),
    ],
    ids=["rings", "polygons", "a line", "longitude", "a large number", "crossing itself", "a dot"],
)
async def test_geometries_are_bounded_and_odd_ones_do_no_harm(
    api: Api, geometry: object, status: int
) -> None:
    created = await api("POST", "/entities", entity(1, "Thing", location={"value": geometry}))
    near = "georel=near;maxDistance==1000&geometry=Point&coordinates=[0,0]"
    found = await api("GET", f"/entities?type=Thing&{near}")

    assert (created.status, found.status) == (status, 200)


@pytest.mark.parametrize(
    ("query", "status", "says"),
    [
        ("join=inline&joinLevel=11", 400, "10"),
        ("limit=1001", 400, "1000"),
        (f"orderBy={','.join(f'a{n}' for n in range(17))}", 400, "16"),
        (f"q={'(' * 33}a{')' * 33}", 403, "32"),
        (f"q={'a{' * 33}b{'}' * 33}&join=flat&joinLevel=10", 403, "32"),
        (f"q={'|'.join(['a'] * 300)}", 403, "256"),
        (f"q=a~={'a' * 1001}", 403, "1000"),
        ("q=a~=" + quote(r"(\pL{30}){30}"), 400, "too large"),
        (f"scopeQ={'|'.join(['/a'] * 300)}", 403, "256"),
        (f"type={'|'.join(['A'] * 300)}", 403, "256"),
    ],
)
async def test_what_costs_too_much_is_refused_with_the_limit(
    api: Api, query: str, status: int, says: str
) -> None:
    answered = await api("GET", f"/entities?{'' if 'type=' in query else 'type=Thing&'}{query}")

    assert answered.status == status
    assert says in answered.detail


async def test_more_linked_entities_than_an_answer_holds_are_refused(api: Api) -> None:
    ids = [f"urn:ngsi-ld:Thing:{number}" for number in range(1, 1002)]
    things = [{"id": one, "type": "Thing"} for one in ids]
    await api("POST", "/entityOperations/create", things[:600])
    await api("POST", "/entityOperations/create", things[600:])
    await api.create(entity(1, "Hub", to={"object": ids}))

    answered = await api("GET", "/entities/urn:ngsi-ld:Hub:1?join=flat")

    assert answered.status == 403
    assert "1000" in answered.detail


@pytest.mark.parametrize(
    ("table", "method", "path"),
    [
        ("value", "PATCH", "/entities/urn:ngsi-ld:Thing:1"),
        ("entity", "GET", "/entities?type=Thing"),
    ],
    ids=["a write", "a read"],
)
async def test_what_nobody_foresaw_is_answered_with_a_reference_to_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, table: str, method: str, path: str
) -> None:
    async with running_broker(tmp_path) as broker, ClientSession() as session:
        api = Api(session, broker.url)
        await api.create(entity(1, "Thing", secret=prop("s3cr3t"), location=point(1, 1)))
        with sqlite3.connect(tmp_path / "broker.db") as connection:
            connection.execute(f"DROP TABLE {table}")

        with caplog.at_level(logging.ERROR):
            answered = await api(method, path, {"secret": "t0k3n"} if method == "PATCH" else None)

    assert answered.status == 500
    assert answered.body["reference"] in answered.detail
    assert answered.body["reference"] in caplog.text
    told = msgspec.json.encode({**answered.body, "type": ""}).decode().lower()
    assert not [word for word in ("traceback", "sqlite", "table", ".py", "/") if word in told]
    assert "s3cr3t" not in caplog.text
    assert "t0k3n" not in caplog.text
