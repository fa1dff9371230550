"""The waiting rooms over HTTP: who waits, and letting them in (extensions below `/iot/waiting`)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import translate
from typing import Any, Final

import msgspec
from aiohttp import web

from iot_agents.common.device import Device, read
from iot_agents.common.inspection import readable
from iot_agents.common.measure import NotDurable
from iot_agents.common.pipeline import Outlets, Pipeline
from iot_agents.common.provisioning_checks import Checks
from iot_agents.common.provisioning_errors import BadRequest, DeviceNotFound, MismatchedService
from iot_agents.common.provisioning_requests import Place, body_of, page_of, place_of
from iot_agents.common.recognition import Caller
from iot_agents.common.registry import Registry
from iot_agents.common.registry_rows import AmbiguousDevice
from iot_agents.common.spool import SpoolFull
from iot_agents.common.waiting_room import WaitingDevice

_MOST: Final = 100_000
_LONGEST_PATTERN: Final = 256
_ID: Final = "{device_id}"


class _Wish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who shall come in, and as what.

    Attributes:
        pattern: of ids; `*` stands for any characters and `?` for one.
        device: members of each device that is made, as for `POST /iot/devices`.
    """

    device_id: str = ""
    pattern: str = ""
    protocol: str = ""
    device: dict[str, Any] = {}
    dry_run: bool = msgspec.field(default=False, name="dryRun")


