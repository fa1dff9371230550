"""Cross-origin requests from browsers: the headers are made once, not per request."""

from __future__ import annotations

from aiohttp import web

_EXPOSED = "Link, Location, NGSILD-Results-Count, NGSILD-Tenant, NGSILD-Warning, ETag"


class Cors:
    """Which origins may call.

    Attributes:
        origins: the origins; `*` is any, none turns the headers off.
    """

    def __init__(self, origins: str) -> None:
        self.origins = frozenset(part.strip() for part in origins.split(",") if part.strip())

    def allow(self, request: web.Request, response: web.StreamResponse) -> None:
        """Let the browser read an answer, if its page's origin is among those allowed."""
        origin = request.headers.get("Origin")
        if origin is None:
            return
        if "*" in self.origins:
            response.headers["Access-Control-Allow-Origin"] = "*"
        elif origin in self.origins:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers.add("Vary", "Origin")
        else:
            return
        response.headers["Access-Control-Expose-Headers"] = _EXPOSED

    def options(self, request: web.Request, allow: str) -> web.Response:
        """Answer OPTIONS, also as the preflight of a browser."""
        response = web.Response(status=204, headers={"Allow": allow})
        self.allow(request, response)
        if "Access-Control-Allow-Origin" in response.headers:
            response.headers["Access-Control-Allow-Methods"] = allow
            wanted = request.headers.get("Access-Control-Request-Headers")
            if wanted is not None:
                response.headers["Access-Control-Allow-Headers"] = wanted
            response.headers["Access-Control-Max-Age"] = "3600"
        return response
