"""Play the demonstration on a platform that runs: replay, look, and tell."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aiohttp import ClientSession
from rich.console import Console

from broker.client import Client
from rigel.demo import report
from rigel.demo.city import City
from rigel.demo.expectations import expectations, missing
from rigel.demo.facts import Counts, Facts, NeverTrue, everybody_told
from rigel.demo.ocpi import Operator
from rigel.demo.provisioning import provision
from rigel.demo.replay import Replay, Tallies, mqtt_publisher
from rigel.demo.report import Outcome
from rigel.demo.story import Story
from rigel.up import AGENTS, Running
from smart_data_models.context import CONTEXT_PATH

_SECONDS_TO_START: Final = 30.0
_SECONDS_TO_FINISH: Final = 30.0


@dataclass(frozen=True, slots=True)
class Stage:
    """What a replay plays on.

    Attributes:
        locations_url: where the OCPI agent takes Locations.
        token: what it knows the demonstration's operator by.
    """

    city: City
    story: Story
    running: Running
    http: ClientSession
    locations_url: str
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
        """The metrics of all that runs, in the order in which measures pass through."""
        running = self.running
        return Facts(self.http, running.agents, running.broker, running.subscribers)


async def play(stage: Stage, console: Console) -> bool:
    """Replay the story and show what came of it.

    Returns:
        Whether everything that was sent arrived.

    Raises:
        NeverTrue: the platform did not become ready.
        NotProvisioned: the devices were refused.
    """
    await stage.facts.ready(_SECONDS_TO_START)
    await provision(stage.city, stage.http, stage.running.agents)
    operator = Operator(stage.http, stage.locations_url, stage.token)
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
    wrong = [*filter(None, (stopped,)), *replay.tallies.refused]
    outcome = await _look(stage, replay.tallies, wrong, time.monotonic() - began)
    report.show(console, outcome, replay.tallies)
    report.show_where(console, stage.running, stage.ld_context)
    return not outcome.faults


async def _look(stage: Stage, tallies: Tallies, wrong: Sequence[str], seconds: float) -> Outcome:
    wanted = expectations(stage.city, stage.story)
    # KPIs need a moment to tell of the present; what went wrong before does not mend by waiting.
    patience = 0.0 if wrong else _SECONDS_TO_FINISH
    faults = [*wrong, *await missing(wanted, stage.client, patience=patience)]
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
        faults=faults,
        checked=len(wanted),
        seconds=seconds,
    )


def _nothing_waits(counts: Counts) -> bool:
    return not counts["rigel_subscriber_waiting_writes"] and everybody_told(counts)
