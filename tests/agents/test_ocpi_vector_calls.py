"""The OCPI vectors in which the agent calls: the registration and the pull, over HTTP."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from aiohttp import ClientSession
from yarl import URL

from iot_agents.server import OCPI, RunningAgents, serve
from iot_agents.settings import Settings
from tests.support.eventually import eventually
from tests.support.ngsi_receiver import NgsiReceiver, ngsi_receiver
from tests.support.ocpi_script import Asked, Script, ocpi_script
from tests.support.shared import SHARED, needs_shared
from tests.support.vectors import differences, vector

pytestmark = needs_shared
CREDENTIALS = "ocpi_221_credentials.json"
CASES = {
    "ocpi_221_cdr.json": 3,
    CREDENTIALS: 9,
    "ocpi_221_evse_status_patch.json": 7,
    "ocpi_221_location.json": 6,
    "ocpi_221_session.json": 4,
}
"""Here and in `test_ocpi_vectors` every case of these files is run."""


@asynccontextmanager
async def city(
    directory: Path, entry: Mapping[str, Any], broker: NgsiReceiver
) -> AsyncIterator[RunningAgents]:
    file = directory / "parties.yaml"
    file.write_text(json.dumps([{"party": "ES*MOB", **entry}]))
    settings = Settings(
        port=0,
        data_dir=directory,
        broker_url=broker.url,
        egress_allow_private=True,
        ocpi_parties_file=file,
        ocpi_party="ES*CTY",
        ocpi_name="City",
        retry_first=0.01,
    )
    async with serve(settings, {OCPI}) as agents:
        yield agents


def token(header: str) -> str:
    return base64.b64decode(header.removeprefix("Token ")).decode()


def test_no_case_of_the_vectors_is_left_out() -> None:
    found = {}
    for path in sorted((SHARED / "protocols" / "vectors").glob("ocpi_*.json")):
        said = json.loads(path.read_text(encoding="utf-8"))
        steps = said.get("steps", ())
        meanwhile = [step for step in steps if "meanwhile" in step]
        listed = (said.get("cases", ()), steps, meanwhile, said.get("inbound_token_forms", ()))
        found[path.name] = sum(map(len, listed))

    assert found == CASES


async def test_the_agent_pulls_what_the_vector_lists(tmp_path: Path) -> None:
    (case,) = [
        c for c in vector("ocpi_221_location.json")["cases"] if c["input"]["method"] == "GET"
    ]
    wanted = URL(case["input"]["path"])
    # What is pulled first is ten minutes younger than the vector's date_from: that is the overlap.
    (known,) = case["input"]["response"]["body"]["data"]
    empty = {**known, "id": "LOC-0001", "evses": [], "last_updated": "2026-03-01T07:10:00Z"}
    first = {**case["input"]["response"], "body": enveloped([empty])}
    async with ngsi_receiver() as broker, ocpi_script({}) as script:
        root = f"{script.url}/ocpi"
        module = {"identifier": "locations", "role": "SENDER", "url": script.url + wanted.path}
        script.answers = {
            ("GET", "/ocpi/versions"): ok([{"version": "2.2.1", "url": f"{root}/2.2.1"}]),
            ("GET", "/ocpi/2.2.1"): ok({"version": "2.2.1", "endpoints": [module]}),
            ("GET", wanted.path): first,
        }
        entry = {"url": f"{root}/versions", "token": "token-for-the-city", "interval": 1}
        async with city(tmp_path, entry, broker) as agents:
            await eventually(lambda: lists(script, wanted.path))
            script.answers["GET", wanted.path] = case["input"]["response"]
            await eventually(lambda: broker.entities)
            await agents.drained()

            (pulled,) = lists(script, wanted.path)[1:2]
            assert times(pulled.url) == times(wanted)
            assert pulled.headers["OCPI-to-party-id"] == "MOB"
            assert pulled.headers["OCPI-from-party-id"] == "CTY"
            assert differences(case, broker.entities) == []


async def test_the_agent_registers_as_the_vector_says(tmp_path: Path) -> None:
    """Each request as written; for the token B of the vector stands the one that was made."""
    said = json.loads((SHARED / "protocols" / "vectors" / CREDENTIALS).read_text(encoding="utf-8"))
    steps = said["steps"]
    answers = {(s["method"], URL(s["url"]).path): s["response"] for s in steps}
    (meanwhile,) = [step["meanwhile"] for step in steps if "meanwhile" in step]
    met: list[tuple[int, Any]] = []
    async with (
        ngsi_receiver() as broker,
        ocpi_script(answers, str(URL(steps[0]["url"]).origin())) as script,
        ClientSession() as http,
    ):

        async def visit(_: Any, body: Any) -> None:
            if body is not None:
                sent = f"Token {base64.b64encode(body['token'].encode()).decode()}"
                met.append(await asked(http, body["url"], sent))

        script.before = visit
        entry = {
            "url": script.moved(steps[0]["url"]),
            "token": token(steps[0]["headers"]["Authorization"]),
            "register": True,
        }
        async with city(tmp_path, entry, broker) as agents:
            await eventually(lambda: len(script.asked) > len(steps))
            made = script.asked[2].body["token"]

            for step, came in zip(steps, script.asked, strict=False):
                assert (came.method, str(came.url)) == (step["method"], script.moved(step["url"]))
                assert came.headers["Authorization"] == step["headers"]["Authorization"]
            body = steps[2]["body"]
            own = f"{agents.url}{URL(body['url']).path}"
            assert script.asked[2].body == {**body, "token": made, "url": own}

            expected = meanwhile["expected_response"]
            assert [(http, said["status_code"]) for http, said in met] == [
                (expected["http"], expected["status_code"])
            ]
            pulled = script.asked[len(steps)].headers["Authorization"]
            assert token(pulled) == said["after"]["agent_to_peer"]

            answers_by_form = [
                await asked(http, own, remade(form["header"], made))
                for form in said["inbound_token_forms"]
            ]
            assert [status for status, _ in answers_by_form] == [200, 200, 200, 401, 401]


async def test_a_party_whose_tokens_are_in_base64_is_not_known_by_a_raw_one(
    tmp_path: Path,
) -> None:
    said = json.loads((SHARED / "protocols" / "vectors" / CREDENTIALS).read_text(encoding="utf-8"))
    forms = [form["header"] for form in said["inbound_token_forms"]]
    opens = token(said["steps"][0]["headers"]["Authorization"])
    entry = {"registration_token": opens, "encoding": "base64"}
    places = ("/ocpi/versions", "/ocpi/2.2.1", "/ocpi/receiver/2.2.1/locations/ES/MOB/1")
    async with (
        ngsi_receiver() as broker,
        ClientSession() as http,
        city(tmp_path, entry, broker) as agents,
    ):
        raw = await asked(http, f"{agents.url}/ocpi/versions", f"Token {opens}")
        early = [await asked(http, agents.url + place, forms[4]) for place in places]

    assert raw[0] == 401
    assert [status for status, _ in early] == [200, 200, 401]


def remade(header: str, made: str) -> str:
    """Return a header of the vector with another token in place of its B."""
    scheme, given = header.split(" ", 1)
    if given == "B-secret":
        return f"{scheme} {made}"
    plain = base64.b64decode(given).decode().replace("B-secret", made)
    return f"{scheme} {base64.b64encode(plain.encode()).decode()}"


async def asked(http: ClientSession, url: str, authorization: str) -> tuple[int, Any]:
    async with http.get(url, headers={"Authorization": authorization}) as answer:
        return answer.status, await answer.json()


def lists(script: Script, path: str) -> list[Asked]:
    return [one for one in script.asked if one.url.path == path]


def times(url: URL) -> dict[str, Any]:
    """Return a query with its times as instants."""
    return {
        name: datetime.fromisoformat(value) if name.startswith("date") else value
        for name, value in url.query.items()
    }


def enveloped(data: Any) -> dict[str, Any]:
    return {"data": data, "status_code": 1000, "timestamp": "2026-03-01T07:00:00Z"}


def ok(data: Any) -> dict[str, Any]:
    return {"http": 200, "body": enveloped(data)}
