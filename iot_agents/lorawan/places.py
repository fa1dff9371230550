"""Where devices can be reached: learned from their last messages, and from what is provisioned.

What is learned survives a restart, but for keys that a network server sends along with its posts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import msgspec

from iot_agents.common.spool import Entry, Spool
from iot_agents.lorawan.networks import CHIRPSTACK
from iot_agents.lorawan.queues import FORMATS

_log = logging.getLogger(__name__)
_CACHED: Final = 100_000
_STATE: Final = "lorawan/place/"


class Place(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a device's network server takes downlinks.

    Attributes:
        format: of its messages.
        topic: what the topics of the device begin with; empty for a device that comes by HTTP.
        server: name of the MQTT server that has them; empty for the agents' own.
        application: what the network calls its application, and `name` the device.
        push: URL that the network server told, and `replace` likewise.
    """

    format: str = ""
    topic: str = ""
    server: str = ""
    application: str = ""
    name: str = ""
    push: str = ""
    replace: str = ""


class Places:
    """The places of the devices of one agent."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._known: dict[str, Place] = {}
        self._keys: dict[str, str] = {}

    async def learn(self, dev_eui: str, place: Place, key: str = "") -> bool:
        """Note where a device was heard of; it is on disk a little later.

        Args:
            key: what a post to the place is authorized with.

        Returns:
            Whether that was not known before.
        """
        news = bool(key) and self._keys.get(dev_eui) != key
        if news:
            self._keys[dev_eui] = key
        if await self.of(dev_eui) == place:
            return news
        self._remember(dev_eui, place)
        state = {_STATE + dev_eui: msgspec.json.encode(place)}
        noted = self._spool.put(Entry("", "", state=state))
        noted.add_done_callback(partial(self._noted, dev_eui))
        return True

    def _noted(self, dev_eui: str, noted: asyncio.Future[bool]) -> None:
        if not noted.cancelled() and (error := noted.exception()) is not None:
            # The device's next frame brings it again.
            self._known.pop(dev_eui, None)
            _log.warning("device %s: where it is cannot be noted: %s", dev_eui, error)

    async def of(self, dev_eui: str) -> Place | None:
        """Return where a device was heard of last."""
        place = self._known.get(dev_eui)
        if place is None and (stored := await self._spool.state(_STATE + dev_eui)) is not None:
            place = msgspec.json.decode(stored, type=Place)
            self._remember(dev_eui, place)
        return place

    def key(self, dev_eui: str) -> str:
        """Return the key that came with a device's last post."""
        return self._keys.get(dev_eui, "")

    def _remember(self, dev_eui: str, place: Place) -> None:
        if len(self._known) >= _CACHED:
            self._known.clear()
            self._keys.clear()
        self._known[dev_eui] = place


def provisioned_place(dev_eui: str, section: Mapping[str, Any]) -> Place | None:
    """Return where a device must be by its `internal_attributes.lorawan`, if that tells."""
    application = section.get("application_id")
    network = section.get("network", CHIRPSTACK)
    if not isinstance(application, str | int) or network not in FORMATS:
        return None
    name = str(section.get("device_name") or dev_eui)
    topics = {
        CHIRPSTACK: f"application/{application}/device/{dev_eui}",
        "things-stack": f"v3/{application}/devices/{name}",
    }
    topic = topics.get(network, "")
    # What stands here becomes a topic to publish to: it must not name others.
    usable = topic if not set("#+\0") & set(topic) and topic.count("/") in (0, 3) else ""
    return Place(FORMATS[network][0], usable, application=str(application), name=name)
