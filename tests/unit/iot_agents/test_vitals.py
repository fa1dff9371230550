"""How devices get on: when each was heard, what was wrong, and who is not heard in time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession

from iot_agents.common.device import Attribute, Device
from iot_agents.common.provisioning import Provisioning
from iot_agents.common.provisioning_checks import Checks
from iot_agents.common.service_group import ServiceGroup
from iot_agents.common.spool import SpoolFull
from iot_agents.common.vitals import shown
from tests.support.http import serving
from tests.support.pipeline_bench import START, STATUS, Bench, bench, device, measure
from tests.support.provisioning import Script

HOURLY = {"rigel": {"expectedInterval": 3600}}
PLACE = {"fiware-service": "city", "fiware-servicepath": "/"}


async def submit(here: Bench, **changes: Any) -> None:
    one = replace(measure(), moment=here.now, key="", **changes)
    await (await here.pipeline.submit(one)).durable()


async def state(here: Bench, one: Device) -> dict[str, Any]:
    (vital,) = await here.vitals.of([one])
    return shown(vital)


async def told(here: Bench) -> list[tuple[str, str]]:
    """Return what the spool says of Device entities, and take it out."""
    rows = await here.agent.spool.load(0, 1000)
    await here.agent.spool.settle([row.seq for row in rows])
    entities = [entity for row in rows for entity in msgspec.json.decode(row.body)]
    return [
        (entity["id"], entity["deviceState"]["value"])
        for entity in entities
        if "deviceState" in entity
    ]


async def test_a_device_shows_when_it_was_heard_and_how_late_that_was(tmp_path: Path) -> None:
    known = device(STATUS)
    async with bench(tmp_path) as here:
        await here.registry.add_devices([known])
        for _ in range(3):
            here.pass_seconds(60)
            one = replace(measure(), moment=START, key="")
            await (await here.pipeline.submit(one)).durable()

        assert await state(here, known) == {
            "state": {
                "lastSeen": "2026-03-01T08:03:00.000Z",
                "lag": 180.0,
                "measures": 3,
                "errors": 0,
                "silent": False,
            }
        }


async def test_a_device_that_was_never_heard_has_no_state(tmp_path: Path) -> None:
    async with bench(tmp_path) as here:
        await here.registry.add_devices([device(STATUS)])

        assert await state(here, device(STATUS)) == {}


@pytest.mark.parametrize(
    ("attribute", "changes", "reason"),
    [
        (STATUS, {"members": {}}, "decoded its bytes"),
        (
            Attribute(object_id="occupied", name="n", type="Number", expression="occupied|none"),
            {},
            "none",
        ),
        (Attribute(object_id="level", name="n", type="Number"), {"members": {"level": "x"}}, "n"),
    ],
    ids=["nothing to read", "expression", "value"],
)
async def test_what_was_wrong_with_a_message_is_the_devices_last_error(
    tmp_path: Path, attribute: Attribute, changes: dict[str, Any], reason: str
) -> None:
    known = device(attribute)
    async with bench(tmp_path) as here:
        await here.registry.add_devices([known])

        await submit(here, **changes)

        found = (await state(here, known))["state"]
        assert found["errors"] == 1
        assert found["lastError"]["at"] == "2026-03-01T08:00:00.000Z"
        assert reason in found["lastError"]["message"]


async def test_a_message_that_tells_only_a_name_counts_for_the_device_of_that_name(
    tmp_path: Path,
) -> None:
    known = device(STATUS)
    async with bench(tmp_path) as here:
        await here.registry.add_devices([known])

        await here.pipeline.reject("d1", b"{", "not JSON").durable()
        await here.pipeline.reject("stranger", b"{", "not JSON").durable()

        assert (await state(here, known))["state"]["lastError"]["message"] == "not JSON"


async def test_a_device_that_is_not_heard_in_time_is_told_of_once(tmp_path: Path) -> None:
    async with bench(tmp_path) as here:
        await here.registry.add_devices([device(STATUS, internal_attributes=HOURLY)])
        await submit(here)
        await here.vitals.flush()

        here.pass_seconds(3599)
        early = await here.vitals.check()
        here.pass_seconds(1)
        late = [await here.vitals.check() for _ in range(2)]

        assert (early, late) == (0, [1, 0])
        assert await told(here) == [("urn:ngsi-ld:Device:d1", "noSignal")]
        found = (await state(here, device()))["state"]
        assert (found["silent"], found["due"]) == (True, "2026-03-01T09:00:00.000Z")


async def test_a_device_that_is_heard_again_is_told_of_and_watched_again(tmp_path: Path) -> None:
    async with bench(tmp_path) as here:
        await here.registry.add_devices([device(STATUS, internal_attributes=HOURLY)])
        await submit(here)
        await here.vitals.flush()
        here.pass_seconds(7200)
        await here.vitals.check()

        await submit(here)
        await here.vitals.flush()
        here.pass_seconds(3600)
        await here.vitals.check()

        assert [said for _, said in await told(here)] == ["noSignal", "ok", "noSignal"]


async def test_the_event_names_the_moment_and_what_the_device_stands_for(tmp_path: Path) -> None:
    async with bench(tmp_path) as here:
        await here.registry.add_devices([device(STATUS, internal_attributes=HOURLY)])
        await submit(here)
        await here.vitals.flush()
        here.pass_seconds(9999)

        await here.vitals.check()

        row = (await here.agent.spool.load(0, 10))[-1]
        assert row.tenant == "city"
        assert msgspec.json.decode(row.body) == [
            {
                "id": "urn:ngsi-ld:Device:d1",
                "type": "Device",
                "deviceState": {
                    "type": "Property",
                    "value": "noSignal",
                    "observedAt": "2026-03-01T09:00:00.000Z",
                },
                "dateLastValueReported": {
                    "type": "Property",
                    "value": "2026-03-01T08:00:00.000Z",
                },
                "controlledAsset": {"type": "Property", "value": ["urn:x:1"]},
            }
        ]


@pytest.mark.parametrize(
    ("members", "entity"),
    [
        ({"entity_type": "Device", "entity_name": "urn:x:own"}, "urn:x:own"),
        (
            {"internal_attributes": {"rigel": {**HOURLY["rigel"], "deviceEntity": "urn:x:9"}}},
            "urn:x:9",
        ),
        (
            {"internal_attributes": {**HOURLY, "lorawan": {"dev_eui": "02AB"}}},
            "urn:ngsi-ld:Device:02ab",
        ),
    ],
    ids=["its own", "named", "by its EUI"],
)
async def test_which_entity_is_told_of(
    tmp_path: Path, members: dict[str, Any], entity: str
) -> None:
    known = device(STATUS, **{"internal_attributes": HOURLY, **members})
    async with bench(tmp_path) as here:
        await here.registry.add_devices([known])
        await submit(here, device_id=known.hardware_id)
        await here.vitals.flush()
        here.pass_seconds(3600)

        await here.vitals.check()

        assert await told(here) == [(entity, "noSignal")]


async def test_a_group_says_when_its_devices_should_be_heard(tmp_path: Path) -> None:
    group = ServiceGroup(
        resource="/iot/json",
        apikey="key",
        service="city",
        entity_type="Spot",
        attributes=(STATUS,),
        internal_attributes=HOURLY,
    )
    async with bench(tmp_path) as here:
        await here.registry.add_groups([group])
        await submit(here, apikey="key", resources=("/iot/json",))
        await here.vitals.flush()
        here.pass_seconds(3600)

        assert await here.vitals.check() == 1


async def test_who_is_due_is_remembered_over_a_restart_and_time_without_agents_does_not_count(
    tmp_path: Path,
) -> None:
    async with bench(tmp_path) as here:
        async with here.vitals.kept():
            await here.registry.add_devices([device(STATUS, internal_attributes=HOURLY)])
            await submit(here)
            here.pass_seconds(600)
        stopped = here.now

    async with bench(tmp_path) as here:
        here.now = stopped
        here.pass_seconds(86_400)
        async with here.vitals.kept():
            found = [await here.vitals.check()]
            for seconds in (2999, 1):
                here.pass_seconds(seconds)
                found.append(await here.vitals.check())

        assert found == [0, 0, 1]


async def test_who_is_silent_is_not_told_of_again_after_a_restart(tmp_path: Path) -> None:
    async with bench(tmp_path) as here:
        await here.registry.add_devices([device(STATUS, internal_attributes=HOURLY)])
        await submit(here)
        await here.vitals.flush()
        here.pass_seconds(3600)
        await here.vitals.check()

    async with bench(tmp_path) as here:
        here.pass_seconds(9999)
        assert await here.vitals.check() == 0

        await submit(here)
        await here.vitals.flush()

        assert [said for _, said in await told(here)][-1] == "ok"


async def test_a_full_spool_delays_the_event_and_does_not_lose_it(tmp_path: Path) -> None:
    async with bench(tmp_path, spool_max_measures=1) as here:
        await here.registry.add_devices([device(STATUS, internal_attributes=HOURLY)])
        await submit(here)
        await here.vitals.flush()
        here.pass_seconds(3600)
        with pytest.raises(SpoolFull):
            await here.vitals.check()
        await told(here)

        await here.vitals.check()

        assert [said for _, said in await told(here)] == ["noSignal"]


async def test_what_could_not_be_written_is_written_later(tmp_path: Path) -> None:
    known = device(STATUS, internal_attributes=HOURLY)
    async with bench(tmp_path, spool_max_measures=1) as here:
        await here.registry.add_devices([known])
        await submit(here)
        await here.vitals.flush()
        here.pass_seconds(3600)
        await told(here)
        await here.vitals.check()
        here.pipeline.reject("d1", b"", "bad")
        heard = await here.registry.find("d1")
        assert heard is not None
        here.vitals.seen("lorawan", heard, measure())
        with pytest.raises(SpoolFull):
            await here.vitals.flush()
        await told(here)

        found = (await state(here, known))["state"]

        assert (found["measures"], found["silent"]) == (2, False)
        assert [said for _, said in await told(here)] == ["ok"]


async def test_where_a_device_asks_its_entity_is_told_once_a_minute_when_it_was_heard(
    tmp_path: Path,
) -> None:
    asked = {"rigel": {"deviceState": True}}
    async with bench(tmp_path) as here:
        await here.registry.add_devices([device(STATUS, internal_attributes=asked)])
        for _ in range(13):
            await submit(here)
            await here.vitals.flush()
            here.pass_seconds(10)

        assert [said for _, said in await told(here)] == ["ok"] * 3


async def test_who_is_overdue_is_found_without_a_look_at_all_devices(tmp_path: Path) -> None:
    query = (
        "EXPLAIN QUERY PLAN SELECT document, seen, due FROM vital JOIN device"
        " USING (service, service_path, apikey, device_id)"
        " WHERE agent = 'a' AND due <= 1 AND due IS NOT NULL AND silent = 0 ORDER BY due LIMIT 500"
    )
    async with bench(tmp_path) as here:
        plan = await here.registry.work(lambda connection: connection.execute(query).fetchall())

    text = " ".join(str(step[-1]) for step in plan)
    assert "USING INDEX vital_by_due" in text
    assert "SCAN" not in text
    assert "TEMP B-TREE" not in text


async def test_a_device_that_is_deleted_leaves_nothing_and_one_with_another_key_keeps_all(
    tmp_path: Path,
) -> None:
    known, keyed = device(STATUS), device(STATUS, apikey="key")
    async with bench(tmp_path) as here:
        await here.registry.add_devices([known])
        await submit(here)
        await here.vitals.flush()
        await here.registry.update_device(known, keyed)
        moved = await state(here, keyed)

        await submit(here)
        await here.registry.delete_devices([keyed])
        await here.vitals.flush()
        await here.registry.add_devices([keyed])

        assert moved["state"]["measures"] == 1
        assert await state(here, keyed) == {}


async def test_clients_see_state_and_last_measure_and_can_clear_the_latter(tmp_path: Path) -> None:
    known = device(STATUS, store_last_measure=True)
    async with bench(tmp_path) as here:
        await here.registry.add_devices([known])
        await submit(here)
        app = Provisioning(here.registry, Checks(), here.vitals).app()
        async with serving({"/iot": app}) as url, ClientSession() as http:
            call = Script(http, url)
            _, shown_one = await call("GET", "/iot/devices/d1", headers=PLACE)
            _, plain = await call("GET", "/iot/devices", headers=PLACE)
            _, detailed = await call("GET", "/iot/devices?detailed=on", headers=PLACE)
            cleared = await call("PUT", "/iot/devices/d1", {"lastMeasure": {}}, headers=PLACE)
            _, after = await call("GET", "/iot/devices/d1", headers=PLACE)

    assert shown_one["state"]["measures"] == 1
    assert shown_one["lastMeasure"] == {
        "timestamp": "2026-03-01T08:00:00.000Z",
        "measure": {"occupied": True},
    }
    assert "state" not in plain["devices"][0]
    assert detailed["devices"] == [shown_one]
    assert cleared == (204, None)
    assert "lastMeasure" not in after
    assert after["state"] == shown_one["state"]
