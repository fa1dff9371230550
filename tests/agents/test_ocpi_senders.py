"""Operators that answer pulls wrongly: they are told of, and stop nobody else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

from tests.agents.test_ocpi import LATER, POINT, evse, location
from tests.agents.test_ocpi_parties import TOKEN, city, party, shown
from tests.support.eventually import eventually
from tests.support.ngsi_receiver import ngsi_receiver
from tests.support.ocpi_sender import ocpi_sender

SECOND = "- {{party: 'FR*ABC', url: '{}/ocpi/versions', token: {}, interval: 1}}\n"
OTHER = POINT.replace("ES-MOB", "FR-ABC")


def said(text: bytes | str) -> Callable[[web.Request], web.Response]:
    body = text.encode() if isinstance(text, str) else text
    return lambda _: web.Response(body=body, content_type="application/json")


def enveloped(data: Any, **headers: str) -> web.Response:
    body = {"data": data, "status_code": 1000, "timestamp": LATER}
    return web.json_response(body, headers=headers)


def linked(link: str) -> Callable[[web.Request], web.Response]:
    return lambda _: enveloped([], Link=f'<{link}>; rel="next"')


def endless(request: web.Request) -> web.Response:
    following = request.url.update_query(offset=str(int(request.query["offset"]) + 1 & 1))
    return enveloped([], Link=f'<{following}>; rel="next"')


def redirect(target: str) -> Callable[[web.Request], web.Response]:
    return lambda _: web.Response(status=302, headers={"Location": target})


def echo(request: web.Request) -> web.Response:
    message = f"unknown: {request.headers['Authorization']} {TOKEN}"
    body = {"status_code": 2001, "status_message": message}
    return web.json_response(body)


@pytest.mark.parametrize(
    ("answer", "trouble"),
    [
        (said(b'{"data":' + b"[" * 100_000), "no OCPI answer"),
        (said(b'{"data":["\xff"]}'), "no OCPI answer"),
        (said("<html>"), "no OCPI answer"),
        (said(json.dumps({"data": {}, "status_code": 1000})), "expected a list"),
        (said(json.dumps({"data": [], "status_code": [1000]})), "HTTP 200, [1000]"),
        (said(b'{"data":["' + b"x" * (17 * 1024 * 1024) + b'"]}'), "16777216"),
        (endless, "do not come to an end"),
        (linked("http://[half"), "no URL"),
        (linked("file:///etc/passwd"), "is no URL"),
        (redirect("http://127.0.0.2/"), "127.0.0.2"),
        (redirect("http://169.254.169.254/latest/meta-data"), "169.254.169.254"),
        (echo, "unknown: Token … …"),
    ],
    ids=[
        "deep", "no text", "no JSON", "no list", "odd code", "huge", "endless", "no URL", "file",
        "loopback", "metadata", "echo",
    ],
)  # fmt: skip
async def test_an_operator_that_answers_wrongly_is_named_and_the_other_one_is_pulled_from(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    answer: Callable[[web.Request], web.Response],
    trouble: str,
) -> None:
    good = location(country_code="FR", party_id="ABC", country="FRA")
    async with (
        ngsi_receiver() as broker,
        ocpi_sender(tokens={TOKEN}, objects={"locations": []}, answer=answer) as bad,
        ocpi_sender(tokens={TOKEN}, objects={"locations": [good]}) as other,
        ClientSession() as http,
    ):
        parties = party(bad, "interval: 1") + SECOND.format(other.url, TOKEN)
        given = {"egress_allow_private": False, "egress_allow": "127.0.0.1"}
        async with city(tmp_path, parties, broker, **given) as agents:
            await eventually(lambda: shown(broker, OTHER, "status"))

            async def told() -> bool:
                async with http.get(f"{agents.url}/ready") as ready:
                    notes = (await ready.json())["notes"]
                return any("ES*MOB" in note and trouble in note for note in notes)

            await eventually(told)
            moved = evse(status="CHARGING", last_updated=LATER)
            other.objects["locations"] = [{**good, "evses": [moved], "last_updated": LATER}]
            await eventually(lambda: shown(broker, OTHER, "status")[-1] == "CHARGING")

    assert TOKEN not in caplog.text


@pytest.mark.parametrize(
    "versions",
    [
        [{"version": ["2.2.1"], "url": {}}, 7, {"version": {}}],
        [{"version": "2.2.1", "url": "no url"}],
        [{"version": "2.2.1", "url": "http://[half"}],
        {"version": "2.2.1"},
        None,
    ],
)
async def test_versions_that_nobody_can_read_are_told_of(tmp_path: Path, versions: Any) -> None:
    async with (
        ngsi_receiver() as broker,
        ocpi_sender(tokens={TOKEN}, offered=versions, objects={"locations": []}) as bad,
        ocpi_sender(
            tokens={TOKEN}, objects={"locations": [location(country_code="FR", party_id="ABC")]}
        ) as other,
        ClientSession() as http,
        city(tmp_path, party(bad) + SECOND.format(other.url, TOKEN), broker) as agents,
    ):
        await eventually(lambda: shown(broker, OTHER, "status"))

        async def told() -> bool:
            async with http.get(f"{agents.url}/ready") as ready:
                return "ES*MOB" in str((await ready.json())["notes"])

        await eventually(told)


async def test_the_token_does_not_follow_a_redirect_to_another_host(tmp_path: Path) -> None:
    seen: list[str | None] = []

    def look(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return enveloped([])

    async with (
        ngsi_receiver() as broker,
        ocpi_sender(tokens={TOKEN}, objects={"locations": []}, answer=look) as other,
        ocpi_sender(
            tokens={TOKEN},
            objects={"locations": []},
            answer=redirect(f"{other.url}/ocpi/cpo/2.2.1/locations"),
        ) as sender,
        city(tmp_path, party(sender), broker),
    ):
        await eventually(lambda: seen)

    assert set(seen) == {None}


async def test_a_list_that_is_told_the_wrong_length_misses_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Between two pages objects moved: who is not there may still be on the other page."""
    async with (
        ngsi_receiver() as broker,
        ocpi_sender(
            tokens={TOKEN}, objects={"locations": [location(), location(id="L2")]}
        ) as sender,
        city(tmp_path, party(sender, "interval: 1, full_interval: 1"), broker),
    ):
        await eventually(lambda: shown(broker, POINT, "status"))

        one = sender.objects["locations"][0]
        sender.answer = lambda _: enveloped([one], **{"X-Total-Count": "2"})
        await eventually(lambda: "none is missed" in caplog.text)

    assert shown(broker, POINT.replace("-L1-", "-L2-"), "missingSince") == []
