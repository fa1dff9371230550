"""Each role runs alone, and together they are the platform."""

from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import ClientSession

from broker.client import Client
from rigel.demo import chirpstack, names
from rigel.demo.city import build_city
from rigel.demo.facts import Counts, Facts, everybody_told
from rigel.demo.provisioning import provision
from rigel.demo.replay import mqtt_publisher
from rigel.demo.story import PARKING_SENSOR, Uplink
from smart_data_models.context import CONTEXT_PATH
from tests.support.rigel_process import Ports, rigel

pytestmark = pytest.mark.system

AT = datetime(2025, 6, 17, 8, 15, tzinfo=UTC)


def arrived_and_told(counts: Counts) -> bool:
    return (
        counts["rigel_agent_delivered_total"] == 1
        and counts.get("rigel_subscriber_notifications_total") == 2
        and everybody_told(counts)
    )


async def test_a_frame_becomes_an_entity_through_four_processes(tmp_path: Path) -> None:
    ports, others = Ports(), Ports()
    broker = f"http://127.0.0.1:{ports.broker}"
    common = {"RIGEL_BROKER_EGRESS_ALLOW": "127.0.0.1"} | {
        f"RIGEL_{section}_BROKER_URL": broker for section in ("AGENTS", "SUBSCRIBERS")
    }
    city = build_city()
    bay = city.bays[0]
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(ClientSession())
        for words, free in (
            (("broker",), ports),
            (("agent", "lorawan"), ports),
            (("rules",), ports),
            (("kpi",), others),
        ):
            directory = tmp_path / words[-1]
            directory.mkdir()
            environment = {**free.environment, **common}
            await stack.enter_async_context(
                rigel(*words, directory=directory, environment=environment)
            )
        facts = Facts(
            http,
            broker,
            f"http://127.0.0.1:{ports.agents}",
            f"http://127.0.0.1:{ports.subscribers}",
            f"http://127.0.0.1:{others.subscribers}",
        )
        await facts.ready(30)
        await provision(city, http, f"http://127.0.0.1:{ports.agents}")
        uplink = Uplink(AT, bay.dev_eui, PARKING_SENSOR, 1, 1, b"\x01")

        async with mqtt_publisher(f"mqtt://127.0.0.1:{ports.mqtt}") as publish:
            message = chirpstack.message(uplink, session="01a2b3c4")
            await publish(chirpstack.topic(bay.dev_eui), message)
        await facts.until(arrived_and_told, "the frame delivered and both subscribers told", 30)
        client = Client(http, broker, ld_context=broker + CONTEXT_PATH)
        entity = await client.retrieve_entity(names.parking_spot(bay))

    assert entity is not None
    assert entity["status"]["value"] == "occupied"
