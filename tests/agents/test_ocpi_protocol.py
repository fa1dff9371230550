"""OCPI as the versions have it: changes of 2.1.1, what each method takes, input nobody expects."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from iot_agents.server import OCPI
from tests.agents.test_ocpi import (
    EARLIER,
    LATER,
    POINT,
    STATION,
    TOKEN,
    connector,
    evse,
    location,
    on_disk,
    operator,
)
from tests.agents.test_ocpi_objects import SESSION, TARIFF, old

CDR = {
    **SESSION,
    "id": "C1",
    "end_date_time": LATER,
    "total_energy": 3,
    "cdr_location": {"id": "L1", "evse_uid": "E1"},
}
LATEST = "2026-03-01T10:00:00Z"


async def test_a_change_of_2_1_1_need_not_say_when_it_was(tmp_path: Path) -> None:
    async with operator(tmp_path) as call:
        await call("PUT", "ES/MOB/L1", location())
        await call.updates()

        answer = await call("PATCH", "ES/MOB/L1/E1", {"status": "CHARGING"}, **old("locations"))
        newer = await call("PATCH", "ES/MOB/L1/E1", {"status": "CHARGING"})

        assert (answer.code, newer.code) == (1000, 2001)
        assert (await call.updates())[POINT]["status"]["value"] == "CHARGING"


@pytest.mark.parametrize(("version", "http"), [("2.1.1", 200), ("2.2.1", 405)])
async def test_a_tariff_is_patched_in_2_1_1_only(tmp_path: Path, version: str, http: int) -> None:
    change = {"currency": "CHF", "last_updated": LATER}
    async with operator(tmp_path) as call:
        await call("PUT", "ES/MOB/T1", TARIFF, module="tariffs")

        answer = await call("PATCH", "ES/MOB/T1", change, module="tariffs", version=version)

        assert answer.http == http


@pytest.mark.parametrize(
    ("method", "module", "path"),
    [
        ("POST", "locations", "ES/MOB/L1"),
        ("DELETE", "sessions", "ES/MOB/S1"),
        ("PUT", "cdrs", "ES/MOB/C1"),
        ("PATCH", "cdrs", "ES/MOB/C1"),
        ("DELETE", "cdrs", "ES/MOB/C1"),
        ("GET", "cdrs", ""),
    ],
)
async def test_a_method_that_a_module_lacks_is_not_allowed(
    tmp_path: Path, method: str, module: str, path: str
) -> None:
    async with operator(tmp_path) as call:
        answer = await call(method, path, module=module)

        assert (answer.http, answer.code) == (405, 2000)


async def test_a_cdr_is_where_its_post_said(tmp_path: Path) -> None:
    async with operator(tmp_path) as call:
        posted = await call("POST", "", {**CDR, "id": "C/1 ä"}, module="cdrs")
        root = f"{call.agents.url}/ocpi/receiver/2.2.1/cdrs/"
        path = posted.headers["Location"].removeprefix(root)
        found = await call("GET", path, module="cdrs")
        other = await call("GET", "ES/MOB/C2", module="cdrs")

        assert posted.http == 201
        assert (found.http, found.data["id"]) == (200, "C/1 ä")
        assert other.http == 404


@pytest.mark.parametrize(
    ("body", "http"),
    [
        (b'{"a":' + b"[" * 100_000, 400),
        (b'{"a":' + b"[" * 200 + b"]" * 200 + b"}", 400),
        (b'{"id":"\xff"}', 400),
        (b"[]", 400),
        (b"", 400),
        (b'{"kwh": 1e999}', 400),
    ],
    ids=["endless", "deep", "no text", "list", "empty", "number"],
)
@pytest.mark.parametrize("module", ["locations", "sessions"])
async def test_a_body_that_nobody_can_read_is_answered_in_the_envelope(
    tmp_path: Path, module: str, body: bytes, http: int
) -> None:
    async with operator(tmp_path) as call:
        answer = await call("PUT", "ES/MOB/X1", data=body, module=module)

        assert (answer.http, answer.code) == (http, 2001)
        assert call.counters["rejected"] == 1


@pytest.mark.parametrize(
    ("module", "body"),
    [
        ("locations", location(coordinates={"latitude": "nan", "longitude": "1"})),
        ("locations", location(evses=[evse(uid="")])),
        ("locations", location(evses=[evse(connectors=[connector(id="x" * 300)])])),
        ("sessions", {**SESSION, "charging_periods": [{"dimensions": 7}]}),
        ("sessions", {**SESSION, "location_id": ["L1"]}),
    ],
)
async def test_a_member_that_cannot_be_is_named(
    tmp_path: Path, module: str, body: dict[str, Any]
) -> None:
    async with operator(tmp_path) as call:
        answer = await call("PUT", f"ES/MOB/{body['id']}", body, module=module)

        assert (answer.http, answer.code) == (200, 2001)
        assert await call.updates() == {}


async def test_members_of_other_objects_do_no_harm(tmp_path: Path) -> None:
    async with operator(tmp_path) as call:
        answer = await call(
            "PUT", "ES/MOB/S1", {**SESSION, "cdr_location": "L1"}, module="sessions"
        )

        assert (answer.http, answer.code) == (201, 1000)


async def test_no_token_id_is_told_or_kept_wherever_a_sender_puts_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    named = {
        "cdr_token": {"uid": "UID-7", "type": "RFID", "contract_id": "UID-7"},
        "auth_id": "UID-7",
        "authorization_reference": "UID-7",
        "signed_data": {"signed_values": [{"signed_data": "OCMF|UID-7"}]},
    }
    async with operator(tmp_path) as call:
        await call("PUT", "ES/MOB/L1", location())
        await call("PUT", "ES/MOB/S1", {**SESSION, **named}, module="sessions")
        await call("PATCH", "ES/MOB/S1", {**named, "last_updated": LATER}, module="sessions")
        await call("POST", "", {**CDR, **named}, module="cdrs")
        await call("POST", "", {**CDR, **named, "id": "C2", "total_energy": "x"}, module="cdrs")
        await call("POST", "UID-7/authorize", named, module="tokens")
        told = [
            await call("GET", "ES/MOB/S1", module="sessions"),
            await call("GET", "ES/MOB/C1", module="cdrs"),
            await call.agents.agents[OCPI].outlets.dead_letters.newest(),
        ]
        await call.updates()

        everything = f"{told}{call.broker.entities}{caplog.text}{on_disk(tmp_path)}"
        assert "UID-7" not in everything
        assert TOKEN not in caplog.text


async def test_a_whole_location_that_is_late_brings_the_charging_point_that_is_not(
    tmp_path: Path,
) -> None:
    """Some operators change a charging point and leave the time of its Location as it was."""
    two = [evse(), evse(uid="E2")]
    async with operator(tmp_path) as call:
        await call("PUT", "ES/MOB/L1", location(evses=two))
        await call("PATCH", "ES/MOB/L1/E2", {"status": "BLOCKED", "last_updated": LATEST})
        await call.updates()

        lost = evse(status="CHARGING", last_updated=LATER)
        listed = location(name="old", evses=[lost, evse(uid="E2")], last_updated=EARLIER)
        await call("PUT", "ES/MOB/L1", listed)

        updates = await call.updates()
        assert updates[POINT]["status"]["value"] == "CHARGING"
        assert POINT.replace("E1", "E2") not in updates
        assert updates[STATION]["availableCapacity"]["value"] == 0
        assert "name" not in updates[STATION]


async def test_a_whole_location_is_late_only_if_another_whole_one_is_newer(tmp_path: Path) -> None:
    """What changes of one charging point is no reason to forget what changes of its Location."""
    named = {"name": "New", "last_updated": LATER}
    async with operator(tmp_path) as call:
        await call("PUT", "ES/MOB/L1", location(evses=[evse(), evse(uid="E2")]))
        await call("PUT", "ES/MOB/L1/E3", evse(uid="E3", last_updated=LATEST))
        await call.updates()

        await call("PUT", "ES/MOB/L1", location(**named))

        updates = await call.updates()
        whole = (await call("GET", "ES/MOB/L1")).data
        assert updates[STATION]["name"]["value"] == "New"
        assert updates[STATION]["capacity"]["value"] == 2
        assert updates[POINT.replace("E1", "E2")]["status"]["value"] == "REMOVED"
        assert whole.keys() == location().keys()
        assert whole["last_updated"] == "2026-03-01T10:00:00.000Z"
        assert [one["uid"] for one in whole["evses"] if one["status"] != "REMOVED"] == ["E1", "E3"]


async def test_a_whole_location_that_is_late_revives_nothing(tmp_path: Path) -> None:
    async with operator(tmp_path) as call:
        await call("PUT", "ES/MOB/L1", location(evses=[evse(), evse(uid="E2")]))
        await call("PUT", "ES/MOB/L1", location(last_updated=LATER))
        await call.updates()

        both = [evse(), evse(uid="E2")]
        await call("PUT", "ES/MOB/L1", location(evses=both, last_updated=EARLIER))

        assert await call.updates() == {}
