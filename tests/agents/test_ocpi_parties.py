"""OCPI parties that are pulled from and registered with, played by an operator of the tests."""

from __future__ import annotations

import base64
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from aiohttp import ClientSession, web

from iot_agents.ocpi.client import OcpiFailed, as_safe
from iot_agents.ocpi.parties import InvalidParties, load_parties
from iot_agents.server import OCPI, RunningAgents, serve
from iot_agents.settings import Settings
from tests.agents.test_ocpi import LATER, POINT, STATION, evse, location
from tests.support.agent_process import agent_process
from tests.support.eventually import eventually
from tests.support.ngsi_receiver import NgsiReceiver, ngsi_receiver
from tests.support.ocpi_sender import Sender, ocpi_sender

TOKEN = "token-for-the-city"
QUICK = "interval: 1, full_interval: 1"


def point(number: int) -> str:
    return POINT.replace("-L1-", f"-L{number}-")


def several(count: int) -> list[dict[str, Any]]:
    return [location(id=f"L{number}") for number in range(1, count + 1)]


def party(sender: Sender, more: str = "interval: 3600", token: str = TOKEN) -> str:
    return f"- {{party: 'ES*MOB', url: '{sender.url}/ocpi/versions', token: {token}, {more}}}\n"


@asynccontextmanager
async def city(
    directory: Path, parties: str, broker: NgsiReceiver, **settings: Any
) -> AsyncIterator[RunningAgents]:
    file = directory / "parties.yaml"
    file.write_text(parties)
    chosen = {
        "port": 0,
        "data_dir": directory,
        "broker_url": broker.url,
        "egress_allow_private": True,
        "ocpi_parties_file": file,
        "ocpi_party": "ES*CTY",
        "retry_first": 0.01,
        "retry_limit": 0.05,
        **settings,
    }
    async with serve(Settings(**chosen), {OCPI}) as agents:
        yield agents


def shown(broker: NgsiReceiver, entity_id: str, name: str) -> list[Any]:
    return [e[name]["value"] for e in broker.entities if e["id"] == entity_id and name in e]


async def test_all_pages_are_pulled_and_then_only_what_changed(tmp_path: Path) -> None:
    async with (
        ngsi_receiver() as broker,
        ocpi_sender(tokens={TOKEN}, objects={"locations": several(5)}) as sender,
    ):
        async with city(tmp_path, party(sender), broker):
            await eventually(lambda: shown(broker, point(5), "status"))
            await eventually(
                lambda: (tmp_path / "ocpi-peers.json").exists() or len(sender.asked) == 3
            )
        first, sender.asked = sender.asked, []
        sender.objects["locations"][1] = location(
            id="L2", last_updated=LATER, evses=[evse(status="BLOCKED", last_updated=LATER)]
        )
        async with city(tmp_path, party(sender), broker):
            await eventually(lambda: "BLOCKED" in shown(broker, point(2), "status"))

        assert ["date_from" in asked for asked in first] == [False] * 3
        assert "date_from=2026-03-01T07:50:00" in unquote(sender.asked[0])


async def test_a_lost_push_is_made_good_and_what_is_not_listed_any_more_is_missing(
    tmp_path: Path,
) -> None:
    async with (
        ngsi_receiver() as broker,
        ocpi_sender(tokens={TOKEN}, objects={"locations": several(3)}) as sender,
        city(tmp_path, party(sender, QUICK), broker),
    ):
        await eventually(lambda: shown(broker, point(3), "status"))

        gone = sender.objects["locations"].pop()
        await eventually(lambda: shown(broker, point(3), "missingSince"))
        missing = shown(broker, point(3), "status")
        sender.objects["locations"].append(gone)
        await eventually(lambda: shown(broker, point(3), "status")[-1] == "AVAILABLE")

        assert missing == ["AVAILABLE", "UNKNOWN"]
        assert shown(broker, point(1), "missingSince") == []


async def test_a_bad_object_of_a_list_is_a_dead_letter_and_the_others_pass(tmp_path: Path) -> None:
    listed = [location(id="L1"), {"id": "L2"}, 7, location(party_id="XYZ"), location(id="L3")]
    async with (
        ngsi_receiver() as broker,
        ocpi_sender(tokens={TOKEN}, objects={"locations": listed}) as sender,
        city(tmp_path, party(sender), broker) as agents,
    ):
        await eventually(lambda: shown(broker, point(3), "status"))

        letters = await agents.agents[OCPI].outlets.dead_letters.newest()
        assert shown(broker, POINT, "status") == ["AVAILABLE"]
        assert len(letters) == 3


