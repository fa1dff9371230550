"""The OCPI receiver over HTTP, beyond the vectors: objects of each level, parties, bad input."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from yarl import URL

from iot_agents.common.agent import Clock
from iot_agents.ocpi.settings import InvalidToken, OcpiSettings
from iot_agents.server import OCPI, RunningAgents, serve
from iot_agents.settings import Settings
from tests.support.ngsi_receiver import NgsiReceiver, ngsi_receiver

TOKEN = "token-of-the-operator"
OTHER = "token-of-another-one"
STATION = "urn:ngsi-ld:EVChargingStation:ES-MOB-L1"
POINT = "urn:ngsi-ld:EVChargingPoint:ES-MOB-L1-E1"


@dataclass
class Answer:
    http: int
    code: int
    data: Any
    message: str
    headers: Mapping[str, str]


class Operator:
    def __init__(self, http: ClientSession, agents: RunningAgents, broker: NgsiReceiver) -> None:
        self._http = http
        self.agents = agents
        self.broker = broker
        self._seen = 0

    async def __call__(
        self, method: str, path: str, body: Any = None, *, token: str = TOKEN, **more: Any
    ) -> Answer:
        headers = {"Authorization": f"Token {token}", **more.pop("headers", {})}
        version, module = more.pop("version", "2.2.1"), more.pop("module", "locations")
        url = URL(
            f"{self.agents.url}/ocpi/receiver/{version}/{module}/{path}".rstrip("/"), encoded=True
        )
        async with self._http.request(method, url, json=body, headers=headers, **more) as answer:
            said = await answer.json()
            return Answer(
                answer.status,
                said["status_code"],
                said.get("data"),
                said.get("status_message", ""),
                dict(answer.headers),
            )

    async def updates(self) -> dict[str, Any]:
        """Return by id what reached the broker since the last call."""
        await self.agents.drained()
        new = self.broker.entities[self._seen :]
        self._seen += len(new)
        return {entity["id"]: entity for entity in new}

    @property
    def counters(self) -> Mapping[str, int]:
        return self.agents.metrics()


@asynccontextmanager
async def operator(
    directory: Path, clock: Clock = lambda: datetime.now(UTC), **settings: Any
) -> AsyncIterator[Operator]:
    async with ngsi_receiver() as broker:
        chosen = Settings(
            port=0,
            data_dir=directory,
            broker_url=broker.url,
            tenant="city",
            ocpi_tokens=(f"ES*MOB={TOKEN}", f"FR*ABC={OTHER}"),
            retry_first=0.01,
            **settings,
        )
        async with serve(chosen, {OCPI}, clock=clock) as agents, ClientSession() as http:
            yield Operator(http, agents, broker)


def connector(**members: Any) -> dict[str, Any]:
    return {
        "id": "1",
        "standard": "IEC_62196_T2",
        "max_voltage": 230,
        "max_amperage": 32,
        "last_updated": "2026-03-01T08:00:00Z",
        **members,
    }


def evse(**members: Any) -> dict[str, Any]:
    return {
        "uid": "E1",
        "status": "AVAILABLE",
        "connectors": [connector()],
        "last_updated": "2026-03-01T08:00:00Z",
        **members,
    }


def location(**members: Any) -> dict[str, Any]:
    return {
        "country_code": "ES",
        "party_id": "MOB",
        "id": "L1",
        "publish": True,
        "name": "Plaza",
        "address": "Plaza 3",
        "city": "Valladolid",
        "country": "ESP",
        "coordinates": {"latitude": "41.652133", "longitude": "-4.728562"},
        "evses": [evse()],
        "time_zone": "Europe/Madrid",
        "last_updated": "2026-03-01T08:00:00Z",
        **members,
    }


def on_disk(directory: Path) -> str:
    """Return what is in the agent's databases."""
    return b"".join(path.read_bytes() for path in directory.glob("*.db*")).decode("latin-1")


LATER = "2026-03-01T09:00:00Z"
EARLIER = "2026-03-01T07:00:00Z"


