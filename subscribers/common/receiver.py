"""The HTTP side of the subscribers: notifications come in, readiness and metrics go out.

A notification is answered with a 2xx once what follows from it is durable; 503 asks the broker to
send it again, and so does 500.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

import msgspec
from aiohttp import web

from broker.core.errors import BadRequestData
from subscribers.common.intake import Intake, NotTaken, Overloaded
from subscribers.common.observations import Observation, read_entity

_log = logging.getLogger(__name__)
_RETRY_AFTER: Final = {"Retry-After": "1"}


Read = Callable[[Mapping[str, str]], Awaitable[Any]]
"""Returns what a GET is answered with, None for a 404; given the names in the path."""


@dataclass(frozen=True, slots=True)
class Inside:
    """What the handlers speak to.

    Attributes:
        intakes: by role.
        bindings: the pairs of role and binding that exist.
        reports: what else can be read, by path.
        problems: returns the reasons why not all is well.
        metrics: returns the metrics as Prometheus reads them.
    """

    intakes: Mapping[str, Intake]
    bindings: frozenset[tuple[str, str]]
    reports: Mapping[str, Read]
    problems: Callable[[], list[str]]
    metrics: Callable[[], Awaitable[bytes]]


INSIDE: Final = web.AppKey("inside", Inside)


class Notification(msgspec.Struct, frozen=True, rename="camel"):
    """What is read of a notification (clause 5.3.1)."""

    data: list[dict[str, Any]]
    id: str = ""
    subscription_id: str = ""


_DECODER: Final = msgspec.json.Decoder(Notification)


def build_app(inside: Inside, *, max_body: int) -> web.Application:
    """Make the application."""
    app = web.Application(client_max_size=max_body)
    app[INSIDE] = inside
    app.router.add_post("/notify/{role}/{binding}", _notify)
    app.router.add_get("/health", _health)
    app.router.add_get("/ready", _ready)
    app.router.add_get("/metrics", _metrics)
    app.router.add_get("/version", _about)
    for path, read in inside.reports.items():
        app.router.add_get(path, _report(read))
    return app


async def _notify(request: web.Request) -> web.Response:
    inside = request.app[INSIDE]
    role, binding = request.match_info["role"], request.match_info["binding"]
    if (role, binding) not in inside.bindings:
        return _problem(404, f"nothing here listens to {binding}")
    intake = inside.intakes[role]
    try:
        notification = _DECODER.decode(await request.read())
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        intake.counts["notifications", "invalid"] += 1
        return _problem(400, f"not a notification: {error}")
    try:
        await intake.take(binding, _observations(notification, intake))
    except Overloaded as error:
        intake.counts["notifications", "overloaded"] += 1
        return _problem(503, str(error), _RETRY_AFTER)
    except NotTaken as error:
        intake.counts["notifications", "failed"] += 1
        return _problem(503, str(error), _RETRY_AFTER)
    intake.counts["notifications", "taken"] += 1
    return web.Response(status=204)


def _observations(notification: Notification, intake: Intake) -> list[Observation]:
    """Read the entities; one that cannot be read would not be better when sent again."""
    observations = []
    for document in notification.data:
        try:
            observations.append(read_entity(document))
        except BadRequestData as error:
            intake.counts["observations", "invalid"] += 1
            _log.warning("%s: %s", notification.subscription_id, error)
    return observations


def _report(read: Read) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        found = await read(request.match_info)
        if found is None:
            return _problem(404, f"there is nothing at {request.path}")
        return web.Response(body=msgspec.json.encode(found), content_type="application/json")

    return answer


async def _health(_: web.Request) -> web.Response:
    return web.json_response({"status": "alive"})


async def _ready(request: web.Request) -> web.Response:
    reasons = request.app[INSIDE].problems()
    if reasons:
        return web.json_response({"status": "not ready", "reasons": reasons}, status=503)
    return web.json_response({"status": "ready"})


async def _about(_: web.Request) -> web.Response:
    return web.json_response({"name": "Rigel", "version": version("rigel")})


async def _metrics(request: web.Request) -> web.Response:
    text = await request.app[INSIDE].metrics()
    return web.Response(body=text, headers={"Content-Type": "text/plain; version=0.0.4"})


def _problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> web.Response:
    body = msgspec.json.encode({"type": "about:blank", "status": status, "detail": detail})
    return web.Response(
        status=status, body=body, headers=headers, content_type="application/problem+json"
    )
