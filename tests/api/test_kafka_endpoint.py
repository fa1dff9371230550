"""Notifications to Kafka topics: to a real server where there is one, and without one."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer

from broker.egress import Egress, EgressPolicy
from broker.subscriptions.endpoints.kafka import KafkaEndpoint
from broker.subscriptions.endpoints.target import KafkaServer, KafkaTarget, Target
from tests.support.api import Api
from tests.support.delivery import QUICK, delivering, road
from tests.support.eventually import eventually
from tests.support.kafka import kafka, needs_kafka
from tests.support.mosquitto import free_port

TOPIC = "city.roads"
PATIENT = replace(QUICK, attempts=1000, longest_wait=0.5)


def target(port: int, *, host: str = "127.0.0.1") -> Target:
    lane = f"kafka://{host}:{port}"
    return Target(lane, lane, {}, kafka=KafkaTarget(KafkaServer(host, port), TOPIC, b"key"))


@asynccontextmanager
async def endpoint(*, seconds: float = 1.0, **policy: Any) -> AsyncIterator[KafkaEndpoint]:
    async with (
        Egress(EgressPolicy(**policy)) as egress,
        KafkaEndpoint(egress, timeout=seconds) as made,
    ):
        yield made


async def read(port: int, count: int) -> list[Any]:
    """Read a topic from its beginning."""
    consumer = AIOKafkaConsumer(
        TOPIC, bootstrap_servers=f"127.0.0.1:{port}", auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        return [await consumer.getone() for _ in range(count)]
    finally:
        await consumer.stop()


def subscription(uri: str) -> dict[str, Any]:
    return {
        "type": "Subscription",
        "entities": [{"type": "Road"}],
        "notification": {"endpoint": {"uri": uri}},
    }


async def test_without_the_client_a_subscription_is_refused_with_what_to_install(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "aiokafka", None)

    answered = await api("POST", "/subscriptions", subscription("kafka://broker.example/topic"))

    assert answered.status == 422
    assert answered.detail.startswith("notification.endpoint.uri: ")
    assert "rigel[kafka]" in answered.detail


async def test_with_the_client_a_subscription_is_taken(api: Api) -> None:
    answered = await api("POST", "/subscriptions", subscription("kafka://broker.example/topic"))

    assert answered.status == 201


@pytest.mark.parametrize(
    "uri",
    [
        "kafka://broker.example/",
        "kafka://broker.example/a/b",
        "kafka://broker.example/a%20b",
        "kafka://me:secret@broker.example/topic",
        "kafka://broker.example/topic?acks=0",
        "kafka:///topic",
    ],
)
async def test_what_is_no_topic_is_refused(api: Api, uri: str) -> None:
    answered = await api("POST", "/subscriptions", subscription(uri))

    assert answered.status == 400
    assert answered.detail.startswith("notification.endpoint.uri: ")


async def test_a_server_that_is_not_there_is_a_failure_to_try_again() -> None:
    async with endpoint(allow_private=True) as there:
        failure = await there.send(target(free_port()), b"{}")

    assert failure is not None
    assert not failure.refused


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_an_address_that_egress_refuses_is_not_connected_to(host: str) -> None:
    async with endpoint() as there:
        failure = await there.send(target(9092, host=host), b"{}")

    assert failure is not None
    assert failure.refused


@needs_kafka
async def test_notifications_are_written_in_order_per_entity(tmp_path: Path) -> None:
    (tmp_path / "kafka").mkdir()
    async with kafka(tmp_path / "kafka") as port, delivering(tmp_path, PATIENT) as broker:
        entry = await broker.subscribe(f"kafka://127.0.0.1:{port}/{TOPIC}")

        for speed in range(5):
            for number in range(4):
                await broker.drive(number, speed)
        await eventually(broker.is_settled)
        records = await read(port, 20)
        letters = await broker.dead()

    speeds: dict[str, list[int]] = defaultdict(list)
    for record in records:
        (entity,) = msgspec.json.decode(record.value)["data"]
        speeds[entity["id"]].append(entity["speed"]["value"])
    assert letters == []
    assert speeds == {road(number): list(range(5)) for number in range(4)}
    assert {record.key for record in records} == {entry.id.encode()}
    assert dict(records[0].headers) == {"Content-Type": b"application/json"}


@needs_kafka
async def test_a_server_that_names_a_forbidden_address_is_not_followed_there(
    tmp_path: Path,
) -> None:
    async with (
        kafka(tmp_path, advertised="127.0.0.9") as port,
        endpoint(allowed=("127.0.0.1",)) as there,
    ):
        failure = await there.send(target(port), b"{}")

    assert failure is not None
    assert "the server names 127.0.0.9" in failure.reason
