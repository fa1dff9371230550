"""What may be called from here, decided from a URL and from addresses alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from yarl import URL

from broker.core.addresses import Address, Network, parse_host, refusal

_INVISIBLE = re.compile(r"[\x00-\x20\x7f-\xa0]")


class EgressRefused(Exception):
    """The policy does not allow the request; its text says why."""


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    """What may be called.

    Attributes:
        schemes: URL schemes.
        allow_private: loopback and private networks may be called.
        allowed: host names, addresses and networks (`10.2.0.0/16`) that may be called in any case.
        max_bytes: largest answer, as sent and unpacked.
        timeout: seconds for a whole exchange, redirects included.
        max_redirects: redirects that are followed, for GET only.
        connections_per_host: exchanges with one host at the same time; others wait.
    """

    schemes: frozenset[str] = frozenset(("http", "https"))
    allow_private: bool = False
    allowed: tuple[str, ...] = ()
    max_bytes: int = 16 * 1024 * 1024
    timeout: float = 5.0
    max_redirects: int = 3
    connections_per_host: int = 64


class Rules:
    """A policy, ready to be applied to URLs and addresses."""

    def __init__(self, policy: EgressPolicy) -> None:
        self._policy = policy
        self._names: set[str] = set()
        self._networks: list[Network] = []
        for entry in policy.allowed:
            try:
                self._networks.append(ip_network(entry))
            except ValueError:
                self._names.add(entry.lower().rstrip("."))

    def check(self, url: str) -> URL | EgressRefused:
        """Return the parsed URL, or why it must not be called; no name is resolved."""
        if _INVISIBLE.search(url):
            return EgressRefused(f"{url!r:.120} has blanks or control characters")
        try:
            parsed = URL(url)
            if parsed.scheme not in self._policy.schemes:
                schemes = ", ".join(sorted(self._policy.schemes))
                return EgressRefused(f"scheme {parsed.scheme!r:.40} is not one of {schemes}")
            address = parse_host(parsed.raw_host or "")
        except ValueError as error:
            return EgressRefused(f"{url!r:.120} is no URL of a host: {error!s:.120}")
        if parsed.scheme in ("http", "https") and (parsed.raw_user or parsed.raw_password):
            return EgressRefused("user and password in the URL are not accepted")
        host = parsed.raw_host or ""
        reason = self._refusal(address) if address else self._name_refusal(host)
        return EgressRefused(f"{host} {reason}") if reason else parsed

    def allowed(self, host: str, found: Sequence[str]) -> list[str]:
        """Return those of a host's addresses that may be connected to.

        Raises:
            EgressRefused: none of them may.
        """
        if host.lower().rstrip(".") in self._names:
            return list(found)
        reasons = {address: self._refusal(ip_address(address)) for address in found}
        allowed = [address for address, reason in reasons.items() if reason is None]
        if not allowed:
            first = next(iter(reasons), None)
            raise EgressRefused(
                f"{host} leads to {first}, which {reasons[first]}" if first else f"{host}: none"
            )
        return allowed

    def _name_refusal(self, host: str) -> str | None:
        name = host.lower().rstrip(".")
        if self._policy.allow_private or name in self._names:
            return None
        local = name == "localhost" or name.endswith(".localhost")
        return "is loopback" if local else None

    def _refusal(self, address: Address) -> str | None:
        if any(address in network for network in self._networks):
            return None
        return refusal(address, allow_private=self._policy.allow_private)
