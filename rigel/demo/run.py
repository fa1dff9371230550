"""The demonstration from beginning to end."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from aiohttp import ClientSession
from rich.console import Console

from rigel import logs
from rigel.demo.city import COUNTRY, PARTY, build_city
from rigel.demo.play import Stage, play
from rigel.demo.replay import TICK
from rigel.demo.story import first_midnight, tell
from rigel.settings import Settings
from rigel.up import ALL_ROLES, check_ports, run, stop_signal

_LENGTH: Final = timedelta(days=3, hours=10)
_SEED: Final = 1
_MARK: Final = "DEMONSTRATION"


class NotOurs(Exception):
    """The demonstration's directory holds something else."""


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
    settings = demo_settings(settings, token)
    check_ports(settings, ALL_ROLES)
    _make_anew(settings.data_dir)
    logs.set_up(settings.log_level, settings.data_dir / "rigel.log")
    city = build_city()
    story = tell(city, first_midnight(datetime.now(UTC), _LENGTH), _LENGTH, seed=_SEED)
    with _cancelled_by_sigterm():
        async with run(settings, ALL_ROLES) as running, ClientSession() as http:
            locations = running.agents + settings.agents.ocpi_base_path + "/2.2.1/locations"
            stage = Stage(city, story, running, http, locations, token)
            complete = await play(stage, console)
            if stay:
                with stop_signal() as stop:
                    console.print("\nStill running; Ctrl-C stops.", style="bold")
                    await stop.wait()
    return 0 if complete else 1


def demo_settings(settings: Settings, token: str) -> Settings:
    """Return the settings of a demonstration: a directory of its own, and time to keep order.

    Args:
        settings: those of the command.
        token: what the demonstration's operator shall use.
    """
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
