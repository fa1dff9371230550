"""Keeps the subscriptions of a role in place, and the role in line with what the broker holds.

The ids are made of the installation, the role and the binding, so that a restart finds its own
again; those of definitions that are gone are deleted. After a subscription was put in place, and
from time to time, all entities it is about are queried: what was missed is made up for, and what no
longer exists is forgotten. Everything is tried again until it works.

Of a subscription that existed before, the broker may still have notifications to deliver, older
than the present state. Jumping to that state would pass over them; so where the broker is ahead,
its state is held back until the notifications have caught up with it, or none has come for a while.
Until then nothing becomes due.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final

import msgspec

from broker.client import BrokerRefused, BrokerUnreachable, Client, wait_after
from broker.core.backoff import Backoff
from broker.core.errors import BadRequestData
from subscribers.common.instants import Instant
from subscribers.common.intake import Intake, NotTaken, Overloaded
from subscribers.common.observations import Observation, read_entity
from subscribers.common.role import Binding, Role

_log = logging.getLogger(__name__)
_RETRIES: Final = Backoff(first=0.25, limit=30.0)
_CHUNK: Final = 200
_PAGE: Final = 100
_POLL: Final = 0.2
_CONFLICT: Final = 409
_NOT_FOUND: Final = 404
_NO_ANSWER: Final = (BrokerUnreachable, BrokerRefused, msgspec.DecodeError)
_RETRIED: Final = (*_NO_ANSWER, Overloaded, NotTaken)
_NEVER: Final = Instant(-(2**63))


@dataclass(slots=True)
class _Held:
    """The part of a broker's state that is held back.

    Attributes:
        ahead: the observations that were not told yet, by entity.
        gone: the entities the broker no longer has.
        newest: what had been told when it was looked at last.
        since: when there was progress last, by the loop's clock.
    """

    ahead: dict[str, Observation] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    newest: Mapping[tuple[str, str], Instant] = field(default_factory=dict)
    since: float = 0.0


class Keeper:
    """Looks after the subscriptions of one role."""

    def __init__(
        self,
        role: Role,
        intake: Intake,
        client: Client,
        *,
        prefix: str,
        endpoint: str,
        check_interval: float,
        reconcile_interval: float,
        catch_up: float,
    ) -> None:
        """Prepare the keeper.

        Args:
            prefix: begins the ids of this role's subscriptions, and of no others.
            endpoint: where notifications are to go; the binding's name is added.
            catch_up: how long without news a state is held back.
        """
        self._role = role
        self._intake = intake
        self._client = client
        self._prefix = prefix
        self._endpoint = endpoint
        self._check_interval = check_interval
        self._reconcile_interval = reconcile_interval
        self._catch_up = catch_up
        self._reconciled: dict[str, float] = {}
        self._held: dict[str, _Held] = {}
        self._new: set[str] = set()
        self.problems: dict[str, str] = {b.name: "is not yet in place" for b in role.bindings}
        """Why a subscription is not in place, by binding; empty when all is well."""

    def subscription_id(self, binding: Binding) -> str:
        """Return the id of a binding's subscription."""
        return self._prefix + binding.name

    async def run(self) -> None:
        """Work until cancelled."""
        failures = 0
        stale_deleted = False
        while True:
            failed: Exception | None = None
            for binding in self._role.bindings:
                failed = await self._keep(binding) or failed
            if not isinstance(failed, BrokerUnreachable) and not self._held:
                # A refused subscription may never come to be; the others need not wait for it.
                failed = await self._start() or failed
            if failed is None and not stale_deleted:
                stale_deleted = await self._delete_stale()
            failures = 0 if failed is None else failures + 1
            await asyncio.sleep(self._pause(failures, failed))

    def _pause(self, failures: int, failed: Exception | None) -> float:
        if failed is not None:
            return wait_after(failed, failures, _RETRIES)
        return min(_POLL, self._check_interval) if self._held else self._check_interval

    async def _start(self) -> Exception | None:
        try:
            await self._intake.start()
        except (Overloaded, NotTaken) as error:
            return error
        return None

    async def _keep(self, binding: Binding) -> Exception | None:
        """See to one binding and return what was in the way."""
        try:
            await self._see_to(binding)
        except _RETRIED as error:
            if self.problems.get(binding.name) != str(error):
                _log.warning("%s: %s", self.subscription_id(binding), error)
            self.problems[binding.name] = str(error)
            return error
        held = self._held.get(binding.name)
        if held is not None and not self._intake.started:
            self.problems[binding.name] = f"is catching up with {len(held.ahead)} entities"
        elif self.problems.pop(binding.name, None) is not None:
            _log.info("%s is in place", self.subscription_id(binding))
        return None

    async def _see_to(self, binding: Binding) -> None:
        now = asyncio.get_running_loop().time()
        name = binding.name
        if name not in self._held:
            if name in self._reconciled and not await self._exists(binding):
                del self._reconciled[name]
            if name not in self._reconciled:
                await self._put(binding)
            if now - self._reconciled.get(name, -inf) >= self._reconcile_interval:
                self._held[name] = await self._compare(binding)
                self._reconciled[name] = now
                self._new.discard(name)
        if name in self._held:
            await self._settle(binding, self._held[name], now)

    async def _put(self, binding: Binding) -> None:
        """Create the subscription, or make the one there is what it must be."""
        document = self._document(binding)
        try:
            await self._client.create_subscription(document)
            self._new.add(binding.name)
        except BrokerRefused as error:
            if error.status != _CONFLICT:
                raise
            await self._client.put_subscription(document)

    async def _exists(self, binding: Binding) -> bool:
        try:
            await self._client.retrieve_subscription(self.subscription_id(binding))
        except BrokerRefused as error:
            if error.status == _NOT_FOUND:
                return False
            raise
        return True

    async def _compare(self, binding: Binding) -> _Held:
        """Take what the broker holds, but for what it may still have to tell."""
        known = await self._intake.known(binding.name)
        newest = await self._intake.newest(binding.name)
        held = _Held(since=asyncio.get_running_loop().time())
        present: set[str] = set()
        taken: list[Observation] = []
        async for observation in self._entities(binding):
            present.add(observation.entity_id)
            if binding.name not in self._new and self._is_ahead(observation, binding, newest):
                held.ahead[observation.entity_id] = observation
            else:
                taken.append(observation)
            if len(taken) == _CHUNK:
                await self._intake.take(binding.name, taken)
                taken = []
        await self._intake.take(binding.name, taken)
        # Paging may skip an entity while others are deleted, so each absence is verified.
        for entity_id in known - present:
            if await self._client.retrieve_entity(entity_id) is None:
                held.gone.append(entity_id)
        return held

    async def _settle(self, binding: Binding, held: _Held, now: float) -> None:
        """Take what was held back once it was told, or will not be."""
        newest = await self._intake.newest(binding.name)
        held.ahead = {
            entity_id: observation
            for entity_id, observation in held.ahead.items()
            if self._is_ahead(observation, binding, newest)
        }
        if held.newest != newest:
            held.newest, held.since = newest, now
        if held.ahead and now - held.since < self._catch_up:
            return
        await self._intake.take(binding.name, list(held.ahead.values()))
        await self._intake.forget(binding.name, held.gone)
        del self._held[binding.name]

    def _is_ahead(
        self,
        observation: Observation,
        binding: Binding,
        newest: Mapping[tuple[str, str], Instant],
    ) -> bool:
        """Tell whether an entity says something newer than what was told of it."""
        readings = [(name, observation.readings.get(name)) for name in binding.measured]
        return any(
            reading.observed_at > newest.get((observation.entity_id, name), _NEVER)
            for name, reading in readings
            if reading is not None
            and reading.observed_at is not None
            and self._intake.believes(reading.observed_at)
        )

    async def _entities(self, binding: Binding) -> AsyncIterator[Observation]:
        params = {"type": binding.entity_type}
        if binding.attributes:
            params["attrs"] = ",".join(binding.attributes)
        async for document in self._client.query_entities(**params):
            try:
                yield read_entity(document)
            except BadRequestData as error:
                _log.warning("the broker holds an entity that cannot be read: %s", error)

    def _document(self, binding: Binding) -> dict[str, Any]:
        document: dict[str, Any] = {
            "id": self.subscription_id(binding),
            "type": "Subscription",
            "description": binding.description,
            "entities": [{"type": binding.entity_type}],
            "notificationTrigger": ["attributeCreated", "attributeUpdated", "entityDeleted"],
            "notification": {
                "format": "normalized",
                "endpoint": {
                    "uri": f"{self._endpoint}/{binding.name}",
                    "accept": "application/json",
                },
            },
        }
        if binding.attributes:
            document["watchedAttributes"] = list(binding.attributes)
            document["notification"]["attributes"] = list(binding.attributes)
        return document

    async def _delete_stale(self) -> bool:
        """Delete the subscriptions of bindings that are gone; tell whether it worked."""
        wanted = {self.subscription_id(binding) for binding in self._role.bindings}
        try:
            for found in await self._own_subscriptions():
                if found not in wanted:
                    await self._client.delete_subscription(found)
                    _log.info("%s is deleted: nothing needs it any more", found)
        except _NO_ANSWER as error:
            _log.warning("unneeded subscriptions cannot be deleted: %s", error)
            return False
        return True

    async def _own_subscriptions(self) -> list[str]:
        found: list[str] = []
        offset = 0
        while True:
            page = await self._client.request(
                "GET", "/subscriptions", params={"limit": str(_PAGE), "offset": str(offset)}
            )
            ids = [str(item.get("id")) for item in page]
            found += [found_id for found_id in ids if found_id.startswith(self._prefix)]
            if len(page) < _PAGE:
                return found
            offset += len(page)
