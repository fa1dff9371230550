"""A charging point operator that answers pulls page by page and takes registrations."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

TIMESTAMP = "2026-03-01T07:00:00Z"


@dataclass
class Sender:
    """What it has and what it was asked.

    `tokens` are those it takes; `raw` wants them as they are. `page` is its largest page. While
    `failures` are left, a list is answered with the first of them. `link` changes next links.
    `answer` answers lists in its place, `offered` is what it says of its versions. `version` is the
    one it speaks; after a list's last page `listed` has its module.
    """

    url: str = ""
    tokens: set[str] = field(default_factory=set)
    raw: bool = False
    page: int = 2
    objects: dict[str, list[Any]] = field(default_factory=dict)
    failures: list[web.Response] = field(default_factory=list)
    link: str = ""
    answer: Callable[[web.Request], web.Response] | None = None
    offered: Any = ()
    version: str = "2.2.1"
    listed: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    asked: list[str] = field(default_factory=list)
    credentials: dict[str, Any] = field(default_factory=dict)

    def app(self) -> web.Application:
        """Return the application."""
        app = web.Application()
        app.router.add_get("/ocpi/versions", self.versions)
        app.router.add_get(f"/ocpi/{self.version}", self.details)
        app.router.add_post(f"/ocpi/{self.version}/credentials", self.register)
        app.router.add_get(f"/ocpi/cpo/{self.version}/{{module}}", self.list)
        app.router.add_get(f"/ocpi/cpo/{self.version}/{{module}}/{{id}}", self.one)
        return app

    async def versions(self, request: web.Request) -> web.Response:
        """Answer with an old version, a new one and one that nobody knows."""
        if self.offered != ():
            return self._answer(request, self.offered)
        known = ("2.1.1", "9") if self.version == "2.1.1" else ("2.1.1", self.version, "9")
        offered = [{"version": n, "url": f"{self.url}/ocpi/{n}"} for n in known]
        return self._answer(request, offered)

    async def details(self, request: web.Request) -> web.Response:
        """Answer with the endpoints."""
        role = {} if self.version == "2.1.1" else {"role": "SENDER"}
        modules = [
            {"identifier": m, **role, "url": f"{self.url}/ocpi/cpo/{self.version}/{m}"}
            for m in self.objects
        ]
        own = f"{self.url}/ocpi/{self.version}/credentials"
        modules.append({"identifier": "credentials", **role, "url": own})
        return self._answer(request, {"version": self.version, "endpoints": modules})

    async def register(self, request: web.Request) -> web.Response:
        """Take a registration; from then on only the new token counts."""
        if not self._lets_in(request):
            return web.Response(status=401)
        self.credentials = await request.json()
        self.tokens = {"C-secret"}
        data = {
            "token": "C-secret",
            "url": f"{self.url}/ocpi/versions",
            "roles": [{"role": "CPO", "party_id": "MOB", "country_code": "ES"}],
        }
        return _envelope(data)

    async def list(self, request: web.Request) -> web.Response:
        """Answer with a page of what changed since `date_from`."""
        self.asked.append(request.path_qs)
        if self.failures:
            return self.failures.pop(0)
        if self.answer is not None:
            return self.answer(request)
        since = request.query.get("date_from", "")
        found = [o for o in self.objects[request.match_info["module"]] if _moment(o) >= since]
        first = int(request.query["offset"])
        last = first + min(int(request.query["limit"]), self.page)
        answer = self._answer(request, found[first:last])
        answer.headers["X-Total-Count"] = str(len(found))
        if last < len(found):
            following = request.url.update_query(offset=str(last))
            answer.headers["Link"] = f'<{self.link or following}>; rel="next"'
        else:
            self.listed.put_nowait(request.match_info["module"])
        return answer

    async def one(self, request: web.Request) -> web.Response:
        """Answer with one object."""
        self.asked.append(request.path_qs)
        named = request.match_info
        found = [o for o in self.objects[named["module"]] if o["id"] == named["id"]]
        return self._answer(request, found[0]) if found else web.Response(status=404)

    def _answer(self, request: web.Request, data: Any) -> web.Response:
        return _envelope(data) if self._lets_in(request) else web.Response(status=401)

    def _lets_in(self, request: web.Request) -> bool:
        _, _, given = request.headers["Authorization"].partition(" ")
        token = given if self.raw else base64.b64decode(given + "==").decode(errors="replace")
        return token in self.tokens


def _moment(document: Any) -> str:
    return str(document.get("last_updated", "9")) if isinstance(document, dict) else "9"


def _envelope(data: Any) -> web.Response:
    return web.json_response({"data": data, "status_code": 1000, "timestamp": TIMESTAMP})


@asynccontextmanager
async def ocpi_sender(**given: Any) -> AsyncIterator[Sender]:
    """Run an operator for the time of a test."""
    sender = Sender(**given)
    runner = web.AppRunner(sender.app())
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        sender.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield sender
    finally:
        await runner.cleanup()
