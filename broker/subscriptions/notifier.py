"""Deliver what the outbox holds: in order, with patience, and no receiver at another's expense.

Each endpoint has a lane with its own concurrency, back-off and circuit breaker. A notification
leaves the outbox when its receiver answered 2xx, or for the dead letters when it is given up; until
then it survives the process. An attempt that is cut off is made again, with the same id.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from broker.core.errors import NgsiLdError
from broker.core.timestamps import format_timestamp, instant_key
from broker.egress import Egress
from broker.store.interface import Commit, Outbox
from broker.subscriptions.endpoints.http import Failure, HttpEndpoint
from broker.subscriptions.endpoints.kafka import KafkaEndpoint
from broker.subscriptions.endpoints.mqtt import MqttEndpoint
from broker.subscriptions.endpoints.target import Target
from broker.subscriptions.endpoints.tls import SYSTEM, Trust
from broker.subscriptions.intake import Intake
from broker.subscriptions.lane import Lane, Parcel, Strand
from broker.subscriptions.policy import DeliveryPolicy
from broker.subscriptions.registry import Entry, SubscriptionRegistry
from broker.subscriptions.settlement import Settlement

_log = logging.getLogger(__name__)
_PAUSE: Final = 1.0
_COUNTED: Final = ("delivered", "dead", "replaced", "failed_attempts")


@dataclass(slots=True)
class _Run:
    """What there is between the start and the end of delivery."""

    intake: Intake
    settlement: Settlement
    group: asyncio.TaskGroup
    workers: set[asyncio.Task[None]] = field(default_factory=set)
    wants_to_read: asyncio.Event = field(default_factory=asyncio.Event)
    is_quiet: asyncio.Event = field(default_factory=asyncio.Event)
    stopping: bool = False

    def ended(self, task: asyncio.Task[None]) -> None:
        """Note that a worker is done."""
        self.workers.discard(task)
        if not self.workers:
            self.is_quiet.set()


class Notifier:
    """Sends notifications for as long as `deliver` is entered."""

    def __init__(
        self,
        registry: SubscriptionRegistry,
        egress: Egress,
        clock: Callable[[], datetime],
        policy: DeliveryPolicy | None = None,
        trust: Trust = SYSTEM,
    ) -> None:
        self._registry = registry
        self._clock = clock
        self._policy = policy or DeliveryPolicy()
        seconds = self._policy.timeout
        self._http = HttpEndpoint(egress, clock, timeout=seconds, trust=trust)
        self._mqtt = MqttEndpoint(egress, timeout=seconds, trust=trust)
        self._kafka = KafkaEndpoint(egress, timeout=seconds)
        self._run: _Run | None = None
        self._counts: Counter[str] = Counter()

    def accept(self, commit: Commit) -> None:
        """Take what a transaction committed; before `deliver` it is left in the outbox."""
        if self._run is None or not commit.deliveries:
            return
        self._run.intake.offer(commit.deliveries)

    @asynccontextmanager
    async def deliver(self, outbox: Outbox) -> AsyncIterator[None]:
        """Deliver until the block ends, beginning with what the outbox holds.

        The registry has to know the stored subscriptions by then.
        """
        interval = self._policy.flush_interval
        settlement = Settlement(outbox, self._registry, interval, self._counts)
        async with self._http, self._kafka, self._mqtt, asyncio.TaskGroup() as group:
            intake = Intake(self._registry, settlement, self._policy, self._wake)
            run = self._run = _Run(intake, settlement, group)
            self._hold_back_throttled()
            self._registry.listen(self._moved)
            run.wants_to_read.set()
            tasks = [
                group.create_task(self._read(run, outbox), name="notifier-reads"),
                group.create_task(settlement.run(), name="notifier-settles"),
            ]
            try:
                yield
            finally:
                await self._stop(run, tasks)

    def lane(self, entry: Entry) -> Lane | None:
        """Return where notifications of a subscription wait, if they or their endpoint have to."""
        return None if self._run is None else self._run.intake.lanes.get(entry.target.lane)

    def gauges(self) -> Mapping[str, float]:
        """Return what is counted, and how much waits in memory."""
        found = {f"notifications_{name}": float(self._counts[name]) for name in _COUNTED}
        found["dead_letters_dropped"] = float(self._counts["letters_dropped"])
        lanes = list(self._run.intake.lanes.values()) if self._run is not None else []
        found["notifications_in_memory"] = float(
            sum(len(strand.rows()) for lane in lanes for strand in lane.strands.values())
        )
        found["subscriptions_behind"] = float(self._run.intake.behind if self._run else 0)
        found["endpoints_failing"] = float(sum(ln.breaker.open_until is not None for ln in lanes))
        found["subscriptions"] = float(len(self._registry))
        found["subscriptions_isolated"] = float(len(self._registry.isolated()))
        return found

    def _hold_back_throttled(self) -> None:
        """Let throttling go on where it was before the process ended."""
        now, moment = self._clock().timestamp(), asyncio.get_running_loop().time()
        for entry in self._registry:
            last = entry.delivery.last_success
            if last is not None and entry.target.throttling:
                left = instant_key(last) + entry.target.throttling - now
                entry.not_before = moment + min(max(left, 0.0), entry.target.throttling)

    def _moved(self, entry: Entry) -> None:
        if self._run is None:
            return
        soonest = asyncio.get_running_loop().time() + entry.target.throttling
        entry.not_before, entry.held_until = min(entry.not_before, soonest), 0.0
        self._run.intake.moved(entry)
        self._run.wants_to_read.set()

    def _look_for_more(self, run: _Run, lane: Lane) -> None:
        """Have the outbox read when a lane that left something there has room again."""
        if lane.is_wanted and lane.is_half_empty:
            lane.is_wanted = False
            run.wants_to_read.set()

    async def _read(self, run: _Run, outbox: Outbox) -> None:
        while True:
            await run.wants_to_read.wait()
            run.wants_to_read.clear()
            try:
                await run.intake.read(outbox)
            except NgsiLdError as error:
                _log.warning("the outbox will be read again: %s", error)
                await asyncio.sleep(_PAUSE)
                run.wants_to_read.set()

    async def _stop(self, run: _Run, tasks: list[asyncio.Task[None]]) -> None:
        """End what is under way, or cut it off when it takes too long, and write what is known."""
        run.stopping = True
        for lane in run.intake.lanes.values():
            if lane.timer is not None:
                lane.timer.cancel()
        run.is_quiet.clear()
        if run.workers:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._policy.drain):
                    await run.is_quiet.wait()
        for task in (*run.workers, *tasks):
            task.cancel()
        try:
            async with asyncio.timeout(self._policy.drain):
                await run.settlement.flush()
        except (NgsiLdError, TimeoutError) as error:
            _log.warning("some notifications will be sent again: %r", error)
        self._run = None

    def _wake(self, lane: Lane) -> None:
        """See that a lane has the workers it can use, or is looked at when its time comes."""
        run = self._run
        if run is None or run.stopping:
            return
        now = asyncio.get_running_loop().time()
        for _ in range(lane.more_workers(now)):
            lane.workers += 1
            task = run.group.create_task(self._work(run, lane), name=f"notifier {lane.name}")
            run.workers.add(task)
            task.add_done_callback(run.ended)
        self._set_timer(lane, now)

    def _set_timer(self, lane: Lane, now: float) -> None:
        if lane.timer is not None:
            lane.timer.cancel()
            lane.timer = None
        when = lane.next_time()
        if when is not None and when > now:
            lane.timer = asyncio.get_running_loop().call_at(when, self._wake, lane)

    async def _work(self, run: _Run, lane: Lane) -> None:
        """Send from a lane until it has nothing more for now."""
        loop = asyncio.get_running_loop()
        try:
            while not run.stopping and (strand := lane.take(loop.time())) is not None:
                await self._handle(run, lane, strand)
                if strand.leaves is not None:
                    self._release(run, lane, strand)
        finally:
            lane.workers -= 1
        if lane.is_idle and run.intake.lanes.get(lane.name) is lane:
            del run.intake.lanes[lane.name]
        self._wake(lane)

    async def _handle(self, run: _Run, lane: Lane, strand: Strand) -> None:
        """Send what a strand has next, unless it is not to be sent, or not here, or not now."""
        entry = self._registry.get(*strand.key[:2])
        if entry is None or strand.leaves is not None:
            self._release(run, lane, strand)
            return
        status = entry.subscription.status(self._clock())
        if status != "active":
            self._give_up(run, lane, strand, f"the subscription is {status}")
            return
        now = asyncio.get_running_loop().time()
        not_before = max(entry.not_before, entry.held_until)
        if not_before > now:
            lane.give_back(strand, at=not_before)
            return
        parcel = strand.parcel()
        target = entry.target
        failure = await self._send(target, parcel)
        at = format_timestamp(self._clock())
        run.settlement.changed(entry)
        if failure is None:
            entry.delivery.succeeded(at)
            entry.not_before = max(entry.not_before, now + target.throttling)
            run.settlement.delivered(parcel.rows)
            if lane.breaker.succeeded():
                _log.info("%s answers again", lane.name)
            self._finish(run, lane, strand, parcel)
        else:
            entry.delivery.failed(at)
            self._failed(run, lane, strand, entry, failure)

    async def _send(self, target: Target, parcel: Parcel) -> Failure | None:
        parcel.attempts += 1
        return await self.send(target, parcel.body)

    async def send(self, target: Target, body: bytes) -> Failure | None:
        """Make one attempt to send a notification; None when it arrived."""
        try:
            if target.http is not None:
                return await self._http.send(target, body)
            endpoint = self._kafka if target.mqtt is None else self._mqtt
            return await endpoint.send(target, body)
        except Exception as error:  # noqa: BLE001 - the lane must outlive one notification
            _log.exception("sending to %s failed here", target.lane)
            return Failure(f"the broker failed: {type(error).__name__}")

    def _failed(
        self, run: _Run, lane: Lane, strand: Strand, entry: Entry, failure: Failure
    ) -> None:
        """Try again later, or give up when that was tried often enough or for too long."""
        self._counts["failed_attempts"] += 1
        entry.last_error = failure.reason
        policy, parcel = self._policy, strand.parcel()
        now = asyncio.get_running_loop().time()
        if not failure.refused and lane.breaker.failed(now):
            _log.warning("%s is only probed from now on: %s", lane.name, failure.reason)
        if failure.retry_after is not None:
            entry.held_until = now + min(failure.retry_after, policy.longest_hold)
        if entry.target.cooldown:
            entry.not_before = max(entry.not_before, now + entry.target.cooldown)
        limit = policy.refusals if failure.refused else policy.attempts
        age = self._clock().timestamp() - instant_key(parcel.rows[0].created_at)
        if parcel.attempts < limit and age < policy.max_age:
            lane.give_back(strand, at=now + policy.wait(parcel.attempts))
            return
        reason = f"{failure.reason} (attempt {parcel.attempts}, {age:.0f} s after the change)"
        run.settlement.failed(parcel.rows, reason)
        self._finish(run, lane, strand, parcel)

    def _finish(self, run: _Run, lane: Lane, strand: Strand, parcel: Parcel) -> None:
        """Go on to what follows a parcel."""
        lane.settled(parcel)
        strand.done()
        lane.give_back(strand)
        self._look_for_more(run, lane)

    def _give_up(self, run: _Run, lane: Lane, strand: Strand, reason: str) -> None:
        """Send all of a strand to the dead letters."""
        strand.busy = False
        run.settlement.failed(lane.drop(strand), reason)
        self._look_for_more(run, lane)

    def _release(self, run: _Run, lane: Lane, strand: Strand) -> None:
        """Leave all of a strand to the outbox: its subscription is gone or has gone elsewhere."""
        strand.busy = False
        run.intake.released(lane, strand)
        run.wants_to_read.set()
