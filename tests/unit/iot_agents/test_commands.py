"""Commands at the desk of an agent: what is sent, how often, and what the entity shows of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from broker.core.backoff import Backoff
from iot_agents.common.commands.desk import Asked, Desk, Manners, TooManyCommands
from iot_agents.common.commands.model import (
    Command,
    CommandOutcome,
    Done,
    Failed,
    Fate,
    Held,
    Label,
    NetworkReport,
    NotNow,
    Sent,
    SetLabel,
    Unsure,
)
from iot_agents.common.commands.rows import Selection
from iot_agents.common.counters import Counters
from iot_agents.common.device import Device, read
from iot_agents.common.registry import Registry
from iot_agents.common.spool import Spool
from tests.support.eventually import PATIENCE

START = datetime(2026, 3, 1, 8, tzinfo=UTC)
ENTITY = "urn:ngsi-ld:Gate:g1"


class Courier:
    """A transport that notes what it is given and answers as it is told."""

    def __init__(self, *outcomes: CommandOutcome) -> None:
        self.outcomes = list(outcomes)
        self.sent: list[tuple[str, str, Any]] = []
        self.labels: list[Label] = []
        self.hold: asyncio.Event | None = None
        self._came = asyncio.Event()

    def serves(self, in_force: Mapping[str, Any]) -> bool:
        return in_force.get("protocol") != "elsewhere"

    async def send(self, command: Command, set_label: SetLabel, /) -> CommandOutcome:
        self.sent.append((command.known.device.device_id, command.name, command.value))
        if self.labels:
            await set_label(self.labels.pop(0))
        self._came.set()
        if self.hold is not None:
            await self.hold.wait()
        return self.outcomes.pop(0) if self.outcomes else Sent()

    async def has_sent(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while len(self.sent) < count:
                self._came.clear()
                await self._came.wait()


class Office:
    """A desk on files that stay, with the clock that it goes by."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.now = START
        self.manners = Manners(backoff=Backoff(0.01, 0.01), expiry=60.0)

    @asynccontextmanager
    async def open(self, courier: Courier) -> AsyncIterator[Work]:
        async with (
            Registry.open(self.directory / "registry.db") as registry,
            Spool.open(
                self.directory / "spool.db", counters=Counters(), clock=lambda: self.now
            ) as spool,
            asyncio.TaskGroup() as group,
        ):
            desk = Desk(spool, registry, clock=lambda: self.now, manners=self.manners)
            desk.add_courier(courier)
            running = group.create_task(desk.run())
            yield Work(self, registry, spool, desk)
            running.cancel()


class Work:
    """An open desk."""

    def __init__(self, office: Office, registry: Registry, spool: Spool, desk: Desk) -> None:
        self.office = office
        self.registry = registry
        self.spool = spool
        self.desk = desk

    async def provision(self, **members: Any) -> None:
        document = {
            "device_id": "g1",
            "service": "city",
            "entity_name": ENTITY,
            "entity_type": "Gate",
            "commands": [
                {"name": "open"},
                {"name": "light", "metadata": {"idempotent": True, "expiry": {"value": 5}}},
            ],
            **members,
        }
        await self.registry.add_devices([read(document, Device, "device")])

    async def ask(self, name: str = "open", value: Any = 1, **members: Any) -> list[str]:
        asked = Asked("city", members.pop("entity", ENTITY), name, value, **members)
        return list((await self.desk.ask([asked])).ids)

    async def shown(self) -> list[tuple[str, Any]]:
        """Return what the broker is told, as (attribute, value) in order."""
        return [
            (name, attribute["value"])
            for row in await self.spool.load(0, 1000)
            for entity in msgspec.json.decode(row.body)
            for name, attribute in entity.items()
            if isinstance(attribute, dict)
        ]

    async def until(self, state: str) -> None:
        """Wait until a command is in a state."""
        async with asyncio.timeout(PATIENCE):
            while not await self.desk.listed(Selection(state=state)):
                await self.spool.database.submit(lambda _: None)


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


