"""Notifications over MQTT, to a real Mosquitto."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiomqtt
import msgspec
import pytest

from broker.client import Client
from broker.egress import Egress, EgressPolicy
from broker.subscriptions.endpoints.mqtt import MqttEndpoint
from broker.subscriptions.endpoints.target import MqttServer, MqttTarget, Target
from broker.subscriptions.endpoints.tls import Trust
from tests.support.certificates import certified, needs_openssl
from tests.support.delivery import QUICK, delivering, road
from tests.support.eventually import PATIENCE, eventually
from tests.support.mosquitto import Mosquitto, free_port, mosquitto, needs_mosquitto
from tests.support.serve import running_broker
from tests.support.sockets import listening

pytestmark = needs_mosquitto

TOPIC = "city/roads"
PATIENT = replace(QUICK, attempts=1000)


def info(**pairs: str) -> list[dict[str, str]]:
    return [{"key": name.replace("_", "-"), "value": value} for name, value in pairs.items()]


def target(port: int, *, topic: str = TOPIC, qos: int = 1, **more: Any) -> Target:
    members = {"is_secure": False, "version": "mqtt5.0", "user": None, "password": None, **more}
    to = MqttServer(members.pop("host", "127.0.0.1"), port, **members)
    lane = f"mqtt://{to.host}:{port}"
    return Target(lane, lane, {}, mqtt=MqttTarget(to, topic, qos))


@asynccontextmanager
async def endpoint(**options: Any) -> AsyncIterator[MqttEndpoint]:
    policy = EgressPolicy(allow_private=options.pop("allow_private", True))
    seconds = options.pop("timeout", PATIENCE)
    async with Egress(policy) as egress, MqttEndpoint(egress, timeout=seconds, **options) as made:
        yield made


@asynccontextmanager
async def listener(server: Mosquitto) -> AsyncIterator[aiomqtt.Client]:
    """Subscribe to what is published; the server keeps that while nobody listens."""
    async with aiomqtt.Client(
        "127.0.0.1", server.port, identifier="there", clean_session=False
    ) as client:
        await client.subscribe("#", qos=2)
        yield client


@asynccontextmanager
async def mute() -> AsyncIterator[int]:
    """Take connections and never say a word."""

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader, writer
        await asyncio.Event().wait()

    async with listening(hold) as port:
        yield port


async def messages(client: aiomqtt.Client, count: int) -> list[aiomqtt.Message]:
    found = []
    async with asyncio.timeout(PATIENCE):
        async for message in client.messages:
            found.append(message)
            if len(found) == count:
                break
    return found


def decoded(message: aiomqtt.Message) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(bytes(message.payload))
    return found


def speed(message: aiomqtt.Message) -> int:
    found: int = decoded(message)["body"]["data"][0]["speed"]["value"]
    return found


@pytest.mark.parametrize("version", ["mqtt3.1.1", "mqtt5.0"])
@pytest.mark.parametrize("qos", ["0", "1", "2"])
async def test_a_change_is_published_with_what_http_has_in_headers(
    tmp_path: Path, version: str, qos: str
) -> None:
    async with (
        mosquitto(tmp_path) as server,
        listener(server) as there,
        delivering(tmp_path, PATIENT) as broker,
    ):
        asked = {
            "uri": f"{server.url}/{TOPIC}",
            "accept": "application/ld+json",
            "notifierInfo": info(MQTT_QoS=qos, MQTT_Version=version),
            "receiverInfo": info(X_Key="s3cret"),
        }
        entry = await broker.subscribe(server.url, notification={"endpoint": asked})

        await broker.drive(1, 30)
        (message,) = await messages(there, 1)

    sent = decoded(message)
    assert message.topic.value == TOPIC
    assert message.qos == int(qos)
    assert sent.keys() == {"metadata", "body"}
    assert sent["metadata"] == {"Content-Type": "application/ld+json", "X-Key": "s3cret"}
    assert sent["body"]["subscriptionId"] == entry.id
    assert sent["body"]["data"][0]["id"] == road(1)
    assert entry.delivery.status == "ok"


async def test_notifications_wait_for_a_server_that_is_away(tmp_path: Path) -> None:
    async with mosquitto(tmp_path) as server, delivering(tmp_path, PATIENT) as broker:
        asked = {"uri": f"{server.url}/{TOPIC}", "notifierInfo": info(MQTT_QoS="1")}
        entry = await broker.subscribe(server.url, notification={"endpoint": asked})
        async with listener(server) as there:
            await broker.drive(1, 10)
            before = await messages(there, 1)

        await server.stop()
        for faster in (20, 30, 40):
            await broker.drive(1, faster)
        await eventually(lambda: entry.delivery.times_failed)
        await server.start()
        async with listener(server) as there:
            after = await messages(there, 3)

    assert [speed(message) for message in (*before, *after)] == [10, 20, 30, 40]


async def test_one_connection_serves_all_topics_of_a_server(tmp_path: Path) -> None:
    async with mosquitto(tmp_path) as server, listener(server) as there, endpoint() as mqtt:
        failures = [
            await mqtt.send(target(server.port, topic=f"t/{number}"), b"{}") for number in range(20)
        ]
        found = await messages(there, 20)

        assert failures == [None] * 20
        assert [message.topic.value for message in found] == [f"t/{n}" for n in range(20)]
        assert mqtt.connections == 1


async def test_a_connection_that_nobody_uses_is_closed(tmp_path: Path) -> None:
    async with mosquitto(tmp_path) as server, endpoint(idle=0.01) as mqtt:
        await mqtt.send(target(server.port), b"{}")
        await eventually(lambda: not mqtt.connections)

        again = await mqtt.send(target(server.port), b"{}")

    assert again is None


async def test_a_server_behind_a_name_with_several_addresses_is_found(tmp_path: Path) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        del host, port
        return ["127.0.0.9", "127.0.0.1"]

    async with (
        mosquitto(tmp_path) as server,
        Egress(EgressPolicy(allow_private=True), resolve=resolve) as egress,
        MqttEndpoint(egress, timeout=PATIENCE) as mqtt,
    ):
        assert await mqtt.send(target(server.port, host="mqtt.example"), b"{}") is None


async def test_an_address_that_egress_refuses_is_not_connected_to() -> None:
    async with endpoint(allow_private=False) as mqtt:
        failure = await mqtt.send(target(free_port()), b"{}")

    assert failure is not None
    assert failure.refused
    assert "loopback" in failure.reason


async def test_a_server_that_is_not_there_is_a_failure_to_try_again() -> None:
    async with endpoint() as mqtt:
        failure = await mqtt.send(target(free_port()), b"{}")

        assert mqtt.connections == 0

    assert failure is not None
    assert not failure.refused


async def test_a_server_that_takes_the_call_and_says_nothing_is_given_up_in_time() -> None:
    async with mute() as port, endpoint(timeout=0.2) as mqtt:
        failure = await mqtt.send(target(port), b"{}")

    assert failure is not None
    assert "did not answer" in failure.reason


async def test_the_end_of_delivery_does_not_wait_for_a_server_that_says_nothing() -> None:
    async with mute() as port, asyncio.TaskGroup() as group:
        async with endpoint(timeout=1000.0) as mqtt:
            sending = group.create_task(mqtt.send(target(port), b"{}"))
            await eventually(lambda: mqtt.connections)

        failure = await sending

    assert failure is not None
    assert "delivery ends" in failure.reason


@needs_openssl
@pytest.mark.parametrize(
    ("name", "is_trusted", "arrives"),
    [
        ("mqtt.example", True, True),
        ("mqtt.example", False, False),
        ("other.example", True, False),
    ],
)
async def test_a_secure_server_must_prove_its_name(
    tmp_path: Path,
    name: str,
    is_trusted: bool,  # noqa: FBT001 - a table's column
    arrives: bool,  # noqa: FBT001 - a table's column
) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        del host, port
        return ["127.0.0.1"]

    certificate, key = await certified(tmp_path, "mqtt.example")
    async with (
        mosquitto(tmp_path, f"certfile {certificate}", f"keyfile {key}") as server,
        Egress(EgressPolicy(allow_private=True), resolve=resolve) as egress,
        MqttEndpoint(
            egress, timeout=PATIENCE, trust=Trust(certificate if is_trusted else None)
        ) as mqtt,
    ):
        failure = await mqtt.send(target(server.port, host=name, is_secure=True), b"{}")

    assert (failure is None) is arrives


@needs_openssl
async def test_a_server_that_asks_for_a_certificate_is_shown_one(tmp_path: Path) -> None:
    certificate, key = await certified(tmp_path, "localhost")
    both = tmp_path / "both.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    settings = (f"certfile {certificate}", f"keyfile {key}", f"cafile {certificate}")
    secure: dict[str, Any] = {"host": "localhost", "is_secure": True}
    async with (
        mosquitto(tmp_path, *settings, "require_certificate true") as server,
        Egress(EgressPolicy(allow_private=True)) as egress,
        MqttEndpoint(egress, timeout=2.0, trust=Trust(certificate)) as unknown,
        MqttEndpoint(egress, timeout=PATIENCE, trust=Trust(certificate, both)) as known,
    ):
        refused = await unknown.send(target(server.port, **secure), b"{}")
        taken = await known.send(target(server.port, **secure), b"{}")

    assert refused is not None
    assert taken is None


@needs_openssl
async def test_the_settings_name_whom_endpoints_are_certified_by(tmp_path: Path) -> None:
    certificate, key = await certified(tmp_path, "localhost")
    async with (
        mosquitto(tmp_path, f"certfile {certificate}", f"keyfile {key}") as server,
        running_broker(tmp_path / "data", notification_ca=certificate) as broker,
        Client.connect(broker.url) as client,
    ):
        endpoint = {"uri": f"mqtts://localhost:{server.port}/{TOPIC}"}
        subscription = {
            "id": "urn:ngsi-ld:Subscription:tls",
            "type": "Subscription",
            "entities": [{"type": "Road"}],
            "notification": {"endpoint": endpoint},
        }
        await client.create_subscription(subscription)

        told = await client.request("POST", f"/subscriptions/{subscription['id']}/test")

    assert told["delivered"] is True


async def test_user_and_password_of_the_uri_are_shown_to_the_server(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    passwords.write_text("")
    made = await asyncio.create_subprocess_exec(
        "mosquitto_passwd", "-b", str(passwords), "me", "s@cret", stderr=asyncio.subprocess.DEVNULL
    )
    assert await made.wait() == 0
    passwords.chmod(0o644)
    async with mosquitto(tmp_path, f"password_file {passwords}") as server, endpoint() as mqtt:
        wrong = await mqtt.send(target(server.port, user="me", password="guess"), b"{}")
        right = await mqtt.send(target(server.port, user="me", password="s@cret"), b"{}")

    assert wrong is not None
    assert right is None
