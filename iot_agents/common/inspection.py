"""What an operator can look at: the dead letters, and what runs."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import msgspec
from aiohttp import web

from iot_agents.common.nesting import MAX_DEPTH, deeper_than
from iot_agents.common.pipeline import Outlets


class Inspection:
    """Handlers over the outlets of all agents of a process."""

    def __init__(self, outlets: Mapping[str, Outlets]) -> None:
        """Bind the handlers to the outlets, by agent."""
        self._outlets = outlets

    def routes(self) -> Sequence[web.RouteDef]:
        """Return what belongs under `/iot`."""
        return (
            web.get("/about", self.about),
            web.get("/dead-letters", self.dead_letters),
        )

    async def about(self, request: web.Request) -> web.Response:
        """Return the version as the FIWARE agents do."""
        installed = version("rigel")
        return web.json_response(
            {
                "libVersion": installed,
                "version": installed,
                "port": str(request.url.port or ""),
                "baseRoot": "/",
                "agents": sorted(self._outlets),
            }
        )

    async def dead_letters(self, _: web.Request) -> web.Response:
        """Return the newest messages and entities that could not be used, with the reason."""
        letters = [
            {
                "agent": agent,
                "tenant": letter.tenant,
                "device": letter.device,
                "at": letter.at,
                "kind": letter.kind,
                "reason": letter.reason,
                "payload": readable(letter.payload),
            }
            for agent, outlets in self._outlets.items()
            for letter in await outlets.dead_letters.newest()
        ]
        count = sum([await outlets.dead_letters.count() for outlets in self._outlets.values()])
        return web.json_response({"count": count, "deadLetters": letters})


def readable(payload: bytes) -> Any:
    """Return a payload as JSON where it is JSON, otherwise in base64."""
    try:
        document = msgspec.json.decode(payload)
    except (msgspec.DecodeError, RecursionError):
        document = None
    if document is None or deeper_than(MAX_DEPTH, document):
        return {"base64": base64.b64encode(payload).decode()}
    return document