class Admission:
    """Handlers over the waiting rooms of all agents of a process."""

    def __init__(
        self,
        registry: Registry,
        checks: Checks,
        outlets: Mapping[str, Outlets],
        pipelines: Mapping[str, Pipeline],
    ) -> None:
        """Bind the handlers; outlets and pipelines are by agent."""
        self._registry = registry
        self._checks = checks
        self._outlets = outlets
        self._pipelines = pipelines

    def routes(self) -> Sequence[web.RouteDef]:
        """Return what belongs under `/iot`."""
        return (
            web.get("/waiting", self.waiting),
            web.post("/waiting/accept", self.accept),
            web.delete("/waiting", self.purge),
            web.delete("/waiting/{device_id}", self.forget),
        )

    async def waiting(self, request: web.Request) -> web.Response:
        """Return the devices of which measures wait, each with its newest message."""
        page = page_of(request)
        found = await self._chosen(_wish_of(request))
        shown = [
            {
                "agent": agent,
                "protocol": device.who.protocol,
                "device_id": device.who.device_id,
                "apikey": device.who.apikey,
                "measures": device.measures,
                "first": device.first,
                "last": device.last,
                "topic": device.topic,
                "reason": device.reason,
                "kind": device.kind,
                "payload": readable(device.payload),
            }
            for agent, device in found[page.offset : page.offset + page.limit]
        ]
        return web.json_response({"count": len(found), "devices": shown})

    async def accept(self, request: web.Request) -> web.Response:
        """Provision devices that wait, all or none, and let their measures go on.

        A device that is provisioned already, or provisioned and without a fitting mapping until
        now, only has its measures let out.
        """
        place = place_of(request)
        wish = read(await body_of(request), _Wish, "body")
        if not wish.device_id and not wish.pattern:
            raise BadRequest("body: one of device_id and pattern is needed")
        chosen = await self._chosen(wish)
        if not chosen:
            raise DeviceNotFound(f"nothing waits of {wish.device_id or wish.pattern!r:.80}")
        new = await self._new(chosen, wish, place)
        waiting = sum(device.measures for _, device in chosen)
        answer: dict[str, Any] = {
            "dryRun": wish.dry_run,
            "created": [device.device_id for device in new],
            "devices": [device.who.device_id for _, device in chosen],
        }
        if wish.dry_run:
            return web.json_response({**answer, "replayed": 0, "waiting": waiting})
        await self._registry.add_devices(new)
        replayed, trouble = await self._let_out(chosen)
        answer |= {"replayed": replayed, "waiting": max(0, waiting - replayed)}
        return web.json_response({**answer, "trouble": trouble} if trouble else answer)

    async def purge(self, request: web.Request) -> web.Response:
        """Remove what waits, of all devices or of those that a pattern names."""
        removed = await self._forget(await self._chosen(_wish_of(request)))
        return web.json_response({"purged": removed})

    async def forget(self, request: web.Request) -> web.Response:
        """Remove what waits of a device."""
        device_id = request.match_info["device_id"]
        if not await self._forget(await self._chosen(_Wish(device_id=device_id))):
            raise DeviceNotFound(f"nothing waits of {device_id!r:.80}")
        return web.Response(status=204)

    async def _chosen(self, wish: _Wish) -> list[tuple[str, WaitingDevice]]:
        if len(wish.pattern) > _LONGEST_PATTERN:
            raise BadRequest(f"pattern: longer than {_LONGEST_PATTERN} characters")
        pattern = re.compile(translate(wish.pattern or "*"))
        return [
            (agent, device)
            for agent, outlets in self._outlets.items()
            for device in await outlets.waiting.devices(_MOST)
            if wish.device_id in ("", device.who.device_id)
            and wish.protocol in ("", device.who.protocol)
            and pattern.match(device.who.device_id)
        ]

    async def _new(
        self, chosen: Sequence[tuple[str, WaitingDevice]], wish: _Wish, place: Place
    ) -> Sequence[Device]:
        unknown = [device for _, device in chosen if not await self._is_known(device, place)]
        name = wish.device.get("entity_name")
        if len(unknown) > 1 and isinstance(name, str) and _ID not in name:
            raise BadRequest(f"device.entity_name: several devices need {_ID} in it")
        made = await asyncio.to_thread(lambda: list(self._made(unknown, wish, place)))
        return list({device.identity: device for device in made}.values())

    async def _is_known(self, device: WaitingDevice, place: Place) -> bool:
        try:
            known = await self._registry.recognize(Caller(device.who.device_id, device.who.apikey))
        except DeviceNotFound:
            return False
        except AmbiguousDevice as error:
            raise BadRequest(str(error)) from error
        if (known.device.service, known.device.service_path) != (place.service, place.path):
            raise MismatchedService(
                f"device {device.who.device_id!r:.80} is provisioned in another service or path"
            )
        return True

    def _made(
        self, unknown: Sequence[WaitingDevice], wish: _Wish, place: Place
    ) -> Iterator[Device]:
        for waiting in unknown:
            own: dict[str, Any] = {"device_id": waiting.who.device_id}
            if waiting.who.apikey:
                own["apikey"] = waiting.who.apikey
            if isinstance(name := wish.device.get("entity_name"), str):
                own["entity_name"] = name.replace(_ID, waiting.who.device_id)
            yield self._checks.device({**wish.device, **own}, place, "device")

    async def _let_out(self, chosen: Sequence[tuple[str, WaitingDevice]]) -> tuple[int, str]:
        replayed = 0
        for agent, device in chosen:
            pipeline = self._pipelines.get(agent)
            try:
                if pipeline is not None:
                    replayed += await pipeline.let_out(device.who, unknown_only=False)
            except (AmbiguousDevice, SpoolFull, NotDurable) as error:
                # They go on with the device's next measure, or with the next start.
                return replayed, str(error)
        return replayed, ""

    async def _forget(self, chosen: Sequence[tuple[str, WaitingDevice]]) -> int:
        return sum(
            [
                await outlets.waiting.forget(
                    [device.who for name, device in chosen if name == agent]
                )
                for agent, outlets in self._outlets.items()
            ]
        )


def _wish_of(request: web.Request) -> _Wish:
    query = request.query
    return _Wish(
        device_id=query.get("device_id", ""),
        pattern=query.get("pattern", ""),
        protocol=query.get("protocol", ""),
    )
