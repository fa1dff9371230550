"""The command `rigel`: its words, its help, and what each of them starts."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rigel import config, devices, history, logs, mappings, process, subscriptions, up
from rigel.actions import AddAction, actions_of
from rigel.demo.run import run_demo
from rigel.failures import explanation
from rigel.settings import Settings

_DESCRIPTION = """\
Rigel is a city context platform: it takes what sensors and operators send, makes entities of the
Smart Data Models of it, keeps them in an NGSI-LD context broker, and computes alerts and KPIs.
"""

_EPILOG = """\
examples:
  rigel demo                    see a small city at work: start everything, replay three days of it
  rigel up                      start everything, empty: broker, agents, rules and KPIs
  rigel broker                  start the broker alone
  rigel agent lorawan           start one agent alone, beside this broker or another
  rigel subscription explain ID why a subscription was notified of a change, or was not
  rigel mapping try FILE SAMPLE see what a mapping makes of a payload, and why not more
  rigel device import FILE      provision the devices of a CSV file; --dry-run says what is wrong
  rigel device waiting          whose measures wait because nobody has provisioned their device
  curl http://localhost:1026/ready

Settings come from RIGEL_* variables and from rigel.yaml; docs/reference/settings.md lists them.
"""

_FAILED = 1
_MISUSED = 2

Command = Callable[[Settings, argparse.Namespace], Coroutine[Any, Any, int]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    0 is success, 1 a failure that was explained, 2 a mistake in the arguments or settings.
    """
    given = build_parser().parse_args(arguments)
    if given.command is None:
        build_parser().print_help()
        return _MISUSED
    if given.command == "version":
        print(f"rigel {version('rigel')}")  # noqa: T201 - what was asked for
        return 0
    try:
        settings = config.load(Settings, os.environ, file=given.config, overrides=_overrides(given))
    except config.SettingsError as error:
        return _complain(str(error), _MISUSED)
    logs.set_up(settings.log_level)
    return _run(given, settings)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; the reference is written from it too."""
    parser = argparse.ArgumentParser(
        prog="rigel",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    common = [common_options()]
    for name, text in _HELP.items():
        said = text[0].upper() + text[1:] + "."
        inherited = [] if name in _WITH_ACTIONS else common
        command = commands.add_parser(name, help=text, description=said, parents=inherited)
        if name in _WITH_ACTIONS:
            _WITH_ACTIONS[name](actions_of(command, common))
        else:
            _own_options(command, name)
    commands.add_parser("version", help="print the version", description="Print the version.")
    return parser


_HELP: Mapping[str, str] = {
    "up": "start everything in one process: broker, agents, rules and KPIs",
    "demo": "start everything and replay a small demonstration city through MQTT and OCPI",
    "broker": "start the NGSI-LD context broker alone",
    "agent": "start one IoT agent alone",
    "rules": "start the rules alone",
    "kpi": "start the KPIs alone",
    "subscription": "list, explain, test and replay subscriptions of a running broker",
    "history": "import past instances into a running broker, or export them",
    "device": "list and import devices of running agents, and let in those that wait",
    "mapping": "check a mapping, try it on a payload, or start one from a sample payload",
}


_WITH_ACTIONS: Mapping[str, Callable[[AddAction], None]] = {
    "subscription": subscriptions.add_actions,
    "history": history.add_actions,
    "device": devices.add_actions,
    "mapping": mappings.add_actions,
}


def common_options() -> argparse.ArgumentParser:
    """Return a parser of the options that all commands take."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--config", type=Path, metavar="FILE", help="settings file (default: rigel.yaml, if any)"
    )
    common.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="where data is kept (default: rigel-data)"
    )
    common.add_argument(
        "--log-level",
        choices=logs.LEVELS,
        metavar="LEVEL",
        help=f"how much is logged: {', '.join(logs.LEVELS)} (default: info)",
    )
    return common


def _own_options(command: argparse.ArgumentParser, name: str) -> None:
    if name == "agent":
        command.add_argument("protocol", choices=up.AGENTS, help="what the agent understands")
    if name == "demo":
        command.add_argument(
            "--exit",
            action="store_true",
            help="end after the summary, with status 1 if anything that was sent did not arrive",
        )


def _overrides(given: argparse.Namespace) -> Mapping[str, Any]:
    said = {"data_dir": given.data_dir, "log_level": given.log_level}
    return {key: value for key, value in said.items() if value is not None}


def _run(given: argparse.Namespace, settings: Settings) -> int:
    process.collect_seldom()
    try:
        with asyncio.Runner(loop_factory=process.loop_factory()) as runner:
            return runner.run(_COMMANDS[given.command](settings, given))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return _complain("stopped before it was done", _FAILED)
    except Exception as error:
        said = explanation(error)
        if said is None:
            raise
        return _complain(said, _FAILED)


async def _up(settings: Settings, _: argparse.Namespace) -> int:
    return await up.until_stopped(settings, up.ALL_ROLES)


async def _agent(settings: Settings, given: argparse.Namespace) -> int:
    return await up.until_stopped(settings, frozenset({given.protocol}))


async def _demo(settings: Settings, given: argparse.Namespace) -> int:
    return await run_demo(settings, stay=not given.exit)


def _role(role: str) -> Command:
    async def run(settings: Settings, _: argparse.Namespace) -> int:
        return await up.until_stopped(settings, frozenset({role}))

    return run


_COMMANDS: Mapping[str, Command] = {
    "up": _up,
    "demo": _demo,
    "broker": _role("broker"),
    "agent": _agent,
    "rules": _role("rules"),
    "kpi": _role("kpi"),
    "subscription": subscriptions.run,
    "history": history.run,
    "device": devices.run,
    "mapping": mappings.run,
}


def _complain(text: str, status: int) -> int:
    for line in text.splitlines():
        print(f"rigel: {line}", file=sys.stderr)  # noqa: T201 - the command's own words
    return status
