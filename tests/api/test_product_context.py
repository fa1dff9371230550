"""The @context that the platform ships is served at its own address, and meant by it."""

from __future__ import annotations

from pathlib import Path

from aiohttp import ClientSession

from broker.server import serve
from broker.settings import Settings
from smart_data_models.context import CONTEXT_PATH, product_context
from tests.support.api import Api
from tests.support.builders import prop
from tests.support.serve import running


async def test_the_product_context_is_served_and_known_without_a_fetch(tmp_path: Path) -> None:
    url = "https://city.example" + CONTEXT_PATH
    settings = Settings(data_dir=tmp_path, port=0, context_fetch=False)
    link = {"Link": f'<{url}>; rel="http://www.w3.org/ns/json-ld#context"'}
    spot = {
        "id": "urn:ngsi-ld:ParkingSpot:1",
        "type": "ParkingSpot",
        "category": prop(["onStreet"]),
    }

    async with (
        running(serve(settings, bundled={url: product_context()})) as broker,
        ClientSession() as session,
    ):
        api = Api(session, broker.url)
        async with session.get(broker.url + CONTEXT_PATH) as served:
            document = await served.json(content_type="application/ld+json")
        created = await api("POST", "/entities", spot, headers=link)
        named = await api("GET", "/entities/urn:ngsi-ld:ParkingSpot:1", headers=link)
        full = await api("GET", "/entities/urn:ngsi-ld:ParkingSpot:1")

    assert document == product_context()
    assert (created.status, named.body["category"]) == (201, prop(["onStreet"]))
    assert "https://smartdatamodels.org/dataModel.Parking/category" in full.body
