"""The OCPI vectors over HTTP: what the sender is answered and what reaches the broker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import ClientSession

from iot_agents.server import OCPI, RunningAgents, serve
from iot_agents.settings import Settings
from tests.agents.test_ocpi import on_disk
from tests.support.ngsi_receiver import NgsiReceiver, ngsi_receiver
from tests.support.serve import running_broker
from tests.support.shared import needs_shared
from tests.support.vectors import differences, vector

pytestmark = needs_shared
TOKEN = "tok-B-for-tests"
POINT = "urn:ngsi-ld:EVChargingPoint:ES-MOB-LOC-0042-"


class Peer:
    """A charging point operator's side of the link, and a look at what the broker got."""

    def __init__(self, http: ClientSession, agents: RunningAgents, receiver: NgsiReceiver) -> None:
        self.http = http
        self.agents = agents
        self.receiver = receiver
        self._seen = 0

    async def send(self, case: Mapping[str, Any]) -> tuple[int, Mapping[str, str], Any]:
        """Send a case's request and return status, headers and body of the answer."""
        given = case["input"]
        async with self.http.request(
            given["method"],
            self.agents.url + given["path"],
            json=given["body"],
            headers=given["headers"],
        ) as answer:
            return answer.status, dict(answer.headers), await answer.json()

    async def get(self, path: str) -> Any:
        """Return the answer to a GET of an object by its path or URL."""
        url = path if path.startswith("http") else f"{self.agents.url}/ocpi/receiver/2.2.1/{path}"
        headers = {"Authorization": f"Token {TOKEN}"}
        async with self.http.get(url, headers=headers) as answer:
            return await answer.json()

    async def updates(self) -> list[Mapping[str, Any]]:
        """Return what reached the broker since the last call, once nothing is on its way."""
        await self.agents.drained()
        new = self.receiver.entities[self._seen :]
        self._seen += len(new)
        return new


@asynccontextmanager
async def peer(directory: Path) -> AsyncIterator[Peer]:
    async with ngsi_receiver() as receiver:
        settings = Settings(
            port=0,
            data_dir=directory,
            broker_url=receiver.url,
            ocpi_tokens=(f"ES*MOB={TOKEN}",),
            retry_first=0.01,
        )
        async with serve(settings, {OCPI}) as agents, ClientSession() as http:
            yield Peer(http, agents, receiver)


def pushes(name: str) -> list[Mapping[str, Any]]:
    """Return the cases in which the operator pushes."""
    return [case for case in vector(name)["cases"] if case["input"]["method"] != "GET"]


async def check(peer: Peer, case: Mapping[str, Any]) -> None:
    expected = case["expected_response"]

    status, headers, body = await peer.send(case)
    updates = await peer.updates()

    assert str(status) in str(expected["http"]).split(" or "), case["name"]
    if "body" in expected:
        assert body["status_code"] == expected["body"]["status_code"], body
        assert body["timestamp"].endswith("Z")
    for name in ("X-Request-ID", "X-Correlation-ID"):
        assert headers[name] == case["input"]["headers"][name]
    assert differences(case, updates) == [], case["name"]


async def test_locations_are_pushed_as_the_vectors_say(tmp_path: Path) -> None:
    async with peer(tmp_path) as operator:
        for case in pushes("ocpi_221_location.json"):
            await check(operator, case)

        assert operator.agents.agents[OCPI].counters.warnings >= 1


async def test_changes_of_a_charging_point_are_pushed_as_the_vectors_say(tmp_path: Path) -> None:
    async with peer(tmp_path) as operator:
        await operator.send(pushes("ocpi_221_location.json")[0])
        await operator.updates()

        for case in pushes("ocpi_221_evse_status_patch.json"):
            await check(operator, case)


async def test_what_was_pushed_is_known_after_a_restart(tmp_path: Path) -> None:
    location, again = pushes("ocpi_221_location.json")[:2]
    async with peer(tmp_path) as operator:
        await operator.send(location)
        await operator.updates()

    async with peer(tmp_path) as operator:
        await check(operator, again)
        await check(operator, pushes("ocpi_221_evse_status_patch.json")[0])


async def test_sessions_are_pushed_as_the_vectors_say(tmp_path: Path) -> None:
    async with peer(tmp_path) as operator:
        for case in pushes("ocpi_221_session.json"):
            await check(operator, case)

        kept = await operator.get("sessions/ES/MOB/S-20260301-0007")
        assert len(kept["data"]["charging_periods"]) == 2
        assert operator.agents.agents[OCPI].counters.warnings >= 1
        assert forbidden("ocpi_221_session.json", operator, tmp_path, kept) == []


async def test_cdrs_are_pushed_as_the_vectors_say(tmp_path: Path) -> None:
    async with peer(tmp_path) as operator:
        for case in pushes("ocpi_221_cdr.json"):
            await check(operator, case)

        _, headers, _ = await operator.send(pushes("ocpi_221_cdr.json")[0])
        kept = await operator.get(headers["Location"])
        assert kept["data"]["id"] == "CDR-20260301-0007"
        assert forbidden("ocpi_221_cdr.json", operator, tmp_path, kept) == []


async def test_everything_of_the_vectors_arrives_in_a_broker(tmp_path: Path) -> None:
    names = ("location", "evse_status_patch", "session", "cdr")
    cases = [case for name in names for case in pushes(f"ocpi_221_{name}.json")]
    async with running_broker(tmp_path / "broker") as broker:
        settings = Settings(
            port=0,
            data_dir=tmp_path,
            broker_url=broker.url,
            ocpi_tokens=(f"ES*MOB={TOKEN}",),
        )
        async with serve(settings, {OCPI}) as agents, ClientSession() as http:
            operator = Peer(http, agents, NgsiReceiver())
            for case in cases:
                await operator.send(case)
            await agents.drained()

            counters = agents.agents[OCPI].counters
            async with http.get(f"{broker.url}/ngsi-ld/v1/entities?type=EVChargingPoint") as answer:
                points = {
                    entity["id"].removeprefix(POINT): entity for entity in await answer.json()
                }

        assert counters.dead_letters == 0
        assert points["3256"]["status"]["value"] == "CHARGING"
        assert points["3256"]["sessionStatus"]["value"] == "COMPLETED"
        assert points["3257"]["status"]["value"] == "REMOVED"


def forbidden(name: str, operator: Peer, directory: Path, answer: Any) -> list[str]:
    """Return the personal data of a vector that came out of the agent or stays on its disk."""
    told = str(operator.receiver.entities) + str(answer) + on_disk(directory)
    return [text for text in vector(name)["forbidden_substrings"] if text in told]