async def test_a_command_is_sent_and_its_answer_shown(office: Office) -> None:
    courier = Courier()
    async with office.open(courier) as work:
        await work.provision()
        ids = await work.ask(value={"speed": 2})
        await work.until("sent")
        known = await work.registry.by_entity("city", ENTITY)
        assert known is not None
        finished = await work.desk.answered("city", known, "open", "up")
        assert courier.sent == [("g1", "open", {"speed": 2})]
        assert [finished] == ids
        assert await work.shown() == [
            ("open_status", "PENDING"),
            ("open_status", "SENT"),
            ("open_status", "OK"),
            ("open_info", "up"),
        ]


async def test_the_status_names_the_command_it_is_about(office: Office) -> None:
    async with office.open(Courier()) as work:
        await work.provision()
        (command_id,) = await work.ask()
        (row,) = await work.spool.load(0, 1)
        (entity,) = msgspec.json.decode(row.body)
        assert entity["open_status"]["commandId"] == {"type": "Property", "value": command_id}


async def test_the_entity_of_a_device_without_a_name_of_its_own_is_found(office: Office) -> None:
    courier = Courier()
    async with office.open(courier) as work:
        await work.provision(entity_name="")
        await work.ask(entity="urn:ngsi-ld:Gate:g1")
        await courier.has_sent(1)


async def test_a_request_that_comes_twice_is_one_command(office: Office) -> None:
    courier = Courier()
    async with office.open(courier) as work:
        await work.provision()
        assert len(await work.ask(key="k")) == 1
        assert await work.ask(key="k") == []
        await work.until("sent")
        assert len(courier.sent) == 1


@pytest.mark.parametrize(
    "members",
    [{"name": "close"}, {"entity": "urn:ngsi-ld:Gate:other"}],
    ids=["name", "entity"],
)
async def test_what_nobody_has_provisioned_is_no_command(
    office: Office, members: dict[str, Any]
) -> None:
    async with office.open(Courier()) as work:
        await work.provision()
        assert await work.ask(**members) == []


async def test_a_device_of_another_transport_is_left_to_it(office: Office) -> None:
    async with office.open(Courier()) as work:
        await work.provision(protocol="elsewhere")
        assert await work.ask() == []


async def test_an_expanded_name_is_understood(office: Office) -> None:
    courier = Courier()
    async with office.open(courier) as work:
        await work.provision()
        await work.ask("https://uri.etsi.org/ngsi-ld/default-context/open")
        await courier.has_sent(1)
        assert courier.sent[0][1] == "open"


async def test_what_was_being_sent_at_a_crash_is_not_sent_again(office: Office) -> None:
    before, after = Courier(), Courier()
    before.hold = asyncio.Event()
    async with office.open(before) as work:
        await work.provision()
        await work.ask("open")
        await before.has_sent(1)

    async with office.open(after) as work:
        await work.until("failed")
        assert after.sent == []
        assert (await work.shown())[-2:] == [
            ("open_status", "ERROR"),
            ("open_info", "the agent stopped while sending: the device may have got it or not"),
        ]


async def test_what_is_idempotent_is_sent_again_after_a_crash(office: Office) -> None:
    before, after = Courier(), Courier()
    before.hold = asyncio.Event()
    async with office.open(before) as work:
        await work.provision()
        await work.ask("light")
        await before.has_sent(1)

    async with office.open(after) as work:
        await work.until("sent")
        assert len(after.sent) == 1


async def test_what_was_asked_for_before_a_crash_is_sent_after_it(office: Office) -> None:
    before, after = Courier(), Courier()
    before.hold = asyncio.Event()
    async with office.open(before) as work:
        await work.provision()
        await work.ask("open", 1)
        await before.has_sent(1)
        await work.ask("open", 2)

    async with office.open(after) as work:
        await work.until("sent")
        assert after.sent == [("g1", "open", 2)]


