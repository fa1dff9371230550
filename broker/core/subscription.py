"""Subscriptions as values: what is asked for, with names expanded (clause 5.2.12).

`subscription_documents` reads and writes them as a client sees them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from broker.core.timestamps import instant_key

JSON: Final = "application/json"
LD_JSON: Final = "application/ld+json"
GEO_JSON: Final = "application/geo+json"

DEFAULT_TRIGGERS: Final = ("attributeCreated", "attributeUpdated")

_Number = int | float
_Texts = Annotated[list[str], Meta(min_length=1)]


class KeyValuePair(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of `receiverInfo` or `notifierInfo` (clause 5.2.22)."""

    key: str
    value: str


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where notifications go (clause 5.2.15); times are in milliseconds."""

    uri: str
    accept: str | UnsetType = UNSET
    cooldown: _Number | UnsetType = UNSET
    notifier_info: list[KeyValuePair] | UnsetType = UNSET
    receiver_info: list[KeyValuePair] | UnsetType = UNSET
    timeout: _Number | UnsetType = UNSET

    @property
    def media_type(self) -> str:
        """The media type of notifications."""
        return JSON if self.accept is UNSET else self.accept

    @property
    def context_in_body(self) -> bool:
        """Whether notifications have their @context in the body instead of in a Link header."""
        return self.media_type == LD_JSON or (
            self.media_type == GEO_JSON and not self._prefers_json()
        )

    def _prefers_json(self) -> bool:
        """Tell whether the receiver of GeoJSON wants none of JSON-LD in it (clause 6.3.6)."""
        pairs = [] if self.receiver_info is UNSET else self.receiver_info
        return any(
            pair.key.lower() == "prefer" and pair.value.replace(" ", "").lower() == "body=json"
            for pair in pairs
        )


class NotificationParams(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a notification holds (clause 5.2.14)."""

    endpoint: Endpoint
    attributes: _Texts | UnsetType = UNSET
    format: str | UnsetType = UNSET
    join: str | UnsetType = UNSET
    join_level: Annotated[int, Meta(gt=0)] | UnsetType = UNSET
    omit: _Texts | UnsetType = UNSET
    pick: _Texts | UnsetType = UNSET
    show_changes: bool | UnsetType = UNSET
    sys_attrs: bool | UnsetType = UNSET

    @property
    def linked_level(self) -> int:
        """How many relationships to follow to linked entities; 0 for none (clause 4.5.23)."""
        if self.join not in ("flat", "inline"):
            return 0
        return 1 if self.join_level is UNSET else self.join_level


class Selector(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Which entities are subscribed to (clause 5.2.33)."""

    type: str
    id: str | _Texts | UnsetType = UNSET
    id_pattern: str | UnsetType = UNSET


class GeoCondition(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A geoquery as a client writes it (clause 5.2.13)."""

    coordinates: list[Any] | str
    geometry: str
    georel: str
    geoproperty: str | UnsetType = UNSET


class Subscription(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A subscription with its names expanded (clause 5.2.12).

    Attributes:
        ld_context: the @context it was created with, as a client writes one.
        q_context: the @context of `q` where an update brought another one.
        context_link: where the @context of its notifications is found.
    """

    id: str
    type: str
    entities: Annotated[list[Selector], Meta(min_length=1)] | UnsetType = UNSET
    watched_attributes: _Texts | UnsetType = UNSET
    notification_trigger: _Texts | UnsetType = UNSET
    q: str | UnsetType = UNSET
    geo_q: GeoCondition | UnsetType = UNSET
    scope_q: str | UnsetType = UNSET
    temporal_q: dict[str, Any] | UnsetType = UNSET
    csf: str | UnsetType = UNSET
    dataset_id: _Texts | UnsetType = UNSET
    description: str | UnsetType = UNSET
    expand_values: str | UnsetType = UNSET
    expires_at: str | UnsetType = UNSET
    is_active: bool | UnsetType = UNSET
    json_keys: str | UnsetType = UNSET
    jsonld_context: str | UnsetType = UNSET
    lang: str | UnsetType = UNSET
    local_only: bool | UnsetType = UNSET
    ngsild_conformance: str | UnsetType = UNSET
    split_entities: bool | UnsetType = UNSET
    subscription_name: str | UnsetType = UNSET
    throttling: _Number | UnsetType = UNSET
    time_interval: _Number | UnsetType = UNSET
    notification: NotificationParams
    created_at: str | UnsetType = UNSET
    modified_at: str | UnsetType = UNSET
    ld_context: Any = msgspec.field(name="@context", default=UNSET)
    q_context: Any = UNSET
    context_link: str | UnsetType = UNSET

    @property
    def expires(self) -> float | None:
        """When it ends, in seconds since the epoch."""
        return None if self.expires_at is UNSET else instant_key(self.expires_at)

    @property
    def triggers(self) -> tuple[str, ...]:
        """What kinds of change it asks for."""
        given = self.notification_trigger
        return DEFAULT_TRIGGERS if given is UNSET else tuple(given)

    def status(self, now: datetime) -> str:
        """Return `expired`, `paused` or `active`, whichever holds first."""
        expires = self.expires
        if expires is not None and expires <= now.timestamp():
            return "expired"
        return "paused" if self.is_active is False else "active"