async def test_each_level_is_returned_as_it_was_sent(tmp_path: Path) -> None:
    async with operator(tmp_path) as call:
        await call("PUT", "ES/MOB/L1", location(help_phone="112"))

        whole = await call("GET", "ES/MOB/L1")
        part = await call("GET", "es/mob/l1/e1")
        smallest = await call("GET", "ES/MOB/L1/E1/1")
        missing = await call("GET", "ES/MOB/L1/E1/7")

        assert whole.data["help_phone"] == "112"
        assert part.data["uid"] == "E1"
        assert smallest.data["standard"] == "IEC_62196_T2"
        assert (missing.http, missing.code) == (404, 2003)


async def test_a_new_evse_adds_capacity(tmp_path: Path) -> None:
    async with operator(tmp_path) as call:
        await call("PUT", "ES/MOB/L1", location())
        await call.updates()

        created = await call("PUT", "ES/MOB/L1/E2", evse(uid="E2", last_updated=LATER))
        again = await call("PUT", "ES/MOB/L1/E2", evse(uid="E2", last_updated=LATER))

        updates = await call.updates()
        assert (created.http, again.http) == (201, 200)
        assert updates[STATION]["capacity"]["value"] == 2
        assert updates[STATION]["capacity"]["observedAt"] == "2026-03-01T09:00:00.000Z"
        assert "name" not in updates[STATION]
        assert updates[POINT.replace("E1", "E2")]["status"]["value"] == "AVAILABLE"
        assert POINT not in updates


async def test_a_connector_is_put_and_patched(tmp_path: Path) -> None:
    async with operator(tmp_path) as call:
        await call("PUT", "ES/MOB/L1", location())
        await call.updates()

        put = await call("PUT", "ES/MOB/L1/E1/2", connector(id="2", last_updated=LATER))
        added = await call.updates()
        change = {"max_voltage": 400, "last_updated": "2026-03-01T10:00:00Z"}
        patch = await call("PATCH", "ES/MOB/L1/E1/2", change)
        changed = await call.updates()

        assert (put.http, patch.http) == (201, 200)
        assert added[STATION]["socketNumber"]["value"] == 2
        assert changed[STATION]["voltage"]["value"] == 400
        assert changed[STATION]["voltage"]["observedAt"] == "2026-03-01T10:00:00.000Z"


async def test_a_location_is_patched(tmp_path: Path) -> None:
    async with operator(tmp_path) as call:
        await call("PUT", "ES/MOB/L1", location())
        await call.updates()

        await call("PATCH", "ES/MOB/L1", {"name": "Plaza Mayor", "last_updated": LATER})

        updates = await call.updates()
        assert set(updates[STATION]) == {"id", "type", "name", "stationName"}
        assert updates[STATION]["name"]["value"] == "Plaza Mayor"


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("ES/MOB/L1", location(name="old", last_updated=EARLIER)),
        ("ES/MOB/L1/E1", evse(status="BLOCKED", last_updated=EARLIER)),
        ("ES/MOB/L1/E1/1", connector(max_voltage=1, last_updated=EARLIER)),
    ],
    ids=["location", "evse", "connector"],
)
async def test_what_is_older_than_what_we_know_changes_nothing(
    tmp_path: Path, method: str, path: str, body: Any
) -> None:
    async with operator(tmp_path) as call:
        await call("PUT", "ES/MOB/L1", location())
        await call.updates()

        answer = await call(method, path, body)

        assert (answer.http, answer.code) == (200, 1000)
        assert await call.updates() == {}


async def test_a_whole_location_does_not_put_a_newer_evse_back(tmp_path: Path) -> None:
    async with operator(tmp_path) as call:
        await call("PUT", "ES/MOB/L1", location())
        await call("PATCH", "ES/MOB/L1/E1", {"status": "CHARGING", "last_updated": LATER})
        await call.updates()

        await call("PUT", "ES/MOB/L1", location(name="New", last_updated=LATER))

        updates = await call.updates()
        assert updates[STATION]["name"]["value"] == "New"
        assert POINT not in updates
        assert (await call("GET", "ES/MOB/L1/E1")).data["status"] == "CHARGING"


