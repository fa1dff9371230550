"""The demonstration from beginning to end."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from aiohttp import ClientSession
from rich.console import Console

from broker.client import Client
from rigel import logs
from rigel.demo import report
from rigel.demo.city import COUNTRY, PARTY, City, build_city
from rigel.demo.expectations import Expected, expectations, missing
from rigel.demo.facts import Counts, Facts, NeverTrue, again, everybody_told
from rigel.demo.ocpi import Operator
from rigel.demo.provisioning import provision
from rigel.demo.replay import TICK, Replay, Tallies, mqtt_publisher
from rigel.demo.report import Outcome
from rigel.demo.story import Story, first_midnight, tell
from rigel.settings import Settings
from rigel.up import AGENTS, ALL_ROLES, Running, check_ports, run, stop_signal
from smart_data_models.context import CONTEXT_PATH

_LENGTH: Final = timedelta(days=3, hours=10)
_SEED: Final = 1
_MARK: Final = "DEMONSTRATION"
_SECONDS_TO_START: Final = 30.0
_SECONDS_TO_FINISH: Final = 15.0


class NotOurs(Exception):
    """The demonstration's directory holds something else."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What a replay plays on.

    Attributes:
        token: what the OCPI agent knows the demonstration's operator by.
    """

    city: City
    story: Story
    running: Running
    http: ClientSession
    token: str

    @property
    def ld_context(self) -> str:
        """The URL of the product's @context."""
        return self.running.broker + CONTEXT_PATH

    @property
    def client(self) -> Client:
        """A client of the broker that speaks in the product's names."""
        return Client(self.http, self.running.broker, ld_context=self.ld_context)

    @property
    def facts(self) -> Facts:
        """The metrics of all that runs."""
        running = self.running
        return Facts(self.http, running.broker, running.agents, running.subscribers)


async def run_demo(settings: Settings, *, stay: bool) -> int:
    """Start everything, replay the city, and tell what came of it.

    Args:
        settings: as for `rigel up`; data goes into the directory `demo` inside its `data_dir`,
            anew each time.
        stay: go on running afterwards until SIGINT or SIGTERM.

    Returns:
        The exit status: 0 when everything that was sent arrived, 1 when not.

    Raises:
        PortTaken: nothing was started.
        NotOurs: nothing was started, and nothing deleted.
    """
    console = Console()
    token = secrets.token_urlsafe()
    settings = _demo_settings(settings, token)
    check_ports(settings, ALL_ROLES)
    _make_anew(settings.data_dir)
    logs.set_up(settings.log_level, settings.data_dir / "rigel.log")
    city = build_city()
    story = tell(city, first_midnight(datetime.now(UTC), _LENGTH), _LENGTH, seed=_SEED)
    with _cancelled_by_sigterm():
        async with run(settings, ALL_ROLES) as running, ClientSession() as http:
            complete = await _play(Stage(city, story, running, http, token), settings, console)
            if stay:
                with stop_signal() as stop:
                    console.print("\nStill running; Ctrl-C stops.", style="bold")
                    await stop.wait()
    return 0 if complete else 1


async def _play(stage: Stage, settings: Settings, console: Console) -> bool:
    await stage.facts.ready(_SECONDS_TO_START)
    await provision(stage.city, stage.http, stage.running.agents)
    locations = stage.running.agents + settings.agents.ocpi_base_path + "/2.2.1/locations"
    operator = Operator(stage.http, locations, stage.token)
    began = time.monotonic()
    stopped = ""
    async with mqtt_publisher(stage.running.mqtt) as publish:
        # A session per run: frame counters start anew, as after a join.
        replay = Replay(stage.city, publish, operator, stage.facts, session=secrets.token_hex(4))
        with report.progress(console, stage.story, replay.tallies) as passed:
            try:
                await replay.run(stage.story, passed)
                await stage.facts.until(_nothing_waits, "all results written", _SECONDS_TO_FINISH)
            except NeverTrue as error:
                stopped = str(error)
    outcome = await _look(stage, replay.tallies, stopped, time.monotonic() - began)
    report.show(console, outcome, replay.tallies)
    report.show_where(console, stage.running, stage.ld_context)
    return not outcome.faults


async def _look(stage: Stage, tallies: Tallies, stopped: str, seconds: float) -> Outcome:
    wanted = expectations(stage.city, stage.story)
    faults = list(await _missing_in_the_end(wanted, stage.client))
    counts = await stage.facts.read()
    arrived = {agent: int(counts[f"rigel_agent_delivered_total {agent}"]) for agent in AGENTS}
    lost = tallies.sent - sum(arrived.values())
    if lost > 0:
        faults = [f"{lost} of {tallies.sent} measures did not reach the broker", *faults]
    return Outcome(
        entities=await report.count_entities(stage.client),
        indicators=[e async for e in stage.client.query_entities(type="KeyPerformanceIndicator")],
        alerts=[e async for e in stage.client.query_entities(type="Alert")],
        arrived=arrived,
        faults=[*filter(None, (stopped,)), *tallies.refused, *faults],
        checked=len(wanted),
        seconds=seconds,
    )


async def _missing_in_the_end(wanted: Sequence[Expected], client: Client) -> Sequence[str]:
    """Return what is still missing when the KPIs had the time to tell of the present."""
    faults: Sequence[str] = ()
    with suppress(TimeoutError):
        async with asyncio.timeout(_SECONDS_TO_FINISH):
            async for _ in again():
                faults = await missing(wanted, client)
                if not faults:
                    break
    return faults


def _nothing_waits(counts: Counts) -> bool:
    return not counts["rigel_subscriber_waiting_writes"] and everybody_told(counts)


def _demo_settings(settings: Settings, token: str) -> Settings:
    directory = settings.data_dir / "demo"
    agents, subscribers = settings.agents, settings.subscribers
    return replace(
        settings,
        data_dir=directory,
        broker=replace(settings.broker, data_dir=directory),
        agents=replace(
            agents,
            data_dir=directory,
            ocpi_tokens=(*agents.ocpi_tokens, f"{COUNTRY}*{PARTY}={token}"),
        ),
        subscribers=replace(
            subscribers,
            data_dir=directory,
            # Inside a tick MQTT and OCPI overtake each other.
            lateness=max(subscribers.lateness, TICK.total_seconds()),
            # A second of the replay is hours of the story.
            running_interval=min(subscribers.running_interval, 1.0),
        ),
    )


def _make_anew(directory: Path) -> None:
    mark = directory / _MARK
    if directory.exists():
        if any(directory.iterdir()) and not mark.exists():
            raise NotOurs(f"{directory} holds data that is not the demonstration's; not touched")
        shutil.rmtree(directory)
    directory.mkdir(parents=True)
    mark.write_text("Everything in this directory is deleted when the demonstration starts.\n")


@contextmanager
def _cancelled_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the demonstration in order, as SIGINT does of itself."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    loop.add_signal_handler(signal.SIGTERM, lambda: task and task.cancel())
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
