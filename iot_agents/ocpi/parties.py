"""The file of OCPI parties: whom we pull from and register with, and who may register with us."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from iot_agents.ocpi.versions import MODULES, Module
from smart_data_models import yaml12

_PARTY: Final = re.compile(r"([A-Za-z]{2})\*([A-Za-z0-9]{3})")
Seconds = Annotated[float, msgspec.Meta(ge=1.0)]
_TOKEN: Final = re.compile(r"[!-~]{8,64}")


Party = tuple[str, str]
"""Country code and party id, in upper case."""


class InvalidParties(ValueError):
    """The file of parties is wrong; the text names the place and never shows a token."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One operator.

    Attributes:
        party: who it is, such as `ES*MOB`; a platform may speak for several.
        url: of its versions; without one it is only waited for.
        token: what we call it with; with `register`, only for the registration.
        register: whether we register there, so that it pushes to us.
        registration_token: what it may register at us with, once.
        encoding: how tokens are sent; `auto` finds out.
        modules: what is pulled.
        interval: seconds between two pulls of what changed.
        full_interval: seconds between two pulls of all Locations and Tariffs.
        limit: objects to ask for in one page.
        since: days to look back for Sessions and CDRs at the first pull.
    """

    party: str | list[str]
    url: str = ""
    token: str = ""
    register: bool = False
    registration_token: str = ""
    encoding: Literal["auto", "base64", "raw"] = "auto"
    modules: tuple[Module, ...] = MODULES
    interval: Seconds = 3600.0
    full_interval: Seconds = 86_400.0
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100
    since: Annotated[float, msgspec.Meta(ge=0.0, le=3660.0)] = 7.0

    @property
    def parties(self) -> frozenset[Party]:
        """Country codes and party ids, in upper case."""
        names = [self.party] if isinstance(self.party, str) else self.party
        return frozenset(party_named(name) for name in names)

    @property
    def name(self) -> str:
        """What the operator is called in logs and files."""
        country, party = min(self.parties)
        return f"{country}*{party}"

    @property
    def registration_digest(self) -> str:
        """What is kept of a registration token once it was used."""
        return hashlib.sha256(self.registration_token.encode()).hexdigest()


def load_parties(path: Path | None) -> Sequence[Entry]:
    """Read the file of parties; without one there are none.

    Raises:
        InvalidParties: the file is wrong.
        OSError: it cannot be read.
    """
    if path is None:
        return ()
    try:
        listed = yaml12.load(path.read_text(encoding="utf-8")).value
        entries = msgspec.convert(listed, list[Entry])
        taken = [party for entry in entries for party in entry.parties]
    except (yaml12.YamlError, msgspec.ValidationError, ValueError) as error:
        raise InvalidParties(f"{path}: {error}") from error
    for number, problem in _problems(entries):
        raise InvalidParties(f"{path}: $[{number}]: {problem}")
    if len(taken) != len(set(taken)):
        raise InvalidParties(f"{path}: a party is there twice")
    return entries


def _problems(entries: Sequence[Entry]) -> Iterator[tuple[int, str]]:
    for number, entry in enumerate(entries):
        if not entry.parties:
            yield number, "party: names nobody"
        for name in ("token", "registration_token"):
            token = getattr(entry, name)
            if token and not _TOKEN.fullmatch(token):
                yield number, f"{name}: expected 8 to 64 printable characters"
        if bool(entry.url) != bool(entry.token):
            yield number, "url and token belong together"
        if not entry.url and not entry.registration_token:
            yield number, "has neither url and token nor registration_token"
        if entry.register and not entry.url:
            yield number, "register: needs url and token"


def party_named(text: str) -> Party:
    """Return the party of a text such as `ES*MOB`.

    Raises:
        ValueError: it is none.
    """
    match = _PARTY.fullmatch(text)
    if match is None:
        raise ValueError(f"party: expected such as ES*MOB, got {text!r:.20}")
    return match[1].upper(), match[2].upper()