async def test_an_evse_that_a_whole_location_lacks_is_removed(tmp_path: Path) -> None:
    both = [evse(), evse(uid="E2")]
    async with operator(tmp_path) as call:
        await call("PUT", "ES/MOB/L1", location(evses=both))
        await call.updates()

        await call("PUT", "ES/MOB/L1", location(last_updated=LATER))

        updates = await call.updates()
        assert updates[STATION]["capacity"]["value"] == 1
        assert updates[POINT.replace("E1", "E2")]["status"]["value"] == "REMOVED"


async def test_a_location_that_is_no_longer_public_is_taken_from_the_broker(
    tmp_path: Path,
) -> None:
    async with operator(tmp_path) as call:
        await call("PUT", "ES/MOB/L1", location())
        await call.updates()

        await call("PATCH", "ES/MOB/L1", {"publish": False, "last_updated": LATER})

        assert sorted(await call.broker.has_deleted(2)) == [POINT, STATION]
        await call.updates()
        later = {"publish": True, "last_updated": "2026-03-01T10:00:00Z"}
        await call("PATCH", "ES/MOB/L1", later)
        assert set(await call.updates()) == {STATION, POINT}


async def test_a_location_without_charging_points_is_kept_and_not_shown(tmp_path: Path) -> None:
    async with operator(tmp_path) as call:
        answer = await call("PUT", "ES/MOB/L1", location(evses=[]))

        assert (answer.http, answer.code) == (201, 1000)
        assert await call.updates() == {}


@pytest.mark.parametrize(
    ("path", "body", "code", "message"),
    [
        ("ES/MOB/L1", location(id="L2"), 2001, "not the one of the URL"),
        ("ES/MOB/L1", location(party_id="XYZ"), 2001, "not the one of the URL"),
        ("ES/MOB/L1", {"id": "L1"}, 2001, "country_code"),
        ("ES/MOB/L1", location(last_updated="soon"), 2001, "soon"),
        ("ES/MOB/L1", location(coordinates={"latitude": "x", "longitude": "1"}), 2001, "'x'"),
        ("ES/MOB/L1", location(evses=[{"uid": "E1"}]), 2001, "evses[0]"),
        ("ES/MOB/L9/E1", evse(), 2003, "L9"),
        ("FR/ABC/L1", location(country_code="FR", party_id="ABC"), 2001, "does not speak"),
    ],
    ids=["id", "party", "member", "time", "coordinates", "evse", "unknown", "not theirs"],
)
async def test_what_is_wrong_is_answered_with_its_place_and_counted(
    tmp_path: Path, path: str, body: Any, code: int, message: str
) -> None:
    async with operator(tmp_path) as call:
        answer = await call("PUT", path, body)

        assert (answer.http, answer.code) == (200, code)
        assert message in answer.message
        assert call.counters["rejected"] == 1
        assert await call.updates() == {}


async def test_a_patch_of_an_unknown_part_is_answered_so_that_the_sender_puts_it(
    tmp_path: Path,
) -> None:
    async with operator(tmp_path) as call:
        await call("PUT", "ES/MOB/L1", location())

        answer = await call("PATCH", "ES/MOB/L1/E7", {"status": "BLOCKED", "last_updated": LATER})

        assert (answer.http, answer.code) == (200, 2003)


async def test_a_body_that_is_not_json_is_a_bad_request(tmp_path: Path) -> None:
    async with operator(tmp_path) as call:
        answer = await call("PUT", "ES/MOB/L1", data=b"{")

        assert (answer.http, answer.code) == (400, 2001)


@pytest.mark.parametrize(
    "token",
    [
        TOKEN,
        base64.b64encode(TOKEN.encode()).decode(),
        base64.b64encode(TOKEN.encode() + b"\n").decode(),
    ],
    ids=["raw", "base64", "base64 with a line end"],
)
async def test_a_token_is_known_in_every_form_it_is_sent_in(tmp_path: Path, token: str) -> None:
    async with operator(tmp_path) as call:
        assert (await call("PUT", "ES/MOB/L1", location(), token=token)).code == 1000


@pytest.mark.parametrize("token", ["", "wrong-token-of-nobody", TOKEN[:-1], "====", "ünknown"])
async def test_an_unknown_token_is_turned_away(tmp_path: Path, token: str) -> None:
    async with operator(tmp_path) as call:
        answer = await call("GET", "ES/MOB/L1", token=token)

        assert answer.http == 401
        assert call.counters["unauthorized"] == 1


