"""The command `rigel subscription`: what a running broker tells of its subscriptions, as text."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any, Final

import msgspec

from broker.client import Client
from rigel.actions import AddAction
from rigel.ports import local
from rigel.settings import Settings

_FAILED: Final = 1
_PAGE: Final = 100
_Lines = Iterator[str]


def add_actions(add: AddAction) -> None:
    """Add the actions and what can be said to each."""
    words = {word: add(word, text) for word, (text, _, _) in _ACTIONS.items()}
    for word, action in words.items():
        if word != "list":
            action.add_argument("id", help="the subscription's id")
        to_broker(action)
        action.add_argument("--json", action="store_true", help="print the broker's answer as JSON")
    words["explain"].add_argument(
        "--entity", metavar="ID", help="this entity only, and as it is now"
    )
    words["replay"].add_argument(
        "--letter",
        action="append",
        metavar="ID",
        help="this dead letter only; may be given several times",
    )


def to_broker(action: argparse.ArgumentParser) -> None:
    """Add the options that say which broker and tenant it is about."""
    action.add_argument("--url", metavar="URL", help="the broker (default: that of the settings)")
    action.add_argument("--tenant", default="", metavar="NAME", help="the tenant")


async def run(settings: Settings, given: argparse.Namespace) -> int:
    """Do what was asked for and return the exit status.

    Raises:
        BrokerRefused: the broker answered with an error.
        BrokerUnreachable: there is no broker.
    """
    url = broker_url(settings, given.url)
    _, ask, show = _ACTIONS[given.action]
    # A test waits for the receiver, whose time is up to the subscription.
    async with Client.connect(url, tenant=given.tenant, timeout=60.0) as client:
        answer = await ask(client, given)
    if given.json:
        _print([msgspec.json.format(msgspec.json.encode(answer)).decode()])
    else:
        _print(show(answer))
    return _FAILED if given.action == "test" and not answer["delivered"] else 0


def broker_url(settings: Settings, given: str | None) -> str:
    """Return the broker that a command is about: the one given, or that of the settings."""
    return given or f"http://{local(settings.broker.host)}:{settings.broker.port}"


def _print(lines: Iterator[str] | list[str]) -> None:
    for line in lines:
        sys.stdout.write(line + "\n")


async def _list(client: Client, _: argparse.Namespace) -> Any:
    found: list[Any] = []
    while True:
        params = {"limit": str(_PAGE), "offset": str(len(found))}
        page = await client.request("GET", "/subscriptions", params=params)
        found += page
        if len(page) < _PAGE:
            return found


async def _explain(client: Client, given: argparse.Namespace) -> Any:
    params = {} if given.entity is None else {"entityId": given.entity}
    return await client.request("GET", _path(given, "explain"), params=params)


async def _test(client: Client, given: argparse.Namespace) -> Any:
    return await client.request("POST", _path(given, "test"))


async def _letters(client: Client, given: argparse.Namespace) -> Any:
    params = {"limit": str(_PAGE)}
    return await client.request("GET", _path(given, "deadLetters"), params=params)


async def _replay(client: Client, given: argparse.Namespace) -> Any:
    body = None if given.letter is None else {"ids": given.letter}
    return await client.request("POST", _path(given, "deadLetters/replay"), body=body)


async def _purge(client: Client, given: argparse.Namespace) -> Any:
    return await client.request("DELETE", _path(given, "deadLetters"))


def _path(given: argparse.Namespace, what: str) -> str:
    return f"/subscriptions/{given.id.replace('/', '%2F')}/{what}"


def _listed(found: list[dict[str, Any]]) -> _Lines:
    for one in found:
        told = one["notification"]
        counts = f"sent {told.get('timesSent', 0)}, failed {told.get('timesFailed', 0)}"
        yield f"{one['id']}  {one['status']}  {counts}  {told['endpoint']['uri']}"


def _explained(told: Mapping[str, Any]) -> _Lines:
    yield f"{told['id']} is {told['status']}"
    if "problem" in told:
        yield f"  it is not matched: {told['problem']}"
    for name, value in told["delivery"].items():
        yield f"  {name}: {value}"
    if "period" in told:
        yield from _timed(told["period"])
    for change in told.get("changes", ()):
        changed = ", ".join(change["changed"]) or "nothing"
        yield f"{change['at']} {change['entityId']} ({changed})"
        if change["notified"]:
            yield f"  notified as {change['notificationId']}, {change['delivery']}"
        yield from _obstacles(change)
    if "entity" in told:
        would = "would" if told["entity"]["wouldBeNotified"] else "would not"
        what = told["entity"]["id"] if "period" in told else f"an update of {told['entity']['id']}"
        yield f"{what} {would} be notified now"
        yield from _obstacles(told["entity"])


def _timed(period: Mapping[str, Any]) -> _Lines:
    yield f"every {period['timeInterval']} s, next at {period['next']}: {period['matching']} match"
    if "stoppedBy" in period:
        yield f"  stopped by {period['stoppedBy']}"


def _obstacles(told: Mapping[str, Any]) -> _Lines:
    if "stoppedBy" in told:
        yield f"  stopped by {told['stoppedBy']}"
    if "problem" in told:
        yield f"    {told['problem']}"
    for one in told.get("conditions", ()):
        if not one["holds"]:
            asked, seen = (msgspec.json.encode(one[name]).decode() for name in ("asked", "seen"))
            yield f"    {one['condition']}: asked for {asked}, saw {seen}"


def _tested(told: Mapping[str, Any]) -> _Lines:
    said = "it was taken" if told["delivered"] else f"it failed: {told['reason']}"
    yield f"{told['endpoint']}: {said} ({told['milliseconds']} ms)"


def _lettered(letters: list[dict[str, Any]]) -> _Lines:
    for one in letters:
        yield f"{one['failedAt']} {one['id']} about {one['entityId']}: {one['reason']}"


def _replayed(told: Mapping[str, Any]) -> _Lines:
    yield f"{len(told['replayed'])} notifications wait for delivery again"
    yield from (f"  {one}" for one in told["replayed"])


def _purged(told: Mapping[str, Any]) -> _Lines:
    yield f"{told['purged']} dead letters deleted"


_Ask = Callable[[Client, argparse.Namespace], Coroutine[Any, Any, Any]]
_ACTIONS: Final[Mapping[str, tuple[str, _Ask, Callable[[Any], _Lines]]]] = {
    "list": ("list the subscriptions, with how they get on", _list, _listed),
    "explain": ("say why the last changes were notified, or were not", _explain, _explained),
    "test": ("send a sample to the receiver", _test, _tested),
    "letters": ("list the notifications that were given up", _letters, _lettered),
    "replay": ("deliver notifications again that were given up", _replay, _replayed),
    "purge": ("delete the notifications that were given up", _purge, _purged),
}
"""What each action is for, what asks the broker, and what shows its answer."""
