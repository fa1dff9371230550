"""Keeps the subscriptions of a role in place, and the role in line with what the broker holds.

The ids are made of the installation, the role and the binding, so that a restart finds its own
again; those of definitions that are gone are deleted. After a subscription was put in place, and
from time to time, all entities it is about are queried: what was missed is made up for, and what no
longer exists is forgotten. Everything is tried again until it works.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from broker.client import BrokerRefused, BrokerUnreachable, Client
from broker.core.errors import BadRequestData
from subscribers.common.backoff import wait_after
from subscribers.common.intake import Intake, NotTaken, Overloaded
from subscribers.common.observations import Observation, read_entity
from subscribers.common.role import Binding, Role

_log = logging.getLogger(__name__)
_CHUNK: Final = 200
_PAGE: Final = 100
_NOT_FOUND: Final = 404
_RETRIED: Final = (BrokerUnreachable, BrokerRefused, Overloaded, NotTaken)


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
    ) -> None:
        """Prepare the keeper.

        Args:
            prefix: begins the ids of this role's subscriptions, and of no others.
            endpoint: where notifications are to go; the binding's name is added.
        """
        self._role = role
        self._intake = intake
        self._client = client
        self._prefix = prefix
        self._endpoint = endpoint
        self._check_interval = check_interval
        self._reconcile_interval = reconcile_interval
        self._reconciled: dict[str, float] = {}
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
            if not isinstance(failed, BrokerUnreachable):
                # A refused subscription may never come to be; the others need not wait for it.
                failed = await self._start() or failed
            if failed is None and not stale_deleted:
                stale_deleted = await self._delete_stale()
            failures = 0 if failed is None else failures + 1
            pause = self._check_interval if failed is None else wait_after(failures, failed)
            await asyncio.sleep(pause)

    async def _start(self) -> Exception | None:
        try:
            await self._intake.start()
        except (Overloaded, NotTaken) as error:
            return error
        return None

    async def _keep(self, binding: Binding) -> Exception | None:
        """See to one binding and return what was in the way."""
        loop = asyncio.get_running_loop()
        try:
            if binding.name in self.problems or not await self._exists(binding):
                await self._client.put_subscription(self._document(binding))
                self._reconciled.pop(binding.name, None)
            last = self._reconciled.get(binding.name)
            if last is None or loop.time() - last >= self._reconcile_interval:
                await self._reconcile(binding)
                self._reconciled[binding.name] = loop.time()
        except _RETRIED as error:
            if self.problems.get(binding.name) != str(error):
                _log.warning("%s: %s", self.subscription_id(binding), error)
            self.problems[binding.name] = str(error)
            return error
        if self.problems.pop(binding.name, None) is not None:
            _log.info("%s is in place", self.subscription_id(binding))
        return None

    async def _exists(self, binding: Binding) -> bool:
        try:
            await self._client.retrieve_subscription(self.subscription_id(binding))
        except BrokerRefused as error:
            if error.status == _NOT_FOUND:
                return False
            raise
        return True

    async def _reconcile(self, binding: Binding) -> None:
        """Take what the broker holds and forget what it no longer has."""
        held = await self._intake.known(binding.name)
        present: set[str] = set()
        async for chunk in self._entities(binding):
            present.update(observation.entity_id for observation in chunk)
            await self._intake.take(binding.name, chunk)
        # Paging may skip an entity while others are deleted, so each absence is verified.
        gone = [i for i in held - present if await self._client.retrieve_entity(i) is None]
        if gone:
            await self._intake.forget(binding.name, gone)

    async def _entities(self, binding: Binding) -> AsyncIterator[Sequence[Observation]]:
        params = {"type": binding.entity_type}
        if binding.attributes:
            params["attrs"] = ",".join(binding.attributes)
        chunk: list[Observation] = []
        async for document in self._client.query_entities(**params):
            try:
                chunk.append(read_entity(document))
            except BadRequestData as error:
                _log.warning("the broker holds an entity that cannot be read: %s", error)
            if len(chunk) == _CHUNK:
                yield chunk
                chunk = []
        if chunk:
            yield chunk

    def _document(self, binding: Binding) -> dict[str, Any]:
        document: dict[str, Any] = {
            "id": self.subscription_id(binding),
            "type": "Subscription",
            "description": binding.description,
            "entities": [{"type": binding.entity_type}],
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
        except (BrokerUnreachable, BrokerRefused) as error:
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
            found += [item["id"] for item in page if item["id"].startswith(self._prefix)]
            if len(page) < _PAGE:
                return found
            offset += len(page)