async def test_the_answer_goes_back_where_the_request_came_from(tmp_path: Path) -> None:
    headers = {
        "X-Request-ID": "r1",
        "OCPI-from-country-code": "ES",
        "OCPI-from-party-id": "MOB",
        "OCPI-to-country-code": "ES",
        "OCPI-to-party-id": "CTY",
    }
    async with operator(tmp_path) as call:
        answer = await call("PUT", "ES/MOB/L1", location(), headers=headers)

        assert answer.headers["X-Request-ID"] == "r1"
        assert answer.headers["OCPI-to-party-id"] == "MOB"
        assert answer.headers["OCPI-from-party-id"] == "CTY"


async def test_entities_are_written_to_the_tenant_of_the_settings(tmp_path: Path) -> None:
    async with operator(tmp_path) as call:
        await call("PUT", "ES/MOB/L1", location())
        await call.updates()

        assert {upsert.tenant for upsert in call.broker.upserts} == {"city"}


async def test_a_full_spool_is_an_error_and_the_change_can_be_sent_again(tmp_path: Path) -> None:
    async with operator(tmp_path, spool_max_measures=0) as call:
        refused = await call("PUT", "ES/MOB/L1", location())

    async with operator(tmp_path) as call:
        again = await call("PUT", "ES/MOB/L1", location())

        assert (refused.http, refused.code) == (503, 3000)
        assert (again.http, again.code) == (201, 1000)
        assert set(await call.updates()) == {STATION, POINT}


async def test_an_unknown_status_is_unknown_and_words_may_be_in_lower_case(
    tmp_path: Path,
) -> None:
    evses = [evse(status="available"), evse(uid="E2", status="DANCING")]
    async with operator(tmp_path) as call:
        await call("PUT", "ES/MOB/L1", location(evses=evses))

        updates = await call.updates()
        assert updates[POINT]["status"]["value"] == "AVAILABLE"
        assert updates[POINT.replace("E1", "E2")]["status"]["value"] == "UNKNOWN"
        assert call.counters["warnings"] >= 1


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("2026-03-01T08:00:00", "2026-03-01T08:00:00.000Z"),
        ("2026-03-01T10:00:00+02:00", "2026-03-01T08:00:00.000Z"),
        ("2026-03-01T08:00:00.1239Z", "2026-03-01T08:00:00.123Z"),
    ],
    ids=["no zone", "offset", "fraction"],
)
async def test_times_are_read_as_they_are_written_in_the_field(
    tmp_path: Path, text: str, stored: str
) -> None:
    async with operator(tmp_path) as call:
        await call("PUT", "ES/MOB/L1", location(last_updated=text))

        assert (await call("GET", "ES/MOB/L1")).data["last_updated"] == stored


async def test_a_time_in_the_future_does_not_shut_out_what_comes_next(tmp_path: Path) -> None:
    async with operator(tmp_path) as call:
        await call("PUT", "ES/MOB/L1", location(last_updated="2999-01-01T00:00:00Z"))
        await call.updates()

        known = (await call("GET", "ES/MOB/L1")).data["last_updated"]

        assert known < "2999"


def test_tokens_come_from_the_settings_and_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"# operators\n\nfr*abc={OTHER}\nES*TWO={TOKEN}\n")
    settings = Settings(ocpi_tokens=(f"ES*MOB={TOKEN}",), ocpi_tokens_file=file)

    parties = OcpiSettings.of(settings).parties_of

    assert parties(f"Token {TOKEN}") == {("ES", "MOB"), ("ES", "TWO")}
    assert parties(f"token {OTHER}") == {("FR", "ABC")}
    assert parties(f"Bearer {TOKEN}") == frozenset()


@pytest.mark.parametrize("entry", ["ES-MOB=token-token", "ES*MOB", "ES*MOB=short", "=token-token"])
def test_a_malformed_token_is_refused_without_showing_it(entry: str) -> None:
    with pytest.raises(InvalidToken, match=r"ocpi_tokens\[0\]") as caught:
        OcpiSettings.of(Settings(ocpi_tokens=(entry,)))

    assert "token-token" not in str(caught.value)
