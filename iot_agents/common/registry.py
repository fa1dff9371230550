"""The registry: devices and service groups on disk, shared by all agents of a data directory.

What a measure needs is kept in memory. Another process may write to the same file, so the cache is
thrown away when something was provisioned elsewhere, which is asked at most once a second.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

from iot_agents.common import registry_rows as rows
from iot_agents.common.database import Database
from iot_agents.common.device import Device
from iot_agents.common.import_rows import Candidate, Outcome, Way, import_devices
from iot_agents.common.provisioning_errors import DeviceNotFound, GroupFull, GroupNotFound
from iot_agents.common.recognition import Caller, recognize
from iot_agents.common.registry_rows import Known, Selection
from iot_agents.common.service_group import ServiceGroup

T = TypeVar("T")

_STALE_AFTER = 1.0
_CACHED = 100_000
_MOST_TAKEN_IN = 10_000


class Registry:
    """The registry's file; open it with `Registry.open`."""

    def __init__(self, database: Database, *, most: int = _MOST_TAKEN_IN) -> None:
        self._database = database
        self._most = most
        self._cache: dict[Caller, Known] = {}
        self._version = -1
        self._checked = float("-inf")
        self._watching: list[asyncio.Event] = []
        self.turned_away = 0
        """How often a group that has enough devices did not take one in."""

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path, *, most: int = _MOST_TAKEN_IN) -> AsyncIterator[Self]:
        """Open a registry's file, made when it is missing.

        Args:
            most: how many devices a group may come to by taking in those it does not know.
        """
        async with Database.open(path, rows.MIGRATIONS, shared=True) as database:
            yield cls(database, most=most)

    async def recognize(self, caller: Caller) -> Known:
        """Return the device a message is from.

        A device that nobody has provisioned is made by the service group that the caller's apikey
        and resources name, unless the group has `autoprovision` false: exactly one device, however
        many messages of it come at once.

        Raises:
            DeviceNotFound: there is no such device, and its group makes none.
            GroupFull: likewise, because it has as many as it may take in.
            GroupNotFound: likewise, and there is no such group (only if the caller names any).
            AmbiguousDevice: several have this id.
            sqlite3.Error: the registry cannot be read, or not be written.
        """
        await self._drop_stale()
        known = self._cache.get(caller)
        if known is None:
            job = partial(recognize, caller=caller, most=self._most)
            try:
                known = await self._database.submit(job)
            except GroupFull:
                self.turned_away += 1
                raise
            if len(self._cache) >= _CACHED:
                self._cache.clear()
            self._cache[caller] = known
            # It may be new.
            self._tell()
        return known

    async def find(self, device_id: str, apikey: str | None = None) -> Known | None:
        """Return a provisioned device by its name on the wire, None when there is none.

        Raises:
            AmbiguousDevice: several have this id.
        """
        try:
            return await self.recognize(Caller(device_id, apikey))
        except DeviceNotFound:
            return None

    async def by_entity(self, service: str, entity_id: str) -> Known | None:
        """Return the device that an entity stands for, None when nothing tells which one."""
        found = await self._database.submit(
            partial(rows.by_entity, service=service, entity_id=entity_id)
        )
        return found[0] if len(found) == 1 else None

    async def add_devices(self, devices: Sequence[Device]) -> None:
        """Add devices, all or none.

        Raises:
            DuplicateDeviceId: one exists.
        """
        await self._change(partial(rows.add_devices, devices=devices))

    async def import_devices(self, candidates: Sequence[Candidate], way: Way) -> Outcome:
        """Take devices of a file in, see `import_rows`."""
        return await self._change(partial(import_devices, candidates=candidates, way=way))

    async def update_device(self, old: Device, new: Device) -> None:
        """Put a device in the place of another.

        Raises:
            DuplicateDeviceId: a third one has the new identity.
        """
        await self._change(partial(rows.update_device, old=old, new=new))

    async def delete_devices(self, devices: Sequence[Device]) -> None:
        """Remove devices."""
        await self._change(partial(rows.delete_devices, devices=devices))

    async def device(self, service: str, path: str, device_id: str, apikey: str | None) -> Known:
        """Return a device of a service.

        Args:
            apikey: tells devices of one id apart; None takes the only one.

        Raises:
            DeviceNotFound: there is none, or more than one.
        """
        found = await self._database.submit(
            partial(rows.device, service=service, path=path, device_id=device_id, apikey=apikey)
        )
        if not found:
            raise DeviceNotFound(f"no device {device_id!r:.80} in this service and path")
        if len(found) > 1:
            raise DeviceNotFound(
                f"device {device_id!r:.80} is there under several apikeys; name one"
            )
        return found[0]

    async def devices(
        self, selection: Selection, *, limit: int, offset: int
    ) -> tuple[int, list[Known]]:
        """Return how many devices are selected, and a page of them."""
        return await self._database.submit(
            partial(rows.devices, selection=selection, limit=limit, offset=offset)
        )

    async def add_groups(self, groups: Sequence[ServiceGroup]) -> None:
        """Add service groups, all or none.

        Raises:
            DuplicateGroup: one exists.
        """
        await self._change(partial(rows.add_groups, groups=groups))

    async def update_group(self, old: ServiceGroup, new: ServiceGroup) -> None:
        """Put a group in the place of another.

        Raises:
            DuplicateGroup: a third one has the new identity.
        """
        await self._change(partial(rows.update_group, old=old, new=new))

    async def delete_group(self, group: ServiceGroup, *, devices: bool = False) -> None:
        """Remove a group, on demand with the devices that have its apikey."""
        await self._change(partial(rows.delete_group, group=group, devices=devices))

    async def group(self, resource: str, apikey: str) -> ServiceGroup:
        """Return a group.

        Raises:
            GroupNotFound: there is none.
        """
        found = await self._database.submit(partial(rows.group, resource=resource, apikey=apikey))
        if found is None:
            raise GroupNotFound(f"no group with resource {resource!r:.80} and this apikey")
        return found

    async def groups(
        self, service: str, path: str | None, *, limit: int, offset: int
    ) -> tuple[int, list[ServiceGroup]]:
        """Return how many groups a service has, and a page of them; no path means all paths."""
        return await self._database.submit(
            partial(rows.groups, service=service, path=path, limit=limit, offset=offset)
        )

    async def commanding_groups(self) -> Sequence[ServiceGroup]:
        """Return the groups that have commands."""
        return await self._database.submit(rows.commanding_groups)

    async def commanded(self, after: int, limit: int) -> tuple[int, Sequence[Known]]:
        """Return a page of the devices that have commands; see `registry_rows.commanded`."""
        return await self._database.submit(partial(rows.commanded, after=after, limit=limit))

    def watch(self) -> asyncio.Event:
        """Return an event that is set after every change made here; whoever waits clears it."""
        event = asyncio.Event()
        self._watching.append(event)
        return event

    async def generation(self) -> int:
        """Return a number that is another one after any change, whoever made it."""
        return await self._database.submit(rows.generation)

    async def work(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Run a job on the file that changes nothing of what is provisioned."""
        return await self._database.submit(job)

    async def _change(self, job: Callable[[sqlite3.Connection], T]) -> T:
        result = await self._database.submit(partial(_and_tell, job=job))
        self._cache.clear()
        self._tell()
        return result

    def _tell(self) -> None:
        for event in self._watching:
            event.set()

    async def _drop_stale(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._checked < _STALE_AFTER:
            return
        self._checked = now
        version = await self._database.submit(rows.version)
        if version != self._version:
            self._version = version
            self._cache.clear()


def _and_tell(connection: sqlite3.Connection, *, job: Callable[[sqlite3.Connection], T]) -> T:
    result = job(connection)
    rows.changed(connection)
    return result