async def test_the_answer_to_a_command_in_doubt_still_counts(office: Office) -> None:
    async with office.open(Courier(Unsure("the line broke"))) as work:
        await work.provision()
        (command_id,) = await work.ask()
        await work.until("failed")
        known = await work.registry.by_entity("city", ENTITY)
        assert known is not None
        assert await work.desk.answered("city", known, "open", "up") == command_id
        assert (await work.shown())[-2:] == [("open_status", "OK"), ("open_info", "up")]


@pytest.mark.parametrize(
    ("name", "outcome"),
    [("open", NotNow("not connected")), ("light", Unsure("the line broke"))],
    ids=["not left", "idempotent and in doubt"],
)
async def test_what_may_be_sent_again_is_sent_until_it_works(
    office: Office, name: str, outcome: CommandOutcome
) -> None:
    courier = Courier(outcome, outcome)

    async with office.open(courier) as work:
        await work.provision()
        await work.ask(name, 1)
        await work.ask(name, 2)
        async with asyncio.timeout(PATIENCE):
            while len(courier.sent) < 4:
                office.now += timedelta(milliseconds=5)
                await work.spool.database.submit(lambda _: None)
        assert [value for _, _, value in courier.sent] == [1, 1, 1, 2]


@pytest.mark.parametrize(
    ("outcome", "shown"),
    [
        (Done("up"), ("OK", "up")),
        (Failed("no such gate"), ("ERROR", "no such gate")),
        (
            Unsure("the line broke"),
            ("ERROR", "the line broke; the device may have got it or not"),
        ),
    ],
    ids=["done", "failed", "unsure"],
)
async def test_what_a_transport_finds_out_at_once_ends_the_command(
    office: Office, outcome: CommandOutcome, shown: tuple[str, str]
) -> None:
    async with office.open(Courier(outcome)) as work:
        await work.provision()
        await work.ask()
        async with asyncio.timeout(PATIENCE):
            while len(await work.shown()) < 3:
                await work.spool.database.submit(lambda _: None)
        status, info = shown
        assert (await work.shown())[1:] == [("open_status", status), ("open_info", info)]


async def test_a_device_that_polls_gets_each_command_once(office: Office) -> None:
    async with office.open(Courier(Held(), Held())) as work:
        await work.provision()
        await work.ask("open", "a")
        await work.ask("light", "b")
        known = await work.registry.by_entity("city", ENTITY)
        assert known is not None
        async with asyncio.timeout(PATIENCE):
            while len(await work.desk.listed(Selection(state="held"))) < 2:
                await work.spool.database.submit(lambda _: None)

        fetched = await work.desk.fetch(known)
        again = await work.desk.fetch(known)

        assert [(row.name, row.value) for row in fetched] == [("open", "a"), ("light", "b")]
        assert list(again) == []
        assert (await work.shown())[2:] == [
            ("open_status", "DELIVERED"),
            ("light_status", "DELIVERED"),
        ]


EUI = "02000000000000ab"


def report(fate: Fate, *handles: str, address: str = EUI, reason: str = "") -> NetworkReport:
    """Return what a network tells of its commands; without handles of the one whose turn it is."""
    return NetworkReport(address=address, handles=handles or None, fate=fate, reason=reason)


async def sent_to_a_network(work: Work, courier: Courier, *labels: Label) -> list[str]:
    """Ask for a command for each label, and return their ids once all were sent."""
    await work.provision()
    ids = []
    for label in labels:
        courier.labels.append(label)
        ids += await work.ask("open", label.handle)
    async with asyncio.timeout(PATIENCE):
        while len(await work.desk.listed(Selection(state="sent"))) < len(labels):
            await work.spool.database.submit(lambda _: None)
    return ids


async def states(work: Work, ids: Sequence[str]) -> list[str]:
    return [row.state.value for each in ids if (row := await work.desk.one(each)) is not None]


