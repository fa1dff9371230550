"""How a device's bytes become values: what is provisioned of its codec, and the codec's turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from iot_agents.common.codecs.catalogue import Codecs
from iot_agents.common.codecs.holds import Holds
from iot_agents.common.codecs.interface import Codec, PayloadError, TooSlow
from iot_agents.common.codecs.script import ScriptCodec
from iot_agents.common.mapping.model import Mappings
from iot_agents.common.measure import Measure
from iot_agents.common.registry_rows import Known

_SECTION: Final = "lorawan"
_BY_THE_NETWORK: Final = "application_server"
_SLOW_FRAMES: Final = 3
_SLOW_CALLS: Final = 10

RADIO: Final[Sequence[Mapping[str, Any]]] = (
    {"object_id": "rssi", "name": "rssi", "type": "Number", "metadata": {"unitCode": "DBM"}},
    {"object_id": "snr", "name": "snr", "type": "Number", "metadata": {"unitCode": "2N"}},
    {"object_id": "gateways", "name": "gateways", "type": "Number"},
    {"object_id": "spreading_factor", "name": "spreadingFactor", "type": "Number"},
)
"""What `internal_attributes.lorawan.radio: true` adds to a device's attributes."""


class NoSuchCodec(Exception):
    """A device asks for a codec that is not there."""


@dataclass(frozen=True, slots=True)
class DeviceCodec:
    """What `internal_attributes.lorawan` says of a device's bytes.

    Attributes:
        codec: None where the network's decoding counts.
        variables: for a script.
        aliases: by names of attributes, the object ids to put a decoded member under that has the
            attribute's name, as the FIWARE LoRaWAN agent does.
        radio: whether the quality of the reception becomes attributes.
    """

    codec: Codec | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    radio: bool = False

    @classmethod
    def of(cls, known: Known, mappings: Mappings, codecs: Codecs) -> DeviceCodec:
        """Read it from what is in force for a device.

        Raises:
            NoSuchCodec: there is no codec of the name it asks for.
            BadCodec: the codec cannot be read.
        """
        section = known.internal(_SECTION)
        variables = section.get("variables")
        return cls(
            codec=_codec(section.get("codec") or section.get("data_model"), mappings, codecs),
            variables=variables if isinstance(variables, Mapping) else {},
            aliases=_aliases(known.in_force["attributes"]) if section else {},
            radio=section.get("radio") is True,
        )

    def renamed(self, members: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return decoded members, those that have an attribute's name under its object id too."""
        found = {
            object_id: members[name]
            for name, object_id in self.aliases.items()
            if name in members and object_id not in members
        }
        return {**members, **found} if found else members


class Decoder:
    """Calls codecs, scripts in their sandbox and one after the other.

    A device whose frames make a script run too long three times in a row is left alone for a
    minute, and so is a script that does nothing else; their measures are rejected meanwhile.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """Count failures by a clock, in seconds."""
        self._devices = Holds(clock, _SLOW_FRAMES)
        self._scripts = Holds(clock, _SLOW_CALLS)

    async def decode(
        self,
        codec: Codec,
        frame: tuple[bytes, int | None],
        measure: Measure,
        variables: Mapping[str, Any],
    ) -> Mapping[str, Any]:
        """Return the values in a frame of a measure's device.

        Raises:
            PayloadError: it cannot be read.
        """
        if not isinstance(codec, ScriptCodec):
            return codec.decode(*frame)
        device = f"{codec.name} of {measure.device_id}"
        if self._devices.held(device) or self._scripts.held(codec.name):
            raise PayloadError(f"{codec.name}: not called for a minute, it took too long too often")
        try:
            values = await codec.decode_received(*frame, measure.moment, variables)
        except TooSlow:
            self._devices.failed(device)
            self._scripts.failed(codec.name)
            raise
        self._devices.worked(device)
        self._scripts.worked(codec.name)
        return values


def _codec(name: Any, mappings: Mappings, codecs: Codecs) -> Codec | None:
    if not isinstance(name, str) or name == _BY_THE_NETWORK:
        return None
    codec = codecs.get(name) or mappings.codec(name)
    if codec is None:
        raise NoSuchCodec(f"there is no codec {name!r:.80}, which the device asks for")
    return codec


def _aliases(attributes: Sequence[Mapping[str, Any]]) -> Mapping[str, str]:
    ids = {each.get("object_id") or each["name"] for each in attributes}
    return {
        each["name"]: each["object_id"]
        for each in attributes
        if each.get("object_id") and each.get("name") and each["name"] not in ids
    }
