"""History that was kept long enough goes, beside all else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiohttp import ClientSession

from tests.support.api import Api
from tests.support.builders import entity, prop
from tests.support.eventually import eventually
from tests.support.serve import running_broker

OLD, OLDER = "2020-05-01T10:00:00Z", "2019-05-01T10:00:00Z"
LONG_AGO = "1990-05-01T10:00:00Z"


def past(number: int, kind: str, *times: str) -> dict[str, Any]:
    return entity(number, kind, speed=[prop(1, observedAt=time) for time in times])


async def times(api: Api, number: int, kind: str) -> list[str]:
    path = f"/temporal/entities/urn:ngsi-ld:{kind}:{number}?options=temporalValues"
    found = await api("GET", path)
    return [time for _, time in found.body.get("speed", {"values": []})["values"]]


async def test_the_most_specific_policy_counts(tmp_path: Path) -> None:
    policies = ("P1Y", "Road=P20Y", "Bridge@city=P1D")
    async with (
        running_broker(tmp_path, retention=policies, sweep_interval=0.01) as broker,
        ClientSession() as session,
    ):
        api = Api(session, broker.url)
        await api("POST", "/temporal/entities", past(1, "Road", LONG_AGO, OLDER, OLD))
        await api.create(entity(1, "Sensor", speed=prop(1, observedAt=OLDER)))
        await api("POST", "/temporal/entities", past(1, "Sensor", LONG_AGO, OLD))
        await api("POST", "/temporal/entities", past(1, "Bridge", LONG_AGO, "2999-05-01T10:00:00Z"))

        async def swept() -> bool:
            return (
                await times(api, 1, "Road"),
                await times(api, 1, "Sensor"),
                await times(api, 1, "Bridge"),
            ) == ([OLDER, OLD], [OLD], ["2999-05-01T10:00:00Z"])

        await eventually(swept)