async def test_a_network_reports_by_its_own_handle(office: Office) -> None:
    courier = Courier()
    async with office.open(courier) as work:
        ids = await sent_to_a_network(
            work, courier, Label(EUI, "q-1", confirmed=True), Label(EUI, "q-2", confirmed=True)
        )

        assert await work.desk.reported(report(Fate.SENT, "q-2")) == ids[1:]
        assert await work.desk.reported(report(Fate.SENT, "q-2")) == []
        assert await work.desk.reported(report(Fate.FAILED, "q-1", reason="no answer")) == ids[:1]
        assert await work.desk.reported(report(Fate.ACKNOWLEDGED, "q-3")) == []
        assert await work.desk.reported(report(Fate.ACKNOWLEDGED, "q-2", address="other")) == []
        assert await work.desk.reported(report(Fate.QUEUED, "q-2")) == ()
        assert await states(work, ids) == ["failed", "acknowledged"]
        assert (await work.shown())[-3:] == [
            ("open_status", "DELIVERED"),
            ("open_status", "ERROR"),
            ("open_info", "no answer"),
        ]


async def test_one_report_can_be_of_several_commands(office: Office) -> None:
    courier = Courier()
    async with office.open(courier) as work:
        ids = await sent_to_a_network(work, courier, *(Label(EUI, f"q-{n}") for n in range(3)))

        told = await work.desk.reported(report(Fate.FAILED, "q-0", "q-2", reason="given up"))

        assert told == [ids[0], ids[2]]
        assert await states(work, ids) == ["failed", "sent", "failed"]


@pytest.mark.parametrize(
    ("confirmed", "fates", "expected"),
    [
        (False, [Fate.SENT], "done"),
        (True, [Fate.SENT], "acknowledged"),
        (True, [Fate.SENT, Fate.ACKNOWLEDGED], "done"),
        (True, [Fate.ACKNOWLEDGED, Fate.SENT], "done"),
        (True, [Fate.FAILED, Fate.SENT], "failed"),
        (True, [Fate.FAILED, Fate.ACKNOWLEDGED], "done"),
        (True, [Fate.ACKNOWLEDGED, Fate.FAILED], "done"),
    ],
)
async def test_what_a_network_tells_leads_to_a_state(
    office: Office,
    confirmed: bool,  # noqa: FBT001
    fates: Sequence[Fate],
    expected: str,
) -> None:
    courier = Courier()
    async with office.open(courier) as work:
        ids = await sent_to_a_network(work, courier, Label(EUI, "q", confirmed=confirmed))
        for fate in fates:
            await work.desk.reported(report(fate, "q"))

        assert await states(work, ids) == [expected]


async def test_a_network_without_handles_means_the_command_whose_turn_it_is(
    office: Office,
) -> None:
    courier = Courier()
    async with office.open(courier) as work:
        ids = await sent_to_a_network(
            work, courier, Label(EUI, confirmed=True), Label(EUI), Label(EUI, confirmed=True)
        )

        seen = []
        for fate in (Fate.SENT, Fate.ACKNOWLEDGED, Fate.SENT, Fate.ACKNOWLEDGED):
            await work.desk.reported(report(fate))
            seen.append(await states(work, ids))

        assert seen == [
            ["acknowledged", "sent", "sent"],
            ["done", "sent", "sent"],
            ["done", "done", "sent"],
            ["done", "done", "done"],
        ]


async def test_a_network_may_report_before_it_answers(office: Office) -> None:
    courier = Courier()
    courier.hold = asyncio.Event()
    courier.labels.append(Label(EUI, "q"))
    async with office.open(courier) as work:
        await work.provision()
        ids = await work.ask()
        await courier.has_sent(1)

        told = await work.desk.reported(report(Fate.SENT, "q"))
        courier.hold.set()
        await work.ask("light")
        await work.until("sent")

        assert told == ids
        assert await states(work, ids) == ["done"]


