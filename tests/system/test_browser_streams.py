"""A page in a real browser reads a stream, loses its link, and resumes without a gap (P17)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

from tests.support.api import ROOT, Api
from tests.support.builders import entity, prop
from tests.support.chromium import needs_chromium, showing
from tests.support.eventually import eventually
from tests.support.http import serving
from tests.support.relay import relaying
from tests.support.serve import running_broker

pytestmark = [pytest.mark.system, needs_chromium]

ROAD = "urn:ngsi-ld:Road:7"
NOTE = """
const seen = [];
function note(what) {
  seen.push(what);
  fetch("seen", {method: "POST", body: JSON.stringify(seen)});
}
function speed(notification) { note(notification.data[0].speed.value); }
"""
EVENT_SOURCE = """
const source = new EventSource(URL);
source.onmessage = (event) => speed(JSON.parse(event.data));
source.addEventListener("gap", () => note("gap"));
source.addEventListener("ready", () => note("ready"));
"""
WEB_SOCKET = """
let last = "";
function open() {
  const socket = new WebSocket(URL.replace("http", "ws") + "&lastEventId=" + last);
  socket.onmessage = (message) => {
    const event = JSON.parse(message.data);
    last = event.id ?? last;
    if (event.event === "notification") speed(event.data); else note(event.event);
  };
  socket.onclose = () => setTimeout(open, 50);
}
open();
"""


class Page:
    """A page that tells what it sees."""

    def __init__(self) -> None:
        self.script = ""
        self.seen: list[Any] = []

    def app(self) -> web.Application:
        """Return what serves it."""
        app = web.Application()
        app.router.add_get("/page", self._show)
        app.router.add_post("/seen", self._take)
        return app

    async def has_seen(self, what: list[Any]) -> None:
        """Wait until the page has seen this, in this order, beside beginnings of streams."""
        await eventually(lambda: [one for one in self.seen if one != "ready"] == what)

    async def _show(self, _: web.Request) -> web.Response:
        text = f"<!doctype html><title>roads</title><script>{self.script}</script>"
        return web.Response(text=text, content_type="text/html")

    async def _take(self, request: web.Request) -> web.Response:
        told = await request.json()
        self.seen = max(self.seen, told, key=len)  # two may overtake each other
        return web.Response(status=204)


@pytest.mark.parametrize("way", [EVENT_SOURCE, WEB_SOCKET], ids=["EventSource", "WebSocket"])
async def test_a_page_that_loses_its_link_misses_nothing(tmp_path: Path, way: str) -> None:
    page = Page()
    async with (
        serving({"/roads": page.app()}) as origin,
        running_broker(tmp_path / "data", cors_origins=origin) as broker,
        relaying(broker.url) as link,
        ClientSession() as session,
    ):
        api = Api(session, broker.url)
        await api.create(entity(7, "Road", speed=prop(0)))
        page.script = f'const URL = "{link.url}{ROOT}/stream?type=Road";{NOTE}{way}'

        async def drive(*speeds: int) -> None:
            for speed in speeds:
                await api("PATCH", f"/entities/{ROAD}/attrs", {"speed": prop(speed)})

        async with showing(f"{origin}/roads/page", tmp_path / "profile"):
            await eventually(lambda: page.seen == ["ready"])
            await drive(10, 20)
            await page.has_seen([10, 20])
            link.cut()
            await drive(30, 40)
            await page.has_seen([10, 20, 30, 40])
            link.cut()
            await drive(50)
            await page.has_seen([10, 20, 30, 40, 50])

    assert page.seen.count("ready") == 3
