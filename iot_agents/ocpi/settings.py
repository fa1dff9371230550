"""What the OCPI agent needs of the agents' settings: above all who may push, with which token."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from iot_agents.ocpi.parties import Entry, InvalidParties, Party, load_parties, party_named
from iot_agents.settings import Settings

_LINE = re.compile(r"([A-Za-z]{2})\*([A-Za-z0-9]{3})=(\S+)")
_SHORTEST_TOKEN = 8


class InvalidToken(ValueError):
    """An entry of the OCPI tokens is not `ES*MOB=token`; the text never shows the token."""


@dataclass(frozen=True, slots=True)
class OcpiSettings:
    """Settings of the OCPI agent.

    Attributes:
        tenant: of all entities.
        base_path: of the receiver interfaces, before the version.
        public_url: the root under which parties reach us; empty to take what they used.
        parties: the parties a token speaks for, by the token's SHA-256.
        party: who we are; None when we never said.
        name: of the business we register with.
        role: we register with.
        entries: the file of parties.
        keep_days: how long Sessions and CDRs are known after their last change; 0 for ever.
    """

    tenant: str
    base_path: str
    public_url: str
    parties: Mapping[bytes, frozenset[Party]] = field(repr=False)
    party: Party | None = None
    name: str = ""
    role: str = ""
    entries: Sequence[Entry] = field(default=(), repr=False)
    keep_days: float = 0.0

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Pick them out of the agents' settings, and read the file of tokens.

        Raises:
            InvalidToken: an entry is malformed; it is named by its place.
            InvalidParties: the file of parties is wrong, or `ocpi_party`.
            OSError: the file cannot be read.
        """
        entries = [(f"ocpi_tokens[{n}]", text) for n, text in enumerate(settings.ocpi_tokens)]
        if settings.ocpi_tokens_file is not None:
            lines = settings.ocpi_tokens_file.read_text(encoding="utf-8").splitlines()
            entries += [
                (f"{settings.ocpi_tokens_file}:{number}", line.strip())
                for number, line in enumerate(lines, start=1)
                if line.strip() and not line.startswith("#")
            ]
        return cls(
            settings.tenant,
            settings.ocpi_base_path.rstrip("/"),
            settings.public_url.rstrip("/"),
            _parties(entries),
            _own(settings.ocpi_party),
            settings.ocpi_name,
            settings.ocpi_role,
            load_parties(settings.ocpi_parties_file),
            settings.ocpi_keep_days,
        )

    def parties_of(self, authorization: str) -> frozenset[Party]:
        """Return whom an Authorization header speaks for; nobody when its token is unknown.

        A token may come as it is (OCPI 2.1.1, and many others) or in base64 (2.2.1). All known
        ones are compared, each in constant time.
        """
        found: frozenset[Party] = frozenset()
        for form in forms(authorization):
            digest = hashlib.sha256(form).digest()
            for known, parties in self.parties.items():
                if hmac.compare_digest(known, digest):
                    found = parties
        return found


def _own(text: str) -> Party | None:
    try:
        return party_named(text) if text else None
    except ValueError as error:
        raise InvalidParties(f"ocpi_party: {error}") from error


def _parties(entries: Iterable[tuple[str, str]]) -> Mapping[bytes, frozenset[Party]]:
    parties: dict[bytes, frozenset[Party]] = {}
    for place, text in entries:
        match = _LINE.fullmatch(text)
        if match is None or len(match[3]) < _SHORTEST_TOKEN:
            raise InvalidToken(
                f"{place}: expected ES*MOB=token with at least {_SHORTEST_TOKEN} characters"
            )
        digest = hashlib.sha256(match[3].encode()).digest()
        party = (match[1].upper(), match[2].upper())
        parties[digest] = parties.get(digest, frozenset()) | {party}
    return parties


def forms(authorization: str, *, raw: bool = True) -> Iterator[bytes]:
    """Yield what the token of an Authorization header may be: raw, or decoded from base64."""
    scheme, _, given = authorization.strip().partition(" ")
    if scheme.lower() != "token":
        return
    if raw:
        yield given.strip().encode()
    try:
        # The specification's own sample has a line end inside.
        yield base64.b64decode(given.strip(), validate=True).strip()
    except (binascii.Error, ValueError):
        return
