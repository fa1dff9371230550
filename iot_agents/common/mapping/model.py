"""What a mapping is once it is loaded: closures, so that applying one is calls and nothing else.

The scope that expressions read is a dict of the payload's members, `device`, what a `decode:`
section made of the bytes, and the names of `let:`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from collections.abc import Mapping as Dict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from iot_agents.common.codecs.interface import Codec, PayloadError
from smart_data_models.jexl.values import MISSING, ExpressionError, Getter, Scope, truthy

if TYPE_CHECKING:
    from iot_agents.common.mapping.instances import Builder


Entity: TypeAlias = dict[str, Any]
"""A normalized entity with short names."""


class MappingError(Exception):
    """A mapping met a payload it cannot make entities of: the device's measure is wrong.

    Attributes:
        mapping: the mapping's name.
        field: where in the mapping, such as `entities[0].attributes.status`.
        reason: what was wrong, with the value.
        code: the error name of the provisioning API.
    """

    def __init__(
        self, mapping: str, field: str, reason: str, code: str = "INVALID_EXPRESSION"
    ) -> None:
        super().__init__(f"{mapping}: {field}: {reason}")
        self.mapping = mapping
        self.field = field
        self.reason = reason
        self.code = code


class InvalidMapping(Exception):
    """A mapping file is wrong; each problem names file, line and field."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a payload came from, for a mapping to say whether it is its own.

    Attributes:
        protocol: `mqtt`, `lorawan`, `ocpi` …
        format: the shape of the payload, such as `chirpstack-v4` or `location-2.2.1`.
        topic: the MQTT topic or the HTTP path.
        profile: what the network calls this kind of device.
    """

    protocol: str
    format: str = ""
    topic: str = ""
    profile: str = ""


@dataclass(frozen=True, slots=True)
class Drop:
    """An attribute that was left out though the payload had something for it."""

    field: str
    reason: str


Drops: TypeAlias = list[Drop]


@dataclass(frozen=True, slots=True)
class LetRule:
    """A value computed once and put into the scope under a name, for what comes later."""

    name: Any
    field: str
    value: Getter


@dataclass(frozen=True, slots=True)
class AttributeRule:
    """One attribute of an entity.

    Attributes:
        name: the attribute's short name.
        field: where in the mapping it stands.
        value: what the attribute says; MISSING or null leaves it out.
        instance: makes the normalized attribute of a value and its observedAt.
        observed: whether it has an observedAt.
        observed_at: its own moment, where it is not the entity's.
        when: leaves it out unless it is truthy.
        unit: its unitCode, where the payload says it.
    """

    name: str
    field: str
    value: Getter
    instance: Builder
    observed: bool = False
    observed_at: Getter | None = None
    when: Getter | None = None
    unit: Getter | None = None


@dataclass(frozen=True, slots=True)
class EntityRule:
    """One entity made of a payload, or one per item of an array in it.

    Attributes:
        field: where in the mapping it stands.
        observed_at: the moment of its observed attributes.
        when: makes no entity unless it is truthy.
        each: the array to make one entity per item of; `item_name` names the item in the scope.
        passing: further attributes, without observedAt, whose names only the payload knows.
        keep: the names to keep of all attributes; None, or what gives None, keeps all.
    """

    field: str
    type: str
    identify: Getter
    attributes: tuple[AttributeRule, ...]
    observed_at: Getter | None = None
    when: Getter | None = None
    each: Getter | None = None
    item_name: str = "item"
    passing: Callable[[Scope], Dict[str, Any]] | None = None
    keep: Getter | None = None


@dataclass(frozen=True, slots=True)
class Decoding:
    """How the bytes in a payload become names of the scope.

    Attributes:
        data: the bytes as text in `encoding` (`base64` or `hex`), and `port`, in the payload.
        into: the name under which the decoded values stand.
    """

    codec: Codec
    data: Getter
    port: Getter
    encoding: str
    into: str

    def frame(self, scope: Scope) -> tuple[bytes, int | None] | None:
        """Return the bytes in a scope and their port, None where there are none.

        Raises:
            PayloadError: they are not written in the encoding.
        """
        text, port = self.data(scope), self.port(scope)
        if text is MISSING or text is None:
            return None
        try:
            data = _DECODE[self.encoding](text)
        except (ValueError, TypeError) as error:
            raise PayloadError(f"{text!r:.40} is not {self.encoding}") from error
        return data, port if isinstance(port, int) else None


_DECODE: Final[Dict[str, Callable[[str], bytes]]] = {
    "hex": bytes.fromhex,
    "base64": partial(base64.b64decode, validate=True),
}


def members_and_device(payload: Any, device: Dict[str, Any] | None) -> Scope:
    """Return the scope of a payload's members, and `device` where it is known."""
    scope: Scope = dict(payload) if isinstance(payload, dict) else {"payload": payload}
    if device is not None:
        scope["device"] = device
    return scope


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Mapping:
    """A loaded mapping.

    Attributes:
        name: unique among the mappings of a deployment.
        source: tells whether a source is the mapping's.
        when: further condition on the payload.
        decoding: how the bytes of a payload are decoded.
        lets: values computed before the entities, in order.
        examples: payloads with the entities they give, as the file carries them.
        specificity: of two mappings that accept a payload the higher one is meant.
        path: the file it was loaded from.
        scope: makes the scope of a payload and what is known of its device.
    """

    name: str
    source: Callable[[Source], bool]
    entities: tuple[EntityRule, ...]
    lets: tuple[LetRule, ...] = ()
    when: Getter | None = None
    decoding: Decoding | None = None
    examples: tuple[Dict[str, Any], ...] = ()
    specificity: int = 0
    title: str = ""
    path: str = ""
    scope: Callable[[Any, Dict[str, Any] | None], Scope] = members_and_device

    @property
    def codec(self) -> Codec | None:
        """The byte decoder the mapping carries."""
        return self.decoding.codec if self.decoding is not None else None

    def accepts(self, source: Source, payload: Any) -> bool:
        """Tell whether this mapping is for the payload.

        Raises:
            MappingError: the `when:` condition fails on it.
        """
        if not self.source(source):
            return False
        if self.when is None:
            return True
        try:
            return truthy(self.when(payload if isinstance(payload, dict) else {}))
        except ExpressionError as error:
            raise MappingError(self.name, "when", str(error)) from error


@dataclass(frozen=True, slots=True)
class Mappings:
    """The mappings of a deployment, the more specific first."""

    items: tuple[Mapping, ...] = ()

    def find(self, source: Source, payload: Any) -> Mapping | None:
        """Return the most specific mapping that accepts the payload, or None.

        Raises:
            MappingError: see `Mapping.accepts`.
        """
        return next((m for m in self.items if m.accepts(source, payload)), None)

    def get(self, name: str) -> Mapping | None:
        """Return the mapping of this name, or None."""
        return next((m for m in self.items if m.name == name), None)

    def codec(self, name: str) -> Codec | None:
        """Return the byte decoder that the mapping of this name carries, or None."""
        mapping = self.get(name)
        return mapping.codec if mapping is not None else None
