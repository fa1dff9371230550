"""Subscriptions to command attributes, and the attributes themselves, kept in place at the broker.

For each tenant, entity type and command there is one subscription, so that a notification says
which command was asked for. As the API updates only attributes that exist, the agent writes each
command attribute with the value `UNKNOWN`, which is never taken for a command; and it writes that
again when a command was asked for, because writing the same value twice is no change to a broker.
All of it is compared with what is provisioned after every change, and with what the broker has from
time to time; while the broker is away it is tried again for ever.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn
from urllib.parse import urlencode

import msgspec

from broker.client import BrokerRefused, BrokerUnreachable, Client, wait_after
from broker.core.backoff import Backoff
from iot_agents.common.commands.desk import entity_of
from iot_agents.common.commands.provisioned import UNASKED, command_names
from iot_agents.common.commands.showing import status_entry
from iot_agents.common.device import document_of
from iot_agents.common.registry import Registry
from iot_agents.common.registry_rows import Known
from iot_agents.common.spool import Entry, Spool

_log = logging.getLogger(__name__)
_PLACED: Final = "command-subscriptions"
_PREPARED: Final = "command-attributes/"
_NOT_FOUND: Final = 404
_PAGE: Final = 500
_SHORTEST: Final = 0.02
_REST: Final = 3.0
_OTHERS_EVERY: Final = 1.0
_FAILURES: Final = (BrokerUnreachable, BrokerRefused, msgspec.DecodeError, sqlite3.Error)


@dataclass(frozen=True, slots=True, order=True)
class Watched:
    """A command attribute of a type of entities."""

    tenant: str
    entity_type: str
    command: str


class Watcher:
    """Keeps one agent's subscriptions and command attributes."""

    def __init__(
        self,
        spool: Spool,
        registry: Registry,
        client_of: Callable[[str], Client],
        serves: Callable[[Mapping[str, Any]], bool],
        *,
        owner: str,
        endpoint: str,
        check_interval: float,
        backoff: Backoff,
    ) -> None:
        """Bind the watcher to a broker.

        Args:
            serves: tells which devices are this agent's.
            owner: makes the subscriptions' ids this installation's own.
            endpoint: where notifications are to go.
        """
        self._spool = spool
        self._registry = registry
        self._client_of = client_of
        self._serves = serves
        self._owner = owner
        self._endpoint = endpoint
        self._check_interval = check_interval
        self._backoff = backoff
        self._placed: dict[str, str] = {}
        self._sound: set[str] = set()
        self._prepared: dict[str, Collection[str]] = {}
        self._seen = -1
        self._settled = asyncio.Event()
        self.trouble = ""
        """Why a subscription is not in place; empty when all are."""

    async def run(self) -> NoReturn:
        """Work until cancelled."""
        await self._remember()
        changed = self._registry.watch()
        failures, checked = 0, asyncio.get_running_loop().time()
        while True:
            changed.clear()
            started = asyncio.get_running_loop().time()
            wait = self._check_interval
            try:
                if asyncio.get_running_loop().time() - checked >= self._check_interval:
                    await self._check()
                    checked = asyncio.get_running_loop().time()
                await self._bring_about()
                failures, self.trouble = 0, ""
                self._settled.set()
            except _FAILURES as error:
                failures += 1
                wait = wait_after(error, failures, self._backoff)
                if str(error) != self.trouble:
                    _log.warning("commands are not subscribed to: %s", error)
                self.trouble = str(error) or repr(error)
                self._seen = -1
            # One change seldom comes alone, and looking at many devices takes its time.
            took = asyncio.get_running_loop().time() - started
            await asyncio.sleep(max(_SHORTEST, _REST * took))
            await self._pause(changed, wait)

    async def settled(self) -> None:
        """Wait until what is provisioned now is in place at the broker."""
        while await self._registry.generation() != self._seen:
            self._settled.clear()
            await self._settled.wait()
        await self._spool.drained()

    async def _pause(self, changed: asyncio.Event, wait: float) -> None:
        """Wait for a change in what is provisioned, by this process or another."""
        until = asyncio.get_running_loop().time() + wait
        while not changed.is_set() and (left := until - asyncio.get_running_loop().time()) > 0:
            try:
                async with asyncio.timeout(min(left, _OTHERS_EVERY)):
                    await changed.wait()
            except TimeoutError:
                if self._seen != -1 and await self._registry.generation() != self._seen:
                    return

    async def _remember(self) -> None:
        placed = await self._spool.state(_PLACED)
        if placed is not None:
            self._placed = msgspec.json.decode(placed, type=dict[str, str])
        for key, names in (await self._spool.states(_PREPARED)).items():
            self._prepared[key] = frozenset(msgspec.json.decode(names, type=list[str]))

    async def _bring_about(self) -> None:
        generation = await self._registry.generation()
        if generation != self._seen:
            wanted = {self._id(each): each for each in await self._wanted()}
            await self._prepare()
            for subscription_id, watched in wanted.items():
                await self._place(subscription_id, watched)
            for subscription_id in set(self._placed) - set(wanted):
                await self._remove(subscription_id)
            self._seen = generation

    async def _wanted(self) -> Collection[Watched]:
        """Return the command attributes that groups and devices have."""
        wanted = {
            Watched(group.service, group.entity_type, name)
            for group in await self._registry.commanding_groups()
            if self._serves(members := document_of(group))
            for name in command_names(members)
        }
        async for known in self._commanded():
            _, kind = entity_of(known)
            names = command_names(known.in_force)
            wanted.update(Watched(known.device.service, kind, name) for name in names)
        return wanted

    async def _commanded(self) -> AsyncIterator[Known]:
        """Yield the devices of this agent that have commands."""
        after = 0
        while True:
            after, page = await self._registry.commanded(after, _PAGE)
            for known in page:
                if self._serves(known.in_force) and command_names(known.in_force):
                    yield known
            if not after:
                return

    async def _place(self, subscription_id: str, watched: Watched) -> None:
        if subscription_id in self._sound:
            return
        self._placed[subscription_id] = watched.tenant
        await self._save()
        document = self._document(subscription_id, watched)
        await self._client_of(watched.tenant).put_subscription(document)
        self._sound.add(subscription_id)

    async def _remove(self, subscription_id: str) -> None:
        try:
            await self._client_of(self._placed[subscription_id]).delete_subscription(
                subscription_id
            )
        except BrokerRefused as error:
            if error.status != _NOT_FOUND:
                raise
        del self._placed[subscription_id]
        self._sound.discard(subscription_id)
        await self._save()

    async def _check(self) -> None:
        """Look whether the broker still has all subscriptions; those it lost are placed again."""
        for subscription_id in sorted(self._sound):
            try:
                await self._client_of(self._placed[subscription_id]).retrieve_subscription(
                    subscription_id
                )
            except BrokerRefused as error:
                if error.status != _NOT_FOUND:
                    raise
                self._sound.discard(subscription_id)
                self._seen = -1

    async def _save(self) -> None:
        await self._spool.put(Entry("", "", state={_PLACED: msgspec.json.encode(self._placed)}))

    async def _prepare(self) -> None:
        """Write the command attributes that were not written yet."""
        async for known in self._commanded():
            entity_id, kind = entity_of(known)
            device = known.device
            key = f"{_PREPARED}{device.service}/{entity_id}"
            have = self._prepared.get(key, ())
            names = [name for name in command_names(known.in_force) if name not in have]
            if not names:
                continue
            entry = status_entry(device.service, device.device_id, entity_id, kind, _unasked(names))
            all_names = sorted({*have, *names})
            state = {key: msgspec.json.encode(all_names)}
            await self._spool.put(Entry(entry.tenant, entry.device, entry.entities, state=state))
            self._prepared[key] = frozenset(all_names)

    def _id(self, watched: Watched) -> str:
        named = f"{self._owner}\n{watched.tenant}\n{watched.entity_type}\n{watched.command}"
        digest = hashlib.blake2b(named.encode(), digest_size=12).hexdigest()
        return f"urn:ngsi-ld:Subscription:rigel-command:{digest}"

    def _document(self, subscription_id: str, watched: Watched) -> dict[str, Any]:
        query = urlencode({"tenant": watched.tenant, "command": watched.command})
        return {
            "id": subscription_id,
            "type": "Subscription",
            "description": f"command {watched.command} of {watched.entity_type}",
            "entities": [{"type": watched.entity_type}],
            "watchedAttributes": [watched.command],
            "notification": {
                "attributes": [watched.command],
                "format": "normalized",
                # The moment of the change tells a request from its repetition.
                "sysAttrs": True,
                "endpoint": {"uri": f"{self._endpoint}?{query}", "accept": "application/json"},
            },
        }


def _unasked(names: Sequence[str]) -> dict[str, Any]:
    return {name: {"type": "Property", "value": UNASKED} for name in names}
