"""The command `rigel device`: devices of running agents, and those that wait to become some."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import msgspec
from aiohttp import ClientError, ClientSession, ClientTimeout

from rigel.actions import AddAction
from rigel.ports import local
from rigel.settings import Settings

_FAILED: Final = 1
_PAGE: Final = 1000
_SECONDS: Final = 600.0
_Lines = Iterator[str]


class AgentsRefused(Exception):
    """The agents answered with an error, or not at all."""


def add_actions(add: AddAction) -> None:
    """Add the actions and what can be said to each."""
    words = {word: add(word, text) for word, (text, _, _) in _ACTIONS.items()}
    words["show"].add_argument("what", metavar="id", help="the device's id")
    for word in ("list", "show"):
        words[word].add_argument("--apikey", metavar="KEY", help="devices of this key only")
    _about_import(words["import"])
    for word in ("waiting", "accept", "purge"):
        words[word].add_argument(
            "what",
            metavar="pattern",
            nargs="?" if word == "waiting" else None,
            help="ids; `*` stands for any characters",
        )
        words[word].add_argument("--protocol", metavar="NAME", help="only what came by this")
    _about_accept(words["accept"])
    for action in words.values():
        action.add_argument("--service", default="", metavar="NAME", help="the service, or tenant")
        action.add_argument(
            "--path", default="/", metavar="PATH", help="the service path (default: /)"
        )
        action.add_argument(
            "--url", metavar="URL", help="the agents (default: those of the settings)"
        )
        action.add_argument("--json", action="store_true", help="print the agents' answer as JSON")


def _about_import(action: argparse.ArgumentParser) -> None:
    action.add_argument("what", metavar="file", help="a CSV file; `-` is standard input")
    action.add_argument("--dry-run", action="store_true", help="say what would happen")
    action.add_argument("--upsert", action="store_true", help="change devices that exist already")
    action.add_argument(
        "--skip-errors", action="store_true", help="leave out what is wrong, take the rest"
    )


def _about_accept(action: argparse.ArgumentParser) -> None:
    action.add_argument(
        "--template", type=Path, metavar="FILE", help="members of the devices to make, in JSON"
    )
    action.add_argument("--type", metavar="TYPE", help="the entity type of the devices")
    action.add_argument("--dry-run", action="store_true", help="say what would happen")


async def run(settings: Settings, given: argparse.Namespace) -> int:
    """Do what was asked for and return the exit status.

    Raises:
        AgentsRefused: the agents answered with an error, or cannot be reached.
        OSError: a file cannot be read.
    """
    _, ask, show = _ACTIONS[given.action]
    url = given.url or f"http://{local(settings.agents.host)}:{settings.agents.port}"
    async with _connected(url, given) as call:
        answer = await ask(call, given)
    lines = [_json(answer)] if given.json else show(answer)
    for line in lines:
        sys.stdout.write(line + "\n")
    return _FAILED if answer.get("name") and "rows" in answer else 0


class _Call:
    """A client with the headers of one service."""

    def __init__(self, http: ClientSession, url: str) -> None:
        self._http = http
        self._url = url.rstrip("/") + "/iot"

    async def __call__(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        url = self._url + path
        try:
            async with self._http.request(method, url, **more) as answer:
                content = await answer.read()
        except (ClientError, TimeoutError) as error:
            raise AgentsRefused(
                f"{url}: no answer: {str(error) or type(error).__name__}"
            ) from error
        try:
            found = msgspec.json.decode(content or b"{}", type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise AgentsRefused(f"{url}: {answer.status}, and no JSON") from error
        if not answer.ok and "rows" not in found:
            raise AgentsRefused(f"{answer.status} {found.get('name')}: {found.get('message')}")
        return found


@asynccontextmanager
async def _connected(url: str, given: argparse.Namespace) -> AsyncIterator[_Call]:
    headers = {"fiware-service": given.service, "fiware-servicepath": given.path}
    async with ClientSession(headers=headers, timeout=ClientTimeout(total=_SECONDS)) as http:
        yield _Call(http, url)


async def _list(call: _Call, given: argparse.Namespace) -> dict[str, Any]:
    found: list[Any] = []
    params = {"limit": str(_PAGE)} | ({"apikey": given.apikey} if given.apikey else {})
    while True:
        page = await call("GET", "/devices", params={**params, "offset": str(len(found))})
        found += page["devices"]
        if len(page["devices"]) < _PAGE:
            return {"count": page["count"], "devices": found}


async def _show(call: _Call, given: argparse.Namespace) -> dict[str, Any]:
    params = {"apikey": given.apikey} if given.apikey else {}
    return await call("GET", f"/devices/{_segment(given.what)}", params=params)


async def _import(call: _Call, given: argparse.Namespace) -> dict[str, Any]:
    content = await asyncio.to_thread(_content, given.what)
    params = {
        "dryRun": str(given.dry_run).lower(),
        "mode": "upsert" if given.upsert else "create",
        "onError": "skip" if given.skip_errors else "abort",
    }
    typed = {"Content-Type": "text/csv; charset=utf-8"}
    return await call(
        "POST", "/devices/import", params=params, data=BytesIO(content), headers=typed
    )


def _content(name: str) -> bytes:
    return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()


async def _waiting(call: _Call, given: argparse.Namespace) -> dict[str, Any]:
    return await call("GET", "/waiting", params=_chosen(given))


async def _accept(call: _Call, given: argparse.Namespace) -> dict[str, Any]:
    device: dict[str, Any] = {}
    if given.template is not None:
        try:
            device = msgspec.json.decode(given.template.read_bytes(), type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise AgentsRefused(f"{given.template}: {error}") from error
    if given.type is not None:
        device["entity_type"] = given.type
    wish = {**_chosen(given), "device": device, "dryRun": given.dry_run}
    return await call("POST", "/waiting/accept", json=wish)


async def _purge(call: _Call, given: argparse.Namespace) -> dict[str, Any]:
    return await call("DELETE", "/waiting", params=_chosen(given))


def _chosen(given: argparse.Namespace) -> dict[str, str]:
    said = {"pattern": given.what, "protocol": given.protocol}
    return {name: value for name, value in said.items() if value}


def _segment(text: str) -> str:
    return text.replace("%", "%25").replace("/", "%2F").replace("?", "%3F").replace("#", "%23")


def _json(answer: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(answer)).decode()


def _listed(answer: Mapping[str, Any]) -> _Lines:
    for one in answer["devices"]:
        yield f"{one['device_id']}  {one.get('entity_type', '')}  {one.get('entity_name', '')}"
    yield f"{answer['count']} devices"


def _shown(answer: Mapping[str, Any]) -> _Lines:
    yield _json(answer)


def _imported(answer: Mapping[str, Any]) -> _Lines:
    for error in answer["errors"]:
        place = f"line {error['line']}" + (f", {error['column']}" if error["column"] else "")
        yield f"{place}: {error['message']}"
    if answer["failed"] > len(answer["errors"]):
        yield f"and {answer['failed'] - len(answer['errors'])} more"
    would = "would be " if answer["dryRun"] else ""
    yield (
        f"{answer['rows']} rows: {answer['created']} {would}created,"
        f" {answer['updated']} {would}updated, {answer['unchanged']} unchanged,"
        f" {answer['failed']} wrong"
    )


def _waited(answer: Mapping[str, Any]) -> _Lines:
    for one in answer["devices"]:
        yield f"{one['device_id']}  {one['protocol']}  {one['measures']} since {one['first']}"
        yield f"  {one['reason']}"
        yield f"  {one['topic']}: {msgspec.json.encode(one['payload']).decode()[:200]}"
    yield f"{answer['count']} devices wait"


def _accepted(answer: Mapping[str, Any]) -> _Lines:
    would = "would be " if answer["dryRun"] else ""
    yield from _named("created", answer["created"], would)
    yield f"{answer['replayed']} measures went on, {answer['waiting']} wait"
    if "trouble" in answer:
        yield f"  {answer['trouble']}"


def _named(word: str, names: Iterable[str], would: str) -> _Lines:
    yield from (f"{name} {would}{word}" for name in names)


def _purged(answer: Mapping[str, Any]) -> _Lines:
    yield f"{answer['purged']} measures deleted"


_Ask = Callable[[_Call, argparse.Namespace], Coroutine[Any, Any, dict[str, Any]]]
_ACTIONS: Final[Mapping[str, tuple[str, _Ask, Callable[[Any], _Lines]]]] = {
    "list": ("list the devices", _list, _listed),
    "show": ("show a device as it was provisioned, and its state", _show, _shown),
    "import": ("provision the devices of a CSV file", _import, _imported),
    "waiting": (
        "list the devices whose measures wait, as nobody provisioned them",
        _waiting,
        _waited,
    ),
    "accept": ("provision devices that wait, and let their measures go on", _accept, _accepted),
    "purge": ("delete the measures of devices that wait", _purge, _purged),
}
"""What each action is for, what asks the agents, and what shows their answer."""
