"""Which IP addresses a server must not call for somebody else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

Address: TypeAlias = "IPv4Address | IPv6Address"
Network: TypeAlias = "IPv4Network | IPv6Network"

_NAME = re.compile(r"(?!-)[a-z0-9_\-]{1,63}(?:\.[a-z0-9_\-]{1,63})*\.?")
_NUMERIC = re.compile(r"(?:\d+|0x[0-9a-f]*)")
# Cloud metadata services that answer on addresses which look public.
_METADATA = frozenset((ip_address("168.63.129.16"), ip_address("fd00:ec2::254")))
# Not for the public either, though `is_global` says so, in some versions of Python.
_SPECIAL = (
    ip_network("192.0.0.0/24"),
    ip_network("fec0::/10"),
    ip_network("64:ff9b:1::/48"),
    ip_network("2002::/16"),
)
_THIS_NETWORK = ip_network("0.0.0.0/8")
_NAT64 = ip_network("64:ff9b::/96")
_V4_COMPATIBLE = ip_network("::/96")


def parse_host(host: str) -> Address | None:
    """Return the address a URL's host is, or None when it is a name.

    Raises:
        ValueError: it is neither; numbers such as `2130706433`, `127.1` or `0x7f.1`, which
            resolvers take for IPv4 addresses, are not accepted as names.
    """
    if ":" in host:
        return ip_address(host)
    lowered = host.lower()
    if _NUMERIC.fullmatch(lowered.rstrip(".").rpartition(".")[2]):
        return ip_address(host)
    if not _NAME.fullmatch(lowered):
        raise ValueError(f"{host!r:.80} is no host name")
    return None


def refusal(address: Address, *, allow_private: bool) -> str | None:
    """Say why an address must not be called, or None when it may be.

    Args:
        allow_private: take loopback and private networks; link-local addresses, where clouds keep
            their metadata, stay refused.
    """
    for each in _meant(address):
        if each in _METADATA:
            return "is a cloud's metadata service"
        if each.is_link_local:
            return "is link-local"
        if each.is_unspecified or each.is_multicast or _reserved(each):
            return "is no address of one host"
        private = not each.is_global or any(each in network for network in _SPECIAL)
        if private and not allow_private:
            return "is loopback" if each.is_loopback else "is private"
    return None


def _reserved(address: Address) -> bool:
    # Python counts ::1 and other special IPv6 addresses as reserved; only IPv4's class E is meant.
    return isinstance(address, IPv4Address) and (address.is_reserved or address in _THIS_NETWORK)


def _meant(address: Address) -> Iterator[Address]:
    """Yield an address and the IPv4 addresses that it leads to."""
    if isinstance(address, IPv4Address):
        yield address
        return
    inner = address.ipv4_mapped
    if inner is not None:
        yield inner
        return
    yield address
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if address in _NAT64 or (address in _V4_COMPATIBLE and int(address) > 1):
        yield IPv4Address(int(address) & 0xFFFFFFFF)