async def test_a_party_that_fails_is_asked_again(tmp_path: Path) -> None:
    failures = [web.Response(status=503), web.Response(status=200, text="no JSON")]
    async with (
        ngsi_receiver() as broker,
        ocpi_sender(tokens={TOKEN}, objects={"locations": several(1)}, failures=failures) as sender,
        city(tmp_path, party(sender), broker),
    ):
        await eventually(lambda: shown(broker, POINT, "status"))

        assert len(sender.asked) == 3


async def test_a_token_does_not_follow_a_link_to_another_host(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        ngsi_receiver() as broker,
        ocpi_sender(tokens={TOKEN}) as other,
        ocpi_sender(
            tokens={TOKEN},
            objects={"locations": several(3)},
            link=f"{other.url}/ocpi/cpo/2.2.1/locations?offset=2&limit=2",
        ) as sender,
        city(tmp_path, party(sender), broker),
    ):
        await eventually(lambda: "on another host" in caplog.text)

        assert other.asked == []


async def test_a_private_address_is_not_called_unless_it_may_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        ngsi_receiver() as broker,
        ocpi_sender(tokens={TOKEN}, objects={"locations": []}) as sender,
        city(tmp_path, party(sender), broker, egress_allow_private=False),
    ):
        await eventually(lambda: "OCPI party ES*MOB" in caplog.text)

        assert sender.asked == []


async def test_an_operator_that_wants_its_token_raw_gets_it_raw(tmp_path: Path) -> None:
    async with (
        ngsi_receiver() as broker,
        ocpi_sender(tokens={TOKEN}, raw=True, objects={"locations": several(1)}) as sender,
        city(tmp_path, party(sender), broker),
    ):
        await eventually(lambda: shown(broker, POINT, "status"))