async def test_a_report_finds_a_command_of_which_a_stop_left_a_doubt(office: Office) -> None:
    courier = Courier()
    courier.hold = asyncio.Event()
    courier.labels.append(Label(EUI, "q", confirmed=True))
    async with office.open(courier) as work:
        await work.provision()
        ids = await work.ask()
        await courier.has_sent(1)
    async with office.open(Courier()) as work:
        await work.until("failed")
        await work.desk.reported(report(Fate.SENT, "q"))
        doubtful = await states(work, ids)
        await work.desk.reported(report(Fate.ACKNOWLEDGED, "q"))

        assert doubtful == ["failed"]
        assert await states(work, ids) == ["done"]


async def test_a_command_nobody_answers_expires(office: Office) -> None:
    courier = Courier()
    async with office.open(courier) as work:
        await work.provision()
        await work.ask("light")
        await work.until("sent")
        office.now += timedelta(seconds=6)
        await work.ask("open")
        await work.until("expired")
        assert ("light_status", "EXPIRED") in await work.shown()
        assert ("light_info", "it was not answered within 5 s") in await work.shown()


async def test_a_request_that_comes_too_late_is_not_sent(office: Office) -> None:
    courier = Courier()
    async with office.open(courier) as work:
        await work.provision()
        await work.ask(at=START - timedelta(seconds=61))
        await work.until("expired")
        assert courier.sent == []


async def test_an_answer_to_no_known_command_is_shown_all_the_same(office: Office) -> None:
    async with office.open(Courier()) as work:
        await work.provision()
        known = await work.registry.by_entity("city", ENTITY)
        assert known is not None
        assert await work.desk.answered("city", known, "open", "done") == ""
        assert await work.shown() == [("open_status", "OK"), ("open_info", "done")]


async def test_an_answer_that_comes_twice_finishes_no_older_command(office: Office) -> None:
    async with office.open(Courier(Failed("no line"), Sent())) as work:
        await work.provision()
        ids = await work.ask(value=1)
        await work.until("failed")
        ids += await work.ask(value=2)
        await work.until("sent")
        known = await work.registry.by_entity("city", ENTITY)
        assert known is not None
        answers = [await work.desk.answered("city", known, "open", "up") for _ in range(2)]

        assert answers == [ids[1], ""]
        assert await states(work, ids) == ["failed", "done"]


async def test_one_at_a_time_waits_for_the_answer_to_the_one_before(office: Office) -> None:
    courier = Courier()
    async with office.open(courier) as work:
        await work.provision(commands=[{"name": "open", "metadata": {"oneAtATime": True}}])
        ids = await work.ask(value=1) + await work.ask(value=2)
        await work.until("sent")
        before = await states(work, ids)
        known = await work.registry.by_entity("city", ENTITY)
        assert known is not None
        finished = [await work.desk.answered("city", known, "open", "first")]
        await courier.has_sent(2)
        await work.until("sent")
        finished.append(await work.desk.answered("city", known, "open", "second"))

        assert before == ["sent", "requested"]
        assert finished == ids


async def test_a_command_that_has_not_left_can_be_cancelled(office: Office) -> None:
    async with office.open(Courier(Held())) as work:
        await work.provision()
        (command_id,) = await work.ask()
        await work.until("held")
        assert await work.desk.cancel(command_id)
        assert not await work.desk.cancel(command_id)
        assert (await work.shown())[-1] == ("open_info", "cancelled")


async def test_too_many_unfinished_commands_are_refused(office: Office) -> None:
    office.manners = Manners(max_open=1)
    async with office.open(Courier()) as work:
        await work.provision()
        await work.ask("open", 1)
        with pytest.raises(TooManyCommands, match="1 commands are unfinished"):
            await work.ask("open", 2)


async def test_finished_commands_are_forgotten_after_a_while(office: Office) -> None:
    office.manners = Manners(keep_age=100.0)
    async with office.open(Courier(Done("x"))) as work:
        await work.provision()
        await work.ask(key="k")
        await work.until("done")
        office.now += timedelta(seconds=101)
        await work.ask("light")
        await work.until("sent")
        assert [row.name for row in await work.desk.listed(Selection())] == ["light"]
