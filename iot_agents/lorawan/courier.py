"""Commands to LoRaWAN devices: downlinks into their network servers' queues, by MQTT or HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import msgspec

from broker.egress import Egress, EgressFailed, EgressRefused
from iot_agents.common.codecs.catalogue import Codecs
from iot_agents.common.codecs.interface import BadCodec
from iot_agents.common.commands.desk import Desk
from iot_agents.common.commands.evaluating import Unwritable
from iot_agents.common.commands.model import (
    Command,
    CommandOutcome,
    Failed,
    NotNow,
    Sent,
    Unsure,
)
from iot_agents.common.decoding import DeviceCodec, NoSuchCodec
from iot_agents.common.device import for_lorawan
from iot_agents.common.mapping.model import Mappings
from iot_agents.common.mqtt_client import NotPublished, Publish, PublishInDoubt
from iot_agents.common.registry_rows import Known
from iot_agents.lorawan.downlink import Downlink, downlink_of
from iot_agents.lorawan.places import Place, Places, provisioned_place
from iot_agents.lorawan.queues import QUEUES, NotTaken, Queue
from iot_agents.lorawan.settings import DownlinkSettings
from iot_agents.lorawan.uplink import DownlinkReport, Fate

_ANSWER_BYTES: Final = 65_536
_OK: Final = range(200, 300)
_LATER: Final = (429, 503)
_BROKEN: Final = 500
_UNCONFIRMED: Final = "/unconfirmed"


class LorawanCourier:
    """Brings commands to devices and hears what became of them."""

    def __init__(
        self,
        settings: DownlinkSettings,
        places: Places,
        publish: Publish,
        egress: Egress,
        *,
        mappings: Mappings,
        codecs: Codecs,
    ) -> None:
        self._settings = settings
        self._places = places
        self._publish = publish
        self._egress = egress
        self._mappings = mappings
        self._codecs = codecs

    def serves(self, in_force: Mapping[str, Any]) -> bool:
        """Tell whether devices provisioned like this are for LoRaWAN."""
        return for_lorawan(in_force)

    async def send(self, command: Command) -> CommandOutcome:
        """Put a command into its network server's queue."""
        known = command.known
        dev_eui = known.device.hardware_id
        place = await self._place(dev_eui, known)
        if place is None:
            return NotNow("nothing tells where the device is: it has not sent anything yet")
        queue = QUEUES[place.format]
        try:
            device = DeviceCodec.of(known, self._mappings, self._codecs)
            downlink = await downlink_of(command, dev_eui, self._codec(device, known), device.variables)
            message = queue.message(downlink, place.application)
        except (Unwritable, NoSuchCodec, BadCodec, NotTaken) as error:
            return Failed(str(error))
        outcome = await self._deliver(queue, place, downlink, message)
        if outcome is not None:
            return outcome
        return Sent(queue.token(downlink) + ("" if downlink.confirmed else _UNCONFIRMED))

    async def _place(self, dev_eui: str, known: Known) -> Place | None:
        heard = await self._places.of(dev_eui)
        return heard or provisioned_place(dev_eui, known.internal("lorawan"))

    def _codec(self, device: DeviceCodec, known: Known) -> Any:
        if device.codec is not None:
            return device.codec
        mapping = self._mappings.get(str(known.internal("rigel").get("mapping", "")))
        return None if mapping is None else mapping.codec

    async def _deliver(
        self, queue: Queue, place: Place, downlink: Downlink, message: Mapping[str, Any]
    ) -> CommandOutcome | None:
        """Hand a message over; None when the network server has it."""
        url = self._settings.urls.get(place.format, "")
        told = place.replace if downlink.replace else place.push
        if not url and place.topic and (topic := queue.topic(place.topic, downlink)):
            return await self._by_mqtt(topic, message)
        if not url and not told:
            return Failed("nothing tells where its network server takes downlinks")
        target = _filled(url, place, downlink) if url else told
        key = self._settings.tokens.get(place.format, "") or self._places.key(downlink.dev_eui)
        return await self._by_http(target, queue, key, message)

    async def _by_mqtt(self, topic: str, message: Mapping[str, Any]) -> CommandOutcome | None:
        try:
            await self._publish(topic, msgspec.json.encode(message))
        except NotPublished as error:
            return NotNow(str(error))
        except PublishInDoubt as error:
            return Unsure(str(error))
        return None

    async def _by_http(
        self, url: str, queue: Queue, key: str, message: Mapping[str, Any]
    ) -> CommandOutcome | None:
        headers = {"Content-Type": "application/json"}
        if key:
            headers[queue.authorization] = f"Bearer {key}"
        try:
            answer = await self._egress.request(
                "POST",
                url,
                headers=headers,
                body=msgspec.json.encode(queue.body(message)),
                timeout=self._settings.timeout,
                max_bytes=_ANSWER_BYTES,
            )
        except EgressRefused as error:
            return Failed(str(error))
        except EgressFailed as error:
            unreachable = isinstance(error.__cause__, aiohttp.ClientConnectorError)
            return (NotNow if unreachable else Unsure)(str(error))
        return _judged(answer.status)


class DownlinkReports:
    """What network servers report of downlinks, told to the desk."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def tell(self, report: DownlinkReport) -> bool:
        """Note a report; False when no open command is meant.

        An unconfirmed downlink is done once it was sent, a confirmed one once it is acknowledged.

        Raises:
            sqlite3.Error: it could not be written.
        """
        tokens = report.tokens or (report.dev_eui,)
        for token in tokens:
            for job in self._jobs(report, token):
                if await job():
                    return True
        return False

    def _jobs(self, report: DownlinkReport, token: str) -> list[Callable[[], Any]]:
        desk, unconfirmed = self._desk, token + _UNCONFIRMED
        match report.fate:
            case Fate.SENT:
                text = "sent; the device was not asked to confirm it"
                return [lambda: desk.done(unconfirmed, text)]
            case Fate.ACKNOWLEDGED:
                return [lambda: desk.done(token, "the device confirmed it")]
            case Fate.FAILED:
                return [
                    lambda: desk.failed(token, report.reason),
                    lambda: desk.failed(unconfirmed, report.reason),
                ]
        return []


def _filled(url: str, place: Place, downlink: Downlink) -> str:
    """Return a URL with the downlink's parts in the places of their names in braces."""
    parts = {
        "dev_eui": downlink.dev_eui,
        "device": place.name,
        "application": place.application,
        "port": str(downlink.port),
        "hex": (downlink.data or b"").hex(),
        "confirmed": "true" if downlink.confirmed else "false",
        "mode": "replace" if downlink.replace else "push",
    }
    for name, value in parts.items():
        url = url.replace(f"{{{name}}}", quote(value, safe=""))
    return url


def _judged(status: int) -> CommandOutcome | None:
    if status in _OK:
        return None
    text = f"the network server answered {status}"
    if status in _LATER:
        return NotNow(text)
    return Unsure(text) if status >= _BROKEN else Failed(text)