async def test_we_register_at_an_operator_and_it_pushes_with_the_token_it_got(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    entry = "register: true"
    async with (
        ngsi_receiver() as broker,
        ocpi_sender(tokens={"A-secret"}, objects={"locations": several(1)}) as sender,
        ClientSession() as http,
    ):
        async with city(tmp_path, party(sender, entry, "A-secret"), broker):
            await eventually(lambda: shown(broker, POINT, "status"))
        given = sender.credentials["token"]

        async with city(tmp_path, party(sender, entry, "A-secret"), broker) as agents:
            change = {"status": "BLOCKED", "last_updated": LATER}
            answer = await call(
                http,
                "PATCH",
                f"{agents.url}/ocpi/receiver/2.2.1/locations/ES/MOB/L1/E1",
                given,
                change,
            )

        assert sender.credentials["url"].endswith("/ocpi/versions")
        assert sender.credentials["roles"][0]["party_id"] == "CTY"
        assert answer["status_code"] == 1000
        assert (tmp_path / "ocpi-peers.json").stat().st_mode & 0o777 == 0o600
        assert not any(token in caplog.text for token in ("A-secret", "C-secret", given))


async def call(
    http: ClientSession, method: str, url: str, token: str, body: Any = None
) -> dict[str, Any]:
    sent = base64.b64encode(token.encode()).decode()
    headers = {"Authorization": f"Token {sent}", "X-Request-ID": "r1"}
    async with http.request(method, url, json=body, headers=headers) as answer:
        assert answer.headers["X-Request-ID"] == "r1"
        return {"http": answer.status, **await answer.json()}


async def test_an_operator_registers_at_us_and_is_pulled_from(tmp_path: Path) -> None:
    parties = "- {party: 'ES*MOB', registration_token: A-secret}\n"
    async with (
        ngsi_receiver() as broker,
        ocpi_sender(tokens={"B-secret"}, objects={"locations": several(1)}) as sender,
        ClientSession() as http,
    ):
        mine = {
            "token": "B-secret",
            "url": f"{sender.url}/ocpi/versions",
            "roles": [{"role": "CPO", "party_id": "mob", "country_code": "ES"}],
        }
        stranger = {**mine, "roles": [{"role": "CPO", "party_id": "XYZ", "country_code": "ES"}]}
        unusable = {**mine, "token": "wrong-token"}
        async with city(tmp_path, parties, broker) as agents:
            versions = await call(http, "GET", f"{agents.url}/ocpi/versions", "A-secret")
            details = await call(http, "GET", versions["data"][0]["url"], "A-secret")
            ends = {end["identifier"]: end["url"] for end in details["data"]["endpoints"]}
            own = ends["credentials"]
            early = await call(http, "PUT", own, "A-secret", mine)
            refused = await call(http, "POST", own, "A-secret", stranger)
            failed = await call(http, "POST", own, "A-secret", unusable)
            pushed = await call(http, "GET", f"{ends['locations']}/ES/MOB/L1", "A-secret")
            done = await call(http, "POST", own, "A-secret", mine)
            await eventually(lambda: shown(broker, POINT, "status"))
            old = await call(http, "GET", own, "A-secret")
        token = done["data"]["token"]

        async with city(tmp_path, parties, broker) as agents:
            own = f"{agents.url}/ocpi/2.2.1/credentials"
            told = await call(http, "GET", own, token)
            twice = await call(http, "POST", own, token, mine)
            renewed = await call(http, "PUT", own, token, mine)
            newer = renewed["data"]["token"]
            ended = await call(http, "DELETE", own, newer)
            after = await call(http, "GET", own, newer)

        assert early["http"] == 405
        assert (refused["status_code"], failed["status_code"]) == (2001, 3001)
        assert pushed["http"] == 401
        assert (done["status_code"], old["http"]) == (1000, 401)
        assert told["data"]["token"] == token
        assert (twice["http"], ended["status_code"], after["http"]) == (405, 1000, 401)
        assert newer != token


async def test_an_operator_that_lost_its_token_registers_anew_with_another_one(
    tmp_path: Path,
) -> None:
    async with (
        ngsi_receiver() as broker,
        ocpi_sender(tokens={"B-secret"}, objects={"locations": several(1)}) as sender,
        ClientSession() as http,
    ):
        mine = {
            "token": "B-secret",
            "url": f"{sender.url}/ocpi/versions",
            "roles": [
                {"role": "CPO", "party_id": "MOB", "country_code": "ES"},
                {"role": "EMSP", "party_id": "XYZ", "country_code": "ES"},
            ],
        }
        answers = []
        for opens in ("A-secret", "A-secret", "D-secret"):
            parties = f"- {{party: 'ES*MOB', registration_token: {opens}}}\n"
            async with city(tmp_path, parties, broker) as agents:
                own = f"{agents.url}/ocpi/2.2.1/credentials"
                told = await call(http, "GET", own, opens)
                answers.append((told, await call(http, "POST", own, opens, mine)))

    (first, done), (_, spent), (again, renewed) = answers
    assert (first["data"]["token"], done["status_code"]) == ("A-secret", 1000)
    assert spent["http"] == 401
    assert (again["data"]["token"], renewed["status_code"]) == ("D-secret", 1000)
    assert renewed["data"]["token"] != done["data"]["token"]


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"offered": [{"version": "2.3.0", "url": "https://cpo.example/2.3.0"}]}, 3002),
        ({"objects": {}}, 3003),
        ({"tokens": {"other"}}, 3001),
        ({"offered": [{"version": "2.2.1", "url": "no url"}]}, 3001),
    ],
    ids=["version", "endpoints", "token", "url"],
)
async def test_a_registration_that_cannot_be_is_told_why(
    tmp_path: Path, more: dict[str, Any], code: int
) -> None:
    parties = "- {party: 'ES*MOB', registration_token: A-secret}\n"
    given = {"tokens": {"B-secret"}, "objects": {"locations": []}, **more}
    async with (
        ngsi_receiver() as broker,
        ocpi_sender(**given) as sender,
        ClientSession() as http,
        city(tmp_path, parties, broker) as agents,
    ):
        mine = {
            "token": "B-secret",
            "url": f"{sender.url}/ocpi/versions",
            "country_code": "ES",
            "party_id": "MOB",
        }
        own = f"{agents.url}/ocpi/2.1.1/credentials"
        refused = await call(http, "POST", own, "A-secret", mine)
        early = await call(http, "DELETE", own, "A-secret")
        bad = [
            await call(http, "POST", own, "A-secret", {**mine, name: value})
            for name, value in (("url", "no url"), ("token", "with blank"), ("token", ""))
        ]

    assert refused["status_code"] == code
    assert early["http"] == 405
    assert [answer["status_code"] for answer in bad] == [3001, 2001, 2001]


