"""What a mapping is once it is loaded: closures, so that applying one is calls and nothing else.

A scope is the dict an expression reads its names from: the payload's members, `device`, what a
`decode:` section made of the bytes, and the names of `let:`. A getter reads a scope and returns
MISSING when there is nothing to read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Mapping as Dict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from smart_data_models.jexl.values import Getter, Scope

if TYPE_CHECKING:
    from iot_agents.common.mapping.codec import Codec


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
        field: where in the mapping file it stands.
        value: what the attribute says; MISSING leaves it out.
        instance: the normalized attribute around a value and its observedAt.
    """

    name: str
    field: str
    value: Getter
    instance: Callable[[Any, str | None], dict[str, Any]]
    observed_at: Getter | None = None


@dataclass(frozen=True, slots=True)
class EntityRule:
    """One entity, or one per item of an array, made of a payload.

    Attributes:
        when: makes no entity unless it is truthy.
        each: the array to make one entity per item of; `item_name` names the item in the scope.
        extra: further attributes whose names only the payload knows.
        keep: the names to keep of what was made; None keeps all.
    """

    field: str
    type: str
    identify: Getter
    attributes: tuple[AttributeRule, ...]
    observed_at: Getter | None = None
    when: Getter | None = None
    each: Getter | None = None
    item_name: str = "item"
    extra: Callable[[Scope, str | None], Dict[str, dict[str, Any]]] | None = None
    keep: Getter | None = None


@dataclass(frozen=True, slots=True)
class Mapping:
    """A loaded mapping.

    Attributes:
        name: unique among the mappings of a deployment.
        source: tells whether a source is the mapping's.
        when: further condition on the payload.
        codec: decodes the bytes of a payload into names of the scope.
        lets: values computed before the entities, in order.
        examples: payloads with the entities they give, as the file carries them.
        specificity: of two mappings that accept a payload the higher one is meant.
    """

    name: str
    source: Callable[[Source], bool]
    entities: tuple[EntityRule, ...]
    lets: tuple[LetRule, ...] = ()
    when: Getter | None = None
    codec: Codec | None = None
    examples: tuple[Dict[str, Any], ...] = ()
    specificity: int = 0
    title: str = ""
    path: str = ""

    def accepts(self, source: Source, payload: Any) -> bool:
        """Tell whether this mapping is for the payload.

        Raises:
            MappingError: the `when:` condition fails on it.
        """
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Mappings:
    """The mappings of a deployment, the more specific first."""

    items: tuple[Mapping, ...] = field(default=())

    def find(self, source: Source, payload: Any) -> Mapping | None:
        """Return the most specific mapping that accepts the payload, or None."""
        return next((m for m in self.items if m.accepts(source, payload)), None)

    def get(self, name: str) -> Mapping | None:
        """Return the mapping of this name, or None."""
        return next((m for m in self.items if m.name == name), None)

    def codec(self, name: str) -> Codec | None:
        """Return the byte decoder that a mapping of this name carries, or None."""
        mapping = self.get(name)
        return mapping.codec if mapping else None
