"""Commands to LoRaWAN devices: downlinks into their network servers' queues, by MQTT or HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote, urlsplit

import aiohttp
import msgspec

from broker.core.timestamps import format_timestamp
from broker.egress import Answer, Egress, EgressFailed, EgressRefused
from iot_agents.common.codecs.catalogue import Codecs
from iot_agents.common.codecs.interface import BadCodec
from iot_agents.common.commands.evaluating import Unwritable
from iot_agents.common.commands.model import (
    Command,
    CommandOutcome,
    Failed,
    Label,
    NotNow,
    Sent,
    SetLabel,
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
from iot_agents.lorawan.settings import PARTS, DownlinkSettings

_ANSWER_BYTES: Final = 65_536
_OK: Final = range(200, 300)
_LATER: Final = (429, 503)
_BROKEN: Final = 500
_NOT_IN_A_TOPIC: Final = frozenset("/#+\0")


@dataclass(frozen=True, slots=True)
class _Message:
    """A downlink in the words of the network server that is to take it."""

    place: Place
    queue: Queue
    downlink: Downlink
    content: Mapping[str, Any]
    set_label: SetLabel

    async def name(self, handle: str) -> None:
        """Note what the network server will call it."""
        await self.set_label(Label(self.downlink.dev_eui, handle, self.downlink.confirmed))

    def sent(self) -> Sent:
        """Return what the desk is told once the network server has it."""
        return Sent(replaced=self.downlink.replace)


class LorawanCourier:
    """Brings commands to devices by way of their network servers."""

    def __init__(
        self,
        settings: DownlinkSettings,
        places: Places,
        publisher: Callable[[str], Publish],
        egress: Egress,
        *,
        mappings: Mappings,
        codecs: Codecs,
        clock: Callable[[], datetime],
    ) -> None:
        """Bind the courier to its ways out.

        Args:
            publisher: returns what publishes at an MQTT server, by its name.
        """
        self._settings = settings
        self._places = places
        self._publisher = publisher
        self._egress = egress
        self._mappings = mappings
        self._codecs = codecs
        self._clock = clock

    def serves(self, in_force: Mapping[str, Any]) -> bool:
        """Tell whether devices provisioned like this are for LoRaWAN."""
        return for_lorawan(in_force)

    async def send(self, command: Command, set_label: SetLabel, /) -> CommandOutcome:
        """Put a command into its network server's queue."""
        dev_eui = command.known.device.hardware_id
        place = await self._place(dev_eui, command.known)
        if place is None:
            await set_label(Label(dev_eui))
            return NotNow("nothing tells where the device is: it has not sent anything yet")
        try:
            message = await self._message(command, dev_eui, place, set_label)
            await message.name(message.queue.handle(message.downlink))
            return await self._deliver(message)
        except (Unwritable, NoSuchCodec, BadCodec, NotTaken) as error:
            return Failed(str(error))

    async def _place(self, dev_eui: str, known: Known) -> Place | None:
        heard = await self._places.of(dev_eui)
        return heard or provisioned_place(dev_eui, known.internal("lorawan"))

    async def _message(
        self, command: Command, dev_eui: str, place: Place, set_label: SetLabel
    ) -> _Message:
        device = DeviceCodec.of(command.known, self._mappings, self._codecs)
        mapping = str(command.known.internal("rigel").get("mapping", ""))
        codec = device.codec or self._mappings.codec(mapping)
        downlink = await downlink_of(command, dev_eui, codec, device.variables)
        queue = QUEUES[place.format]
        if downlink.replace and not queue.replaces:
            raise NotTaken(f"replace: {place.format} cannot replace what is in its queue")
        content = queue.message(downlink, place.application)
        return _Message(place, queue, downlink, content, set_label)

    async def _deliver(self, message: _Message) -> CommandOutcome:
        place, downlink = message.place, message.downlink
        target = self._settings.targets.get(place.format, "")
        if "://" in target:
            url = self._filled(target, message, _quoted)
            return await self._by_http(url, self._settings.tokens.get(place.format, ""), message)
        if target:
            return await self._by_mqtt(self._filled(target, message, _level), message)
        if place.topic and (topic := message.queue.topic(place.topic, downlink)):
            return await self._by_mqtt(topic, message)
        told = place.replace if downlink.replace else place.push
        if not told:
            raise NotTaken("nothing tells where its network server takes downlinks")
        if not (key := self._places.key(downlink.dev_eui)):
            return NotNow("the key comes with the device's next message")
        return await self._by_http(told, key, message)

    async def _by_mqtt(self, topic: str, message: _Message) -> CommandOutcome:
        payload = msgspec.json.encode(message.content)
        try:
            publish = self._publisher(message.place.server)
            await publish(topic, payload, qos=message.queue.qos)
        except NotPublished as error:
            return NotNow(str(error))
        except PublishInDoubt as error:
            return Unsure(str(error))
        return message.sent()

    async def _by_http(self, url: str, key: str, message: _Message) -> CommandOutcome:
        host = urlsplit(url).hostname
        signed, headers = message.queue.authorized(url, key) if key else (url, {})
        try:
            answer = await self._egress.request(
                "POST",
                signed,
                headers={"Content-Type": "application/json", **headers},
                body=msgspec.json.encode(message.queue.body(message.content)),
                timeout=self._settings.timeout,
                max_bytes=_ANSWER_BYTES,
            )
        except EgressRefused as error:
            return Failed(str(error))
        except EgressFailed as error:
            # The error's own text shows the URL, in which keys may stand.
            if isinstance(error.__cause__, aiohttp.ClientConnectorError):
                return NotNow(f"{host}: no connection")
            return Unsure(f"{host}: no answer")
        return await _judged(answer, message)

    def _filled(self, target: str, message: _Message, safe: Callable[[str], str]) -> str:
        """Return a target with the downlink's parts in the places of their names in braces."""
        place, downlink = message.place, message.downlink
        parts = {
            "dev_eui": downlink.dev_eui,
            "DEV_EUI": downlink.dev_eui.upper(),
            "device": place.name,
            "application": place.application,
            "port": str(downlink.port),
            "hex": (downlink.data or b"").hex(),
            "confirmed": str(int(downlink.confirmed)),
            "mode": "replace" if downlink.replace else "push",
            "flush": str(int(downlink.replace)),
            "id": downlink.short_id,
            "time": format_timestamp(self._clock()),
        }
        return target.format_map({name: safe(parts[name]) for name in PARTS})


def _quoted(part: str) -> str:
    """Return a part as it may stand in a URL; a colon may."""
    return quote(part, safe=":")


def _level(part: str) -> str:
    """Return a part as it may stand in an MQTT topic.

    Raises:
        NotTaken: it would name other topics.
    """
    if _NOT_IN_A_TOPIC & set(part):
        raise NotTaken(f"{part!r:.40} cannot stand in a topic")
    return part


async def _judged(answer: Answer, message: _Message) -> CommandOutcome:
    text = f"the network server answered {answer.status}"
    if answer.status in _LATER:
        return NotNow(text)
    if answer.status >= _BROKEN:
        return Unsure(text)
    if answer.status not in _OK:
        return Failed(text)
    told = _object(answer.body)
    if (refusal := told.get("error")) and isinstance(refusal, str):
        return Failed(f"the network server says {refusal:.200}")
    if handle := message.queue.named(told):
        await message.name(handle)
    return message.sent()


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