async def test_what_nobody_foresaw_is_an_error_with_a_reference_to_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parties = "- {party: 'ES*MOB', registration_token: A-secret}\n"
    (tmp_path / "ocpi-peers.new").mkdir()
    async with (
        ngsi_receiver() as broker,
        ocpi_sender(tokens={"B-secret"}, objects={"locations": []}) as sender,
        ClientSession() as http,
        city(tmp_path, parties, broker) as agents,
    ):
        mine = {
            "token": "B-secret",
            "url": f"{sender.url}/ocpi/versions",
            "country_code": "ES",
            "party_id": "MOB",
        }
        own = f"{agents.url}/ocpi/2.2.1/credentials"
        answer = await call(http, "POST", own, "A-secret", mine)

    said, _, reference = answer["status_message"].rpartition(" ")
    assert (answer["http"], answer["status_code"], said) == (500, 3000, "internal error")
    assert reference in caplog.text
    assert "ocpi-peers" in caplog.text
    assert "-secret" not in caplog.text


@pytest.mark.parametrize(
    ("told", "called"),
    [
        ("https://cpo.example/list?offset=2", "https://cpo.example/list?offset=2"),
        ("http://cpo.example/list?offset=2", "https://cpo.example/list?offset=2"),
        ("http://cpo.example:8080/list", "https://cpo.example/list"),
        ("https://other.example/list", "https://other.example/list"),
        ("http://other.example/list", None),
        ("http://[half", None),
    ],
)
def test_who_is_called_by_https_is_not_called_by_http(told: str, called: str | None) -> None:
    if called is None:
        with pytest.raises(OcpiFailed):
            as_safe(told, "https://cpo.example/versions")
    else:
        assert as_safe(told, "https://cpo.example/versions") == called


async def test_a_location_that_a_push_names_and_nobody_knows_is_fetched(tmp_path: Path) -> None:
    async with (
        ngsi_receiver() as broker,
        ocpi_sender(tokens={TOKEN}, objects={"locations": []}) as sender,
        ClientSession() as http,
        city(tmp_path, party(sender), broker, ocpi_tokens=(f"ES*MOB={TOKEN}",)) as agents,
    ):
        await eventually(lambda: sender.asked)
        sender.objects["locations"] = several(1)
        change = {"status": "BLOCKED", "last_updated": LATER}
        url = f"{agents.url}/ocpi/receiver/2.2.1/locations/ES/MOB/L1/E1"

        answer = await call(http, "PATCH", url, TOKEN, change)
        await eventually(lambda: shown(broker, STATION, "capacity"))

        assert answer["status_code"] == 2003
        assert "/ocpi/cpo/2.2.1/locations/L1" in sender.asked


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- {party: ES-MOB, registration_token: A-secret}", "ES-MOB"),
        ("- {party: 'ES*MOB'}", "registration_token"),
        ("- {party: 'ES*MOB', url: 'https://cpo.example'}", "belong together"),
        ("- {party: 'ES*MOB', registration_token: A}", "8 to 64"),
        ("- {party: 'ES*MOB', registration_token: A-secret, colour: red}", "colour"),
        ("{}", "array"),
    ],
    ids=["party", "nothing", "half", "short", "unknown", "no list"],
)
def test_a_wrong_file_of_parties_is_refused_with_the_place(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "parties.yaml"
    file.write_text(text)

    with pytest.raises(InvalidParties, match=message) as caught:
        load_parties(file)

    assert "A-secret" not in str(caught.value)


async def test_what_was_answered_arrives_after_a_kill(tmp_path: Path) -> None:
    token = f"ES*MOB={TOKEN}"
    async with ngsi_receiver() as broker, ClientSession() as http:
        broker.respond = lambda _: web.Response(status=503)
        given = {"broker_url": broker.url, "role": "ocpi", "ocpi_tokens": [token]}
        async with agent_process(tmp_path, **given) as agent:
            for number in range(1, 21):
                url = f"{agent.url}/ocpi/receiver/2.2.1/locations/ES/MOB/L{number}"
                answer = await call(http, "PUT", url, TOKEN, location(id=f"L{number}"))
                assert answer["status_code"] == 1000
            await agent.kill()
        broker.respond = lambda _: None

        async with agent_process(tmp_path, **given) as agent:
            again = f"{agent.url}/ocpi/receiver/2.2.1/locations/ES/MOB/L20"
            await call(http, "PUT", again, TOKEN, location(id="L20"))
            await broker.received(40)

        ids = [entity["id"] for entity in broker.entities]
        assert len(ids) == len(set(ids)) == 40
