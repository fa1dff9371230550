"""What the demonstration's devices send: the bytes of their LoRaWAN frames.

Bosch TPS110: port 1 carries the state of the bay in bit 0, port 2 the state and the temperature as
a signed byte, port 3 (after a reset) three debug codes, the firmware, the cause and the state.
Decentlab DL-TRS21: version, serial number, flags, then per flag the water potential with the soil
temperature, and the voltage of the battery; big-endian words throughout.
Axioma Qalcosonic W1: port 100, layout, the meter's clock in UTC, status and index in litres, all
little-endian; the log of past hours that a meter adds is left out.
"""

from __future__ import annotations

import struct
from datetime import datetime

_STARTUP_PORT = 3
_TPS110_FIRMWARE = (0, 29, 2)
_TPS110_POWER_ON = 2
_W1_PORT = 100
_W1_LAYOUT = 1
_TRS21_VERSION = 2
_TRS21_ALL_SENSORS = 0b11


def parking_state(*, occupied: bool) -> tuple[int, bytes]:
    """Return port and payload of a TPS110 whose bay was taken or left."""
    return 1, bytes([occupied])


def parking_heartbeat(*, occupied: bool, celsius: int) -> tuple[int, bytes]:
    """Return port and payload of the TPS110's daily sign of life."""
    return 2, struct.pack(">Bb", occupied, celsius)


def parking_startup(*, occupied: bool) -> tuple[int, bytes]:
    """Return port and payload of a TPS110 that was just switched on."""
    return _STARTUP_PORT, struct.pack("<3I", 0, 0, 0) + bytes(
        [*_TPS110_FIRMWARE, _TPS110_POWER_ON, occupied]
    )


def soil(serial: int, *, tension: float, celsius: float, volts: float) -> tuple[int, bytes]:
    """Return port and payload of a DL-TRS21.

    Args:
        serial: the maker's number of the probe.
        tension: how hard the soil holds its water, in kPa; the frame carries it as a potential
            below zero.
        celsius: temperature of the soil.
        volts: of the battery.
    """
    return 1, struct.pack(
        ">BHHHHH",
        _TRS21_VERSION,
        serial,
        _TRS21_ALL_SENSORS,
        round(tension * 10),
        round(celsius * 10) + 0x8000,
        round(volts * 1000),
    )


def water_index(litres: int, at: datetime) -> tuple[int, bytes]:
    """Return port and payload of a Qalcosonic W1 with nothing to report but its index."""
    return _W1_PORT, struct.pack("<BIBI", _W1_LAYOUT, int(at.timestamp()), 0, litres)


def litres_of(payload: bytes) -> int:
    """Return the index that a Qalcosonic W1's frame tells, in litres."""
    litres: int = struct.unpack_from("<I", payload, 6)[0]
    return litres


def says_occupied(f_port: int, payload: bytes) -> bool:
    """Return the state of the bay that a TPS110's frame tells."""
    return bool(payload[-1 if f_port == _STARTUP_PORT else 0] & 1)


def tension_of(payload: bytes) -> float:
    """Return the tension that a DL-TRS21's frame tells, in kPa."""
    raw: int = struct.unpack_from(">H", payload, 5)[0]
    return raw / 10
