"""Cayenne LPP: `channel (1 byte), type (1 byte), value`, repeated; numbers are big-endian.

Values are named by type and channel as The Things Stack and the FIWARE LoRaWAN agent name them:
`temperature_1`, `digital_in_3`, `gps_1`. A type that is not in the table ends the frame with an
error, because nothing says how long its value is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from iot_agents.common.codecs.interface import PayloadError


@dataclass(frozen=True, slots=True)
class _Type:
    """A data type.

    Attributes:
        size: bytes of each number.
        per_unit: how many steps of the number are one unit.
        parts: names of the numbers where there are several.
    """

    name: str
    size: int
    per_unit: int = 1
    signed: bool = False
    parts: tuple[str, ...] = ()
    per_unit_of: Mapping[str, int] | None = None

    @property
    def length(self) -> int:
        return self.size * max(1, len(self.parts))

    def value(self, data: bytes) -> Any:
        if not self.parts:
            return self._number(data, self.per_unit)
        scales = self.per_unit_of or {}
        return {
            part: self._number(
                data[index * self.size : (index + 1) * self.size], scales.get(part, self.per_unit)
            )
            for index, part in enumerate(self.parts)
        }

    def _number(self, data: bytes, per_unit: int) -> int | float:
        number = int.from_bytes(data, "big", signed=self.signed)
        # Dividing, not multiplying by 0.01, gives the decimal that is meant.
        return number if per_unit == 1 else number / per_unit


_AXES: Final = ("x", "y", "z")
_TYPES: Final[Mapping[int, _Type]] = {
    0: _Type("digital_in", 1),
    1: _Type("digital_out", 1),
    2: _Type("analog_in", 2, 100, signed=True),
    3: _Type("analog_out", 2, 100, signed=True),
    100: _Type("generic", 4),
    101: _Type("luminosity", 2),
    102: _Type("presence", 1),
    103: _Type("temperature", 2, 10, signed=True),
    104: _Type("relative_humidity", 1, 2),
    113: _Type("accelerometer", 2, 1000, signed=True, parts=_AXES),
    115: _Type("barometric_pressure", 2, 10),
    116: _Type("voltage", 2, 100),
    117: _Type("current", 2, 1000),
    118: _Type("frequency", 4),
    120: _Type("percentage", 1),
    121: _Type("altitude", 2, signed=True),
    125: _Type("concentration", 2),
    128: _Type("power", 2),
    130: _Type("distance", 4, 1000),
    131: _Type("energy", 4, 1000),
    132: _Type("direction", 2),
    133: _Type("unix_time", 4),
    134: _Type("gyrometer", 2, 100, signed=True, parts=_AXES),
    135: _Type("colour", 1, parts=("r", "g", "b")),
    136: _Type(
        "gps",
        3,
        10_000,
        signed=True,
        parts=("latitude", "longitude", "altitude"),
        per_unit_of={"altitude": 100},
    ),
    142: _Type("switch", 1),
}


class CayenneLpp:
    """The decoder of Cayenne LPP."""

    def decode(self, data: bytes, port: int | None = None) -> Mapping[str, Any]:  # noqa: ARG002 - any port
        """Return the values of a frame by type and channel; see `Codec`."""
        values: dict[str, Any] = {}
        position = 0
        while position < len(data):
            if position + 2 > len(data):
                raise PayloadError(f"byte {position}: a channel without a type")
            channel, number = data[position], data[position + 1]
            kind = _TYPES.get(number)
            if kind is None:
                raise PayloadError(f"byte {position + 1}: unknown Cayenne LPP type {number}")
            begin, position = position + 2, position + 2 + kind.length
            if position > len(data):
                raise PayloadError(
                    f"byte {begin}: {kind.name} needs {kind.length} bytes, "
                    f"{len(data) - begin} are left"
                )
            values[f"{kind.name}_{channel}"] = kind.value(data[begin:position])
        return values
