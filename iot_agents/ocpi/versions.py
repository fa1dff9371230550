"""What differs between the versions of OCPI that are spoken, as a table.

Inside there is one form of each object, that of 2.2.1: what comes in another one gets the members
of 2.2.1 besides its own. Members and words of 2.3.0 pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Document = dict[str, Any]

LOCATIONS: Final = "locations"
SESSIONS: Final = "sessions"
CDRS: Final = "cdrs"
TARIFFS: Final = "tariffs"
Module = Literal["locations", "tariffs", "sessions", "cdrs"]
MODULES: Final[tuple[Module, ...]] = (LOCATIONS, TARIFFS, SESSIONS, CDRS)
"""In the order they are pulled in: a session may name a Location."""

PERSONAL: Final = frozenset(("auth_id", "authorization_reference", "signed_data"))
"""Members left out of what is kept; signed data is the meter's text and names the token."""
_KEPT_OF_TOKEN: Final = frozenset(("type",))


@dataclass(frozen=True, slots=True)
class Version:
    """How a version differs from the others.

    Attributes:
        number: its name on the wire.
        flat_credentials: whether credentials have one role, without the list of `roles`.
        endpoint_roles: whether endpoints say whose side of a module they are.
        party_in_objects: whether objects name their country and party; else only URLs do.
        routed: whether requests to modules say from whom to whom they go.
        dated_changes: whether a PATCH has to say `last_updated`.
        patched: the modules whose objects a PATCH changes.
        renamed: by module, the members whose name in 2.2.1 is another one.
    """

    number: str
    flat_credentials: bool
    endpoint_roles: bool
    party_in_objects: bool
    routed: bool
    dated_changes: bool
    patched: frozenset[str]
    renamed: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


VERSIONS: Final[Mapping[str, Version]] = {
    version.number: version
    for version in (
        Version(
            "2.2.1",
            flat_credentials=False,
            endpoint_roles=True,
            party_in_objects=True,
            routed=True,
            dated_changes=True,
            patched=frozenset((LOCATIONS, SESSIONS)),
        ),
        Version(
            "2.1.1",
            flat_credentials=True,
            endpoint_roles=False,
            party_in_objects=False,
            routed=False,
            dated_changes=False,
            patched=frozenset((LOCATIONS, SESSIONS, TARIFFS)),
            renamed={
                SESSIONS: {"start_datetime": "start_date_time", "end_datetime": "end_date_time"},
                CDRS: {"stop_date_time": "end_date_time"},
            },
        ),
    )
}
"""The best first."""


def uniform(document: Document, module: str, version: Version, party: tuple[str, str]) -> Document:
    """Return an object, or a change of one, with the names of 2.2.1 and without personal data.

    Args:
        party: country code and party id of its owner, for versions whose objects do not say.
    """
    found = {name: value for name, value in document.items() if name not in PERSONAL}
    for old, new in version.renamed.get(module, {}).items():
        if old in found:
            found.setdefault(new, found[old])
    if not version.party_in_objects:
        found = {"country_code": party[0], "party_id": party[1], **found}
    if isinstance(token := found.get("cdr_token"), dict):
        found["cdr_token"] = {n: v for n, v in token.items() if n in _KEPT_OF_TOKEN}
    return _SHAPED[module](found)


def uniform_evse(evse: Document) -> Document:
    """Return an EVSE whose connectors have the names of 2.2.1."""
    connectors = evse.get("connectors")
    if not isinstance(connectors, list):
        return evse
    return {**evse, "connectors": [uniform_connector(one) for one in connectors]}


def uniform_connector(connector: Any) -> Any:
    """Return a connector with the names of 2.2.1."""
    if not isinstance(connector, dict):
        return connector
    found = dict(connector)
    for old, new in (("voltage", "max_voltage"), ("amperage", "max_amperage")):
        if old in found:
            found.setdefault(new, found[old])
    if "tariff_id" in found:
        found.setdefault("tariff_ids", [found["tariff_id"]])
    return found


def _location(document: Document) -> Document:
    evses = document.get("evses")
    if not isinstance(evses, list):
        return document
    return {**document, "evses": [uniform_evse(e) if isinstance(e, dict) else e for e in evses]}


def _session(document: Document) -> Document:
    found = _priced(document)
    if isinstance(location := found.pop("location", None), dict):
        place = _place(location)
        named = {"location_id": "id", "evse_uid": "evse_uid", "connector_id": "connector_id"}
        found |= {new: place[old] for new, old in named.items() if old in place}
    return found


def _cdr(document: Document) -> Document:
    found = _priced(document)
    if isinstance(location := found.pop("location", None), dict):
        found.setdefault("cdr_location", _place(location))
    return found


def _place(location: Document) -> Document:
    """Return where a session of 2.1.1 was, which has the whole Location inside."""
    evse = _only(location.get("evses"))
    parts = {
        "evse_uid": evse.get("uid"),
        "evse_id": evse.get("evse_id"),
        "connector_id": _only(evse.get("connectors")).get("id"),
    }
    place = {name: value for name, value in location.items() if name != "evses"}
    return place | {name: value for name, value in parts.items() if value is not None}


def _only(items: Any) -> Document:
    if isinstance(items, list) and items and isinstance(items[0], dict):
        return items[0]
    return {}


def _priced(document: Document) -> Document:
    cost = document.get("total_cost")
    if isinstance(cost, int | float) and not isinstance(cost, bool):
        return {**document, "total_cost": {"excl_vat": cost}}
    if isinstance(cost, dict) and "before_taxes" in cost and "excl_vat" not in cost:
        return {**document, "total_cost": {**cost, **_with_taxes(cost)}}
    return dict(document)


def _with_taxes(cost: Document) -> Document:
    """Return a price of 2.3.0, which lists its taxes, as one of 2.2.1."""
    before, taxes = cost["before_taxes"], cost.get("taxes")
    if not isinstance(taxes, list):
        return {"excl_vat": before}
    amounts = [tax.get("amount") for tax in taxes if isinstance(tax, dict)]
    numbers = [amount for amount in (before, *amounts) if isinstance(amount, int | float)]
    if len(numbers) != len(taxes) + 1:
        return {"excl_vat": before}
    return {"excl_vat": before, "incl_vat": round(sum(numbers), 4)}


_SHAPED: Final[Mapping[str, Callable[[Document], Document]]] = {
    LOCATIONS: _location,
    SESSIONS: _session,
    CDRS: _cdr,
    TARIFFS: dict,
}
