"""What registrations agreed on: tokens of both directions, versions and endpoints, on disk.

The tokens are kept in clear, because OCPI wants them told again (GET credentials), in a file that
only the agent's user can read. They are not in the spool, whose files may be copied for a look.
"""

from __future__ import annotations

import asyncio
import hmac
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from iot_agents.ocpi.parties import Entry, Party
from iot_agents.ocpi.settings import forms


class Peer(msgspec.Struct, frozen=True):
    """What was agreed with one operator.

    Attributes:
        inbound: the token it calls us with.
        outbound: the token we call it with.
        url: of its versions.
        version: the one chosen.
        endpoints: where its modules are pulled from, and `credentials`.
        registered: whether the registration is complete; before, only `inbound` counts.
        spent: digest of the registration token that was used.
    """

    inbound: str = ""
    outbound: str = ""
    url: str = ""
    version: str = ""
    endpoints: dict[str, str] = {}
    registered: bool = False
    spent: str = ""

    def __repr__(self) -> str:
        return f"Peer({self.url!r}, {self.version!r}, registered={self.registered})"


@dataclass(frozen=True, slots=True)
class Visit:
    """Who asks for versions or credentials, and how far it is.

    Attributes:
        token: the one it came with.
        registered: whether that is the one of a complete registration; one that opens a
            registration opens the next one, too.
    """

    entry: Entry
    token: str = field(repr=False)
    registered: bool


class Peers:
    """The operators of the file of parties, with what was agreed with each."""

    def __init__(self, entries: Sequence[Entry], path: Path) -> None:
        """Read what was agreed before.

        Raises:
            msgspec.DecodeError: the file is not ours.
        """
        self.entries = entries
        self._path = path
        self._peers: dict[str, Peer] = {}
        self._lock = asyncio.Lock()
        if path.exists():
            self._peers = msgspec.json.decode(path.read_bytes(), type=dict[str, Peer])

    def get(self, entry: Entry) -> Peer:
        """Return what was agreed with an operator."""
        return self._peers.get(entry.name, Peer())

    async def put(self, entry: Entry, peer: Peer) -> None:
        """Keep what was agreed, durably.

        Raises:
            OSError: the disk did not take it; what was agreed before stands.
        """
        async with self._lock:
            peers = {**self._peers, entry.name: peer}
            await asyncio.to_thread(_write, self._path, msgspec.json.encode(peers))
            self._peers = peers

    def parties_of(self, authorization: str) -> frozenset[Party]:
        """Return whom a token speaks for that was agreed on in a registration."""
        for entry in self.entries:
            if _matches(authorization, self.get(entry).inbound, entry):
                return entry.parties
        return frozenset()

    def visitor(self, authorization: str) -> Visit | None:
        """Return who may ask for versions and credentials with a token."""
        found: Visit | None = None
        for entry in self.entries:
            peer = self.get(entry)
            if _matches(authorization, peer.inbound, entry):
                found = Visit(entry, peer.inbound, peer.registered)
            elif peer.spent != entry.registration_digest and _matches(
                authorization, entry.registration_token, entry
            ):
                found = Visit(entry, entry.registration_token, registered=False)
        return found

    def visitors(self, authorization: str) -> frozenset[Party]:
        """Return whom a token speaks for, also before the registration."""
        visit = self.visitor(authorization)
        return frozenset() if visit is None else visit.entry.parties


def _matches(authorization: str, token: str, entry: Entry) -> bool:
    if not token:
        return False
    given = forms(authorization, raw=entry.encoding != "base64")
    return any(hmac.compare_digest(form, token.encode()) for form in given)


def _write(path: Path, content: bytes) -> None:
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
