"""OCPI objects beyond the vectors: other versions, what vanishes, and what must not get out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from iot_agents.server import OCPI, serve
from iot_agents.settings import Settings
from tests.agents.test_ocpi import LATER, POINT, STATION, TOKEN, connector, evse, location, operator
from tests.support.serve import running_broker

SESSION = {
    "country_code": "ES",
    "party_id": "MOB",
    "id": "S1",
    "start_date_time": "2026-03-01T08:00:00Z",
    "kwh": 3,
    "cdr_token": {"uid": "UID-7", "type": "RFID", "contract_id": "CONTRACT-7"},
    "location_id": "L1",
    "evse_uid": "E1",
    "currency": "EUR",
    "total_cost": {"excl_vat": 1, "incl_vat": 1.2},
    "status": "ACTIVE",
    "last_updated": "2026-03-01T08:30:00Z",
}
TARIFF = {
    "country_code": "ES",
    "party_id": "MOB",
    "id": "T1",
    "currency": "EUR",
    "elements": [{"price_components": [{"type": "ENERGY", "price": 0.3, "step_size": 1}]}],
    "last_updated": "2026-03-01T08:00:00Z",
}
TARIFF_ENTITY = "urn:ngsi-ld:EVChargingTariff:ES-MOB-T1"


def old(module: str) -> dict[str, str]:
    return {"module": module, "version": "2.1.1"}


async def test_what_vanished_from_an_object_is_removed_from_its_entity(tmp_path: Path) -> None:
    named = location(evses=[evse(floor_level="2")], operator={"name": "Movilidad"})
    async with running_broker(tmp_path / "broker") as broker:
        settings = Settings(
            port=0,
            data_dir=tmp_path,
            broker_url=broker.url,
            ocpi_tokens=(f"ES*MOB={TOKEN}",),
        )
        async with serve(settings, {OCPI}) as agents, ClientSession() as http:
            url = f"{agents.url}/ocpi/receiver/2.2.1/locations/ES/MOB/L1"
            headers = {"Authorization": f"Token {TOKEN}"}
            for body in (named, location(last_updated=LATER, evses=[evse(last_updated=LATER)])):
                async with http.put(url, json=body, headers=headers) as answer:
                    assert answer.ok
            await agents.drained()
            async with http.get(f"{broker.url}/ngsi-ld/v1/entities/{POINT}") as answer:
                point = await answer.json()

        assert point["status"]["value"] == "AVAILABLE"
        assert "floorLevel" not in point


async def test_the_history_of_a_charging_point_is_its_availability(tmp_path: Path) -> None:
    changes = [("CHARGING", "09:00"), ("AVAILABLE", "08:30"), ("OUTOFORDER", "10:00")]
    async with running_broker(tmp_path / "broker") as broker:
        settings = Settings(
            port=0,
            data_dir=tmp_path,
            broker_url=broker.url,
            ocpi_tokens=(f"ES*MOB={TOKEN}",),
        )
        async with serve(settings, {OCPI}) as agents, ClientSession() as http:
            url = f"{agents.url}/ocpi/receiver/2.2.1/locations/ES/MOB/L1"
            headers = {"Authorization": f"Token {TOKEN}"}
            async with http.put(url, json=location(), headers=headers) as answer:
                assert answer.ok
            for status, at in changes:
                body = {"status": status, "last_updated": f"2026-03-01T{at}:00Z"}
                async with http.patch(f"{url}/E1", json=body, headers=headers) as answer:
                    assert answer.ok
            await agents.drained()
            path = f"temporal/entities/{POINT}?attrs=status"
            async with http.get(f"{broker.url}/ngsi-ld/v1/{path}") as answer:
                found = (await answer.json())["status"]

        told = sorted((one["observedAt"][11:16], one["value"]) for one in found)
        assert told == [("08:00", "AVAILABLE"), ("09:00", "CHARGING"), ("10:00", "OUTOFORDER")]


async def test_a_late_push_of_an_earlier_session_does_not_hide_the_running_one(
    tmp_path: Path,
) -> None:
    async with operator(tmp_path) as call:
        await call(
            "PUT", "ES/MOB/S2", {**SESSION, "id": "S2", "last_updated": LATER}, module="sessions"
        )
        await call.updates()

        late = await call("PUT", "ES/MOB/S1", {**SESSION, "status": "COMPLETED"}, module="sessions")

        assert (late.http, late.code) == (201, 1000)
        assert await call.updates() == {}


@pytest.mark.parametrize("module", ["sessions", "cdrs"])
async def test_nothing_is_told_of_what_happens_at_a_location_that_is_not_public(
    tmp_path: Path, module: str
) -> None:
    cdr = {**SESSION, "end_date_time": LATER, "total_energy": 3, "cdr_location": {"id": "L1"}}
    async with operator(tmp_path) as call:
        await call("PUT", "ES/MOB/L1", location(publish=False))

        if module == "cdrs":
            answer = await call("POST", "", cdr, module=module)
        else:
            answer = await call("PUT", "ES/MOB/S1", SESSION, module=module)

        assert (answer.http, answer.code) == (201, 1000)
        assert await call.updates() == {}


async def test_what_a_session_told_goes_when_its_location_turns_out_not_to_be_public(
    tmp_path: Path,
) -> None:
    elsewhere = {**SESSION, "id": "S2", "location_id": "L10"}
    async with operator(tmp_path) as call:
        await call("PUT", "ES/MOB/S1", SESSION, module="sessions")
        await call("PUT", "ES/MOB/S2", elsewhere, module="sessions")
        assert set(await call.updates()) == {POINT, POINT.replace("-L1-", "-L10-")}

        await call("PUT", "ES/MOB/L1", location(publish=False))
        await call.updates()

        assert call.broker.deleted == [POINT]


@pytest.mark.parametrize("known", [False, True], ids=["was unknown", "was public"])
async def test_the_cdrs_of_a_location_go_when_it_turns_out_not_to_be_public(
    tmp_path: Path, *, known: bool
) -> None:
    cdr = {**SESSION, "end_date_time": LATER, "total_energy": 3}
    async with operator(tmp_path) as call:
        if known:
            await call("PUT", "ES/MOB/L1", location())
        for number in (1, 2, 10):
            where = {"id": f"l{number}"}
            await call(
                "POST", "", {**cdr, "id": f"C{number}", "cdr_location": where}, module="cdrs"
            )
        await call.updates()

        await call("PUT", "ES/MOB/L1", location(publish=False, last_updated=LATER))
        await call.updates()

        sessions = [name for name in call.broker.deleted if "EVChargingSession" in name]
        kept = await call("GET", "ES/MOB/C1", module="cdrs")
        assert sessions == ["urn:ngsi-ld:EVChargingSession:ES-MOB-C1"]
        assert kept.data["cdr_location"] == {"id": "l1"}


async def test_a_change_of_a_session_sent_twice_adds_its_periods_once(tmp_path: Path) -> None:
    period = {"start_date_time": LATER, "dimensions": [{"type": "ENERGY", "volume": 1}]}
    change = {"charging_periods": [period], "last_updated": LATER}
    async with operator(tmp_path) as call:
        await call("PUT", "ES/MOB/S1", SESSION, module="sessions")

        for _ in range(2):
            await call("PATCH", "ES/MOB/S1", change, module="sessions")

        kept = await call("GET", "ES/MOB/S1", module="sessions")
        assert kept.data["charging_periods"] == [period]


async def test_a_tariff_comes_and_goes(tmp_path: Path) -> None:
    async with operator(tmp_path) as call:
        put = await call("PUT", "ES/MOB/T1", TARIFF, module="tariffs")
        told = await call.updates()
        deleted = await call("DELETE", "ES/MOB/T1", module="tariffs")
        gone = await call("GET", "ES/MOB/T1", module="tariffs")

        assert (put.http, deleted.code, gone.http) == (201, 1000, 404)
        assert told[TARIFF_ENTITY]["energyPrice"]["value"] == 0.3
        assert told[TARIFF_ENTITY]["energyPrice"]["unitCode"] == "EUR"
        assert await call.broker.has_deleted(1) == [TARIFF_ENTITY]


async def test_a_location_of_2_1_1_gives_the_same_entities(tmp_path: Path) -> None:
    plain = connector(voltage=230, amperage=32, tariff_id="T1", power_type="AC_3_PHASE")
    del plain["max_voltage"], plain["max_amperage"]
    whole = location(evses=[evse(connectors=[plain])], type="ON_STREET")
    for name in ("country_code", "party_id", "publish"):
        del whole[name]
    async with operator(tmp_path) as call:
        answer = await call("PUT", "ES/MOB/L1", whole, **old("locations"))

        updates = await call.updates()
        assert (answer.http, answer.code) == (201, 1000)
        assert updates[STATION]["voltage"]["value"] == 230
        assert updates[POINT]["connectors"]["json"][0]["maxAmperage"] == 32
        assert updates[POINT]["connectors"]["json"][0]["tariffIds"] == ["T1"]
        assert updates[POINT]["maxPower"]["value"] == 22.08


async def test_a_session_of_2_1_1_has_its_location_inside(tmp_path: Path) -> None:
    session: dict[str, Any] = {
        "id": "S1",
        "start_datetime": "2026-03-01T08:00:00Z",
        "kwh": 3,
        "auth_id": "UID-7",
        "location": location(),
        "currency": "EUR",
        "total_cost": 1.5,
        "status": "ACTIVE",
        "last_updated": "2026-03-01T08:30:00Z",
    }
    async with operator(tmp_path) as call:
        answer = await call("PUT", "ES/MOB/S1", session, **old("sessions"))

        updates = await call.updates()
        kept = await call("GET", "ES/MOB/S1", **old("sessions"))
        assert (answer.http, answer.code) == (201, 1000)
        assert updates[POINT]["currentSessionCost"]["value"] == 1.5
        assert "UID-7" not in str(kept.data)


async def test_a_price_of_2_3_0_lists_its_taxes(tmp_path: Path) -> None:
    cost = {"before_taxes": 1, "taxes": [{"name": "VAT", "amount": 0.21}]}
    async with operator(tmp_path) as call:
        await call("PUT", "ES/MOB/S1", {**SESSION, "total_cost": cost}, module="sessions")

        updates = await call.updates()
        assert updates[POINT]["currentSessionCost"]["value"] == 1.21


@pytest.mark.parametrize(
    ("module", "body", "message"),
    [
        ("sessions", {**SESSION, "kwh": "much"}, "kwh"),
        ("tariffs", {**TARIFF, "elements": None}, "elements"),
    ],
)
async def test_a_bad_object_is_a_dead_letter_without_what_it_says_of_persons(
    tmp_path: Path, module: str, body: dict[str, Any], message: str
) -> None:
    async with operator(tmp_path) as call:
        answer = await call("PUT", f"ES/MOB/{body['id']}", body, module=module)

        (letter,) = await call.agents.agents[OCPI].outlets.dead_letters.newest()
        assert (answer.http, answer.code) == (200, 2001)
        assert message in answer.message
        assert message in letter.reason
        assert b"UID-7" not in letter.payload


@pytest.mark.parametrize(("method", "http"), [("DELETE", 405), ("GET", 404)])
async def test_what_no_route_takes_is_answered_in_the_envelope(
    tmp_path: Path, method: str, http: int
) -> None:
    path = "ES/MOB/L1" if method == "DELETE" else ""
    async with operator(tmp_path) as call:
        answer = await call(method, path)

        assert (answer.http, answer.code) == (http, 2000)
