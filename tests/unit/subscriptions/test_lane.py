"""Lanes: order, time, and the bound on memory."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from broker.core.identifiers import DEFAULT_TENANT, Iri
from broker.core.notification import envelope
from broker.store.interface import Delivery
from broker.subscriptions.breaker import Breaker
from broker.subscriptions.lane import Budget, Lane, cost
from broker.subscriptions.policy import DeliveryPolicy

POLICY = DeliveryPolicy(concurrency=4, failures_to_open=3, first_wait=1.0, longest_wait=8.0)


def row(sequence: int, about: str = "a", subscription: str = "s") -> Delivery:
    subscription_id = Iri(f"urn:{subscription}")
    made, body = envelope(subscription_id, "now", b'[{"id":"urn:%b"}]' % about.encode())
    return Delivery(made, DEFAULT_TENANT, subscription_id, about, body, "now", sequence)


def lane(policy: DeliveryPolicy = POLICY) -> Lane:
    return Lane("http://receiver:80", policy, Budget(policy.total_bytes))


def taken(there: Lane, now: float = 0.0) -> list[int]:
    """Take and finish all that can be taken now; return the sequences."""
    found = []
    while (strand := there.take(now)) is not None:
        parcel = strand.parcel()
        found += [one.sequence for one in parcel.rows]
        there.settled(parcel)
        strand.done()
        there.give_back(strand)
    return found


def test_notifications_about_one_entity_are_taken_one_after_the_other() -> None:
    there = lane()
    for number in (1, 2, 3):
        there.add(row(number), merges=False)

    first = there.take(0)

    assert first is not None
    assert [one.sequence for one in first.parcel().rows] == [1]
    assert there.take(0) is None


def test_notifications_about_other_entities_do_not_wait() -> None:
    there = lane()
    there.add(row(1, "a"), merges=False)
    there.add(row(2, "b"), merges=False)

    assert there.take(0) is not None
    assert there.take(0) is not None


def test_a_parcel_stays_the_same_until_it_is_done() -> None:
    there = lane()
    there.add(row(1), merges=True)
    strand = there.take(0)
    assert strand is not None
    before = strand.parcel()

    there.add(row(2), merges=True)

    assert strand.parcel() is before
    strand.done()
    assert [one.sequence for one in strand.parcel().rows] == [2]


def test_a_parked_strand_is_taken_when_its_time_has_come() -> None:
    there = lane()
    there.add(row(1), merges=False)
    strand = there.take(0)
    assert strand is not None

    there.give_back(strand, at=5.0)

    assert there.take(4.9) is None
    assert there.next_time() == 5.0
    assert there.take(5.0) is strand


def test_a_roused_strand_is_taken_at_once_and_only_once() -> None:
    there = lane()
    there.add(row(1), merges=False)
    strand = there.take(0)
    assert strand is not None
    there.give_back(strand, at=5.0)

    there.rouse(strand)
    there.rouse(strand)

    assert there.take(0) is strand
    assert there.take(6.0) is None


def test_no_more_workers_are_called_than_the_policy_allows() -> None:
    there = lane()
    for number in range(10):
        there.add(row(number, f"e{number}"), merges=False)

    assert there.more_workers(0) == POLICY.concurrency
    there.workers = 3
    assert there.more_workers(0) == POLICY.concurrency - 3


def test_a_merging_strand_keeps_the_last_notification_about_each_entity() -> None:
    there = lane()
    first = row(1, "a")
    there.add(first, merges=True)
    there.add(row(2, "b"), merges=True)

    replaced = there.add(row(3, "a"), merges=True)

    assert replaced is first
    assert taken(there) == [2, 3]


def test_merged_notifications_have_the_same_id_whenever_they_are_merged() -> None:
    rows = [row(1, "a"), row(2, "b")]
    ids = set()
    for _ in range(2):
        there = lane()
        for one in rows:
            there.add(one, merges=True)
        strand = there.take(0)
        assert strand is not None
        ids.add(msgspec.json.decode(strand.parcel().body)["id"])

    assert len(ids) == 1
    assert ids.isdisjoint(one.id for one in rows)


def test_a_lane_has_room_up_to_its_share() -> None:
    size = cost(row(1))
    there = lane(replace(POLICY, lane_bytes=size * 2))

    found = []
    for number in range(3):
        found.append(there.has_room(row(number)))
        there.add(row(number, str(number)), merges=False)

    assert found == [True, True, False]


def test_an_empty_lane_always_has_room_for_one() -> None:
    assert lane(replace(POLICY, lane_bytes=1, total_bytes=1)).has_room(row(1))


def test_all_lanes_share_one_budget_which_is_given_back() -> None:
    budget = Budget(10_000)
    lanes = [Lane(name, POLICY, budget) for name in ("one", "two")]
    for number in range(10):
        lanes[number % 2].add(row(number, f"e{number}"), merges=number % 2 == 0)
    lanes[0].add(row(10, "e0"), merges=True)
    assert budget.used == sum(cost(row(number, "e0")) for number in range(10))

    for there in lanes:
        taken(there)

    assert budget.used == 0


def test_dropping_a_busy_strand_leaves_what_is_under_way() -> None:
    there = lane()
    there.add(row(1), merges=False)
    strand = there.take(0)
    assert strand is not None
    parcel = strand.parcel()
    there.add(row(2), merges=False)

    dropped = there.drop(strand)

    assert [one.sequence for one in dropped] == [2]
    assert strand.parcel() is parcel


def test_dropping_a_waiting_strand_leaves_nothing() -> None:
    there = lane()
    there.add(row(1), merges=False)
    strand = there.take(0)
    assert strand is not None
    strand.parcel()
    there.give_back(strand, at=5.0)
    there.add(row(2), merges=False)

    dropped = there.drop(strand)

    assert [one.sequence for one in dropped] == [1, 2]
    assert there.take(9.0) is None
    assert there.is_idle


def test_a_circuit_opens_after_failures_in_a_row() -> None:
    breaker = Breaker(POLICY)

    opened = [breaker.failed(0.0) for _ in range(3)]

    assert opened == [False, False, True]
    assert breaker.limit(0.1, 4) == 0


def test_a_success_between_failures_keeps_the_circuit_closed() -> None:
    breaker = Breaker(POLICY)
    for _ in range(5):
        breaker.failed(0.0)
        breaker.failed(0.0)
        breaker.succeeded()

    assert breaker.limit(0.0, 4) == 4


def test_an_open_circuit_lets_one_probe_through_and_closes_on_success() -> None:
    breaker = Breaker(POLICY)
    for _ in range(3):
        breaker.failed(0.0)
    assert breaker.open_until is not None

    assert breaker.limit(breaker.open_until, 4) == 1
    assert breaker.succeeded() is True
    assert breaker.limit(0.0, 4) == 4


def test_a_failed_probe_opens_the_circuit_for_longer() -> None:
    breaker = Breaker(POLICY)
    for _ in range(3):
        breaker.failed(0.0)

    times = [breaker.open_until or 0.0]
    for _ in range(10):
        breaker.failed(times[-1])
        times.append(breaker.open_until or 0.0)

    assert POLICY.longest_wait / 2 <= times[-1] - times[-2] <= POLICY.longest_wait


def test_failures_from_before_the_circuit_opened_do_not_count_as_probes() -> None:
    breaker = Breaker(POLICY)
    for _ in range(3):
        breaker.failed(0.0)
    until = breaker.open_until

    breaker.failed(0.1)

    assert breaker.open_until == until


@pytest.mark.parametrize(
    ("attempts", "jitter", "wait"),
    [(1, 1.0, 1.0), (1, 0.0, 0.5), (2, 1.0, 2.0), (3, 1.0, 4.0), (4, 1.0, 8.0), (99, 0.0, 4.0)],
)
def test_waiting_doubles_up_to_the_longest(attempts: int, jitter: float, wait: float) -> None:
    assert POLICY.wait(attempts, lambda: jitter) == wait
