"""Whatever is sent, the broker answers for itself: no 5xx, and it goes on (promise P46)."""

from __future__ import annotations

import string
from pathlib import Path
from urllib.parse import quote

import msgspec
from aiohttp import ClientSession
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.api import Api
from tests.support.builders import entity, prop
from tests.support.serve import running_broker

WORDS = [
    "id",
    "type",
    "value",
    "object",
    "languageMap",
    "vocab",
    "json",
    "valueList",
    "objectList",
    "observedAt",
    "unitCode",
    "datasetId",
    "coordinates",
    "scope",
    "@context",
    "expiresAt",
    "location",
    "entities",
    "notification",
    "endpoint",
    "uri",
    "q",
]
TEXTS = ["Property", "Relationship", "GeoProperty", "urn:ngsi-ld:null", "urn:x:1", "@none", "Point"]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(TEXTS),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=8), inner, max_size=5)
    ),
    max_leaves=25,
)
LETTERS = string.ascii_letters + string.digits + ";|()<>=!~.,[]{}\"'^$*+-: &#%\r\n\0\u00e9\u202e"
QUERY_TEXT = st.text(st.sampled_from(LETTERS), max_size=40)
ENDPOINTS = st.sampled_from(
    [
        ("POST", "/entities"),
        ("POST", "/entityOperations/upsert"),
        ("POST", "/entityOperations/merge"),
        ("POST", "/entityOperations/query"),
        ("PATCH", "/entities/urn:ngsi-ld:Sensor:1"),
        ("PATCH", "/entities/urn:ngsi-ld:Sensor:1/attrs"),
        ("PATCH", "/entities/urn:ngsi-ld:Sensor:1/attrs/temperature"),
        ("POST", "/subscriptions"),
        ("POST", "/jsonldContexts"),
    ]
)
PARAMETERS = st.sampled_from([
    "q", "scopeQ", "type", "orderBy", "idPattern", "pick", "omit", "coordinates", "georel",
    "geometry", "lang", "datasetId", "limit", "offset", "join", "joinLevel",
])  # fmt: skip


async def test_no_body_and_no_query_makes_the_broker_fail(tmp_path: Path) -> None:
    async with running_broker(tmp_path) as broker, ClientSession() as session:
        api = Api(session, broker.url)
        await api.create(entity(temperature=prop(1)))

        for method, path, raw in _bodies():
            assert (await api(method, path, raw=raw)).status < 500, (method, path, raw)
        for query in _queries():
            assert (await api("GET", f"/entities?{query}")).status < 500, query

        assert (await api("GET", "/entities?type=Sensor")).status == 200


def _bodies() -> list[tuple[str, str, bytes]]:
    """Return requests drawn at random; the draw is over before anything is sent."""
    found: list[tuple[str, str, bytes]] = []

    @settings(max_examples=400, database=None, suppress_health_check=list(HealthCheck))
    @given(ENDPOINTS, VALUES, st.booleans())
    def draw(endpoint: tuple[str, str], value: object, as_list: bool) -> None:  # noqa: FBT001
        body = msgspec.json.encode([value] if as_list else value)
        found.append((*endpoint, body))

    draw()
    return found


def _queries() -> list[str]:
    found: list[str] = []

    @settings(max_examples=400, database=None, suppress_health_check=list(HealthCheck))
    @given(st.dictionaries(PARAMETERS, QUERY_TEXT, min_size=1, max_size=3))
    def draw(parameters: dict[str, str]) -> None:
        found.append("&".join(f"{name}={quote(text)}" for name, text in parameters.items()))

    draw()
    return found
