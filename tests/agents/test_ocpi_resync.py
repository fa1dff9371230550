"""P21: whatever pushes are lost, after one resync our state is the operator's.

Operators of 2.1.1, 2.2.1 and 2.2.1 with members of 2.3.0 change what they have at random. About
half of their pushes are lost, and their lists come in other orders and page sizes each time. A
renewed registration makes the agent pull everything; nothing else does in the time of the test.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from broker.server import RunningBroker
from iot_agents.server import OCPI, RunningAgents, serve
from iot_agents.settings import Settings
from tests.agents.test_ocpi import connector, evse, location
from tests.agents.test_ocpi_objects import TARIFF
from tests.support.eventually import eventually
from tests.support.ocpi_sender import Sender, ocpi_sender
from tests.support.serve import running_broker

STATUSES = ("AVAILABLE", "CHARGING", "BLOCKED", "OUTOFORDER", "RESERVED")
ROUNDS = 3
CHANGES = 12


@dataclass
class Time:
    """A clock that goes on by a minute when it is told to."""

    now: datetime = datetime(2026, 3, 1, 8, tzinfo=UTC)

    def read(self) -> datetime:
        return self.now

    def tick(self) -> str:
        self.now += timedelta(minutes=1)
        return self.now.strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Simulated:
    """An operator: what it has, and its side of the link.

    `sloppy` changes a charging point and leaves the time of its Location as it was.
    """

    party: str
    sender: Sender
    http: ClientSession
    time: Time
    chance: random.Random
    sloppy: bool = False
    token: str = ""
    dropped: set[str] = field(default_factory=set)

    @property
    def has_party(self) -> bool:
        return self.sender.version != "2.1.1"

    async def renew(self, agents: RunningAgents) -> None:
        """Register, or register again, and wait until everything was listed."""
        self.sender.page = self.chance.randint(1, 4)
        for objects in self.sender.objects.values():
            self.chance.shuffle(objects)
        while not self.sender.listed.empty():
            self.sender.listed.get_nowait()
        who = {"country_code": "ES", "party_id": self.party}
        roles = {"roles": [{"role": "CPO", **who}]} if self.has_party else who
        mine = {"token": "B-secret", "url": f"{self.sender.url}/ocpi/versions", **roles}
        url = f"{agents.url}/ocpi/{self.sender.version}/credentials"
        opens = f"opens-for-{self.party}"
        answer = await self.send("PUT" if self.token else "POST", url, mine, self.token or opens)
        self.token = answer["data"]["token"]
        for _ in self.sender.objects:
            await self.sender.listed.get()

    async def send(self, method: str, url: str, body: Any, token: str = "") -> Any:
        given = (token or self.token).encode()
        sent = base64.b64encode(given).decode() if self.has_party else given.decode()
        headers = {"Authorization": f"Token {sent}"}
        async with self.http.request(method, url, json=body, headers=headers) as answer:
            said = await answer.json()
            assert said["status_code"] in (1000, 2000, 2003), said
            return said

    async def change(self, agents: RunningAgents) -> None:
        """Change something, and tell of it or not."""
        kinds = (
            self.switch,
            self.switch,
            self.switch,
            self.add,
            self.remove,
            self.drop,
            self.untariff,
        )
        path, method, body = self.chance.choice(kinds)()
        if path and self.chance.random() < 0.5:
            module, rest = path.split("/", 1)
            base = f"{agents.url}/ocpi/receiver/{self.sender.version}/{module}"
            await self.send(method, f"{base}/ES/{self.party}/{rest}", body)

    def whole(self, number: int, at: str) -> dict[str, Any]:
        evses = [evse(uid=f"E{n}", last_updated=at, connectors=[connector()]) for n in (1, 2, 3)]
        extra = {"parking_places": [{"id": "P1"}], "help_phone": "112"}
        made = location(id=f"L{number}", party_id=self.party, evses=evses, last_updated=at, **extra)
        if not self.has_party:
            for name in ("country_code", "party_id", "publish"):
                del made[name]
        return made

    def switch(self) -> tuple[str, str, Any]:
        found, one = self.any_evse()
        if one is None:
            return "", "", None
        at = self.time.tick()
        one |= {"status": self.chance.choice(STATUSES), "last_updated": at}
        if not self.sloppy:
            found["last_updated"] = at
        told = {"status": one["status"]}
        # A change of 2.1.1 need not say when it was.
        told |= {"last_updated": at} if self.has_party else {}
        return f"locations/{found['id']}/{one['uid']}", "PATCH", told

    def add(self) -> tuple[str, str, Any]:
        made = self.whole(self.chance.randint(100, 999), self.time.tick())
        if made["id"] in self.dropped or made["id"] in {o["id"] for o in self.locations}:
            return "", "", None
        self.locations.append(made)
        return f"locations/{made['id']}", "PUT", made

    def remove(self) -> tuple[str, str, Any]:
        """Take a charging point out of its Location, without REMOVED."""
        found, one = self.any_evse()
        if one is None or len(found["evses"]) == 1:
            return "", "", None
        found["evses"] = [other for other in found["evses"] if other is not one]
        found["last_updated"] = self.time.tick()
        return f"locations/{found['id']}", "PUT", found

    def drop(self) -> tuple[str, str, Any]:
        """Forget a Location, which no push tells."""
        if len(self.locations) > 2:
            lost = self.locations.pop(self.chance.randrange(len(self.locations)))
            self.time.tick()
            self.dropped.add(lost["id"])
        return "", "", None

    def untariff(self) -> tuple[str, str, Any]:
        if not self.sender.objects["tariffs"]:
            return "", "", None
        lost = self.sender.objects["tariffs"].pop()
        self.time.tick()
        return f"tariffs/{lost['id']}", "DELETE", None

    def left(self, name: str) -> set[str]:
        """Return what a charging point may be that is not listed any more."""
        known = {f"{self.party}-{found['id']}" for found in self.locations}
        return {"REMOVED"} if name.rpartition("-")[0] in known else {"REMOVED", "UNKNOWN"}

    def any_evse(self) -> tuple[dict[str, Any], dict[str, Any] | None]:
        found = self.chance.choice(self.locations)
        return found, self.chance.choice(found["evses"]) if found["evses"] else None

    @property
    def locations(self) -> list[dict[str, Any]]:
        return self.sender.objects["locations"]

    def wrong(self, points: Mapping[str, Any], tariffs: Mapping[str, Any]) -> list[str]:
        """Return what is shown otherwise than the operator has it."""
        there = {
            f"{self.party}-{found['id']}-{one['uid']}": one["status"]
            for found in self.locations
            for one in found["evses"]
        }
        mine = {name: point for name, point in points.items() if name.startswith(self.party)}
        found = [
            name
            for name, status in there.items()
            if name not in mine or mine[name]["status"] != status or "missingSince" in mine[name]
        ]
        # What came and went between two resyncs may never have been known.
        found += [
            name
            for name, point in mine.items()
            if name not in there
            and (point["status"] not in self.left(name) or "missingSince" not in point)
        ]
        listed = {f"{self.party}-{tariff['id']}" for tariff in self.sender.objects["tariffs"]}
        return found + sorted({n for n in tariffs if n.startswith(self.party)} ^ listed)


async def right(
    agents: RunningAgents,
    http: ClientSession,
    broker: RunningBroker,
    operators: Sequence[Simulated],
) -> bool:
    await agents.drained()
    points = await shown(http, broker, "EVChargingPoint")
    tariffs = await shown(http, broker, "EVChargingTariff")
    return not [wrong for operator in operators for wrong in operator.wrong(points, tariffs)]


async def shown(http: ClientSession, broker: RunningBroker, kind: str) -> dict[str, Any]:
    url = f"{broker.url}/ngsi-ld/v1/entities?type={kind}&limit=1000&options=keyValues"
    async with http.get(url) as answer:
        return {e["id"].removeprefix(f"urn:ngsi-ld:{kind}:ES-"): e for e in await answer.json()}


@pytest.mark.parametrize("seed", [1, 2])
async def test_after_a_resync_everything_is_as_the_operators_have_it(
    tmp_path: Path, seed: int
) -> None:
    chance, time = random.Random(seed), Time()  # noqa: S311 - the same each time
    sides = {"AAA": ("2.1.1", True), "BBB": ("2.2.1", False), "CCC": ("2.2.1", True)}
    file = tmp_path / "parties.yaml"
    file.write_text(
        "".join(
            f"- {{party: 'ES*{party}', registration_token: opens-for-{party}, interval: 86400}}\n"
            for party in sides
        )
    )

    async with (
        running_broker(tmp_path / "broker") as broker,
        ClientSession() as http,
        ocpi_sender(tokens={"B-secret"}, version="2.1.1", raw=True) as first,
        ocpi_sender(tokens={"B-secret"}) as second,
        ocpi_sender(tokens={"B-secret"}) as third,
        serve(
            Settings(
                port=0,
                data_dir=tmp_path,
                broker_url=broker.url,
                egress_allow_private=True,
                ocpi_parties_file=file,
                ocpi_party="ES*CTY",
            ),
            {OCPI},
            clock=time.read,
        ) as agents,
    ):
        operators = [
            Simulated(party, sender, http, time, chance, sloppy)
            for (party, (_, sloppy)), sender in zip(
                sides.items(), (first, second, third), strict=True
            )
        ]
        for operator in operators:
            tariffs = [{**TARIFF, "id": f"T{n}", "party_id": operator.party} for n in (1, 2, 3)]
            operator.sender.objects = {"locations": [], "tariffs": tariffs}
            operator.locations.extend(operator.whole(n, time.tick()) for n in range(1, 5))

        for _ in range(ROUNDS):
            for operator in operators:
                await operator.renew(agents)
                time.tick()

            await eventually(partial(right, agents, http, broker, operators))
            for operator in operators:
                for _ in range(CHANGES):
                    await operator.change(agents)
