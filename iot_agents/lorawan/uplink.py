"""An uplink as all network servers mean it, whatever they call its parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from iot_agents.common.mapping.model import Source
from iot_agents.common.measure import Measure


class BadUplink(Exception):
    """A message of a network server that cannot be read; the text says what is wrong with it."""


class NoMeasure(Exception):
    """A message of a network server that is right and carries no measure; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uplink:
    """A frame of a device as the network server received it.

    Attributes:
        format: the shape of the document, such as `chirpstack-v4`.
        dev_eui: in lower-case hex.
        profile: what the network server calls this kind of device.
        session: differs after each join, when the frame counter starts again.
        data: the application's bytes, decrypted.
        decoded: what the network server's codec made of them.
        rssi: of the gateway that heard the frame best, in dBm; `snr` likewise, in dB.
        document: the whole message.
    """

    format: str
    dev_eui: str
    session: str
    f_cnt: int
    f_port: int
    time: datetime
    document: Mapping[str, Any]
    profile: str = ""
    data: bytes | None = None
    decoded: Mapping[str, Any] | None = None
    rssi: float | None = None
    snr: float | None = None
    gateways: int = 0


def measure_of(uplink: Uplink, topic: str, raw: bytes) -> Measure:
    """Return the measure an uplink carries."""
    reception = {
        "rssi": uplink.rssi,
        "snr": uplink.snr,
        "gateways": uplink.gateways,
        "f_cnt": uplink.f_cnt,
        "f_port": uplink.f_port,
    }
    return Measure(
        source=Source("lorawan", uplink.format, topic, uplink.profile),
        device_id=uplink.dev_eui,
        payload=uplink.document,
        raw=raw,
        moment=uplink.time,
        members=uplink.decoded or {},
        network={name: value for name, value in reception.items() if value is not None},
        data=uplink.data,
        port=uplink.f_port,
        key=f"lorawan/{uplink.dev_eui}/{uplink.session}/{uplink.f_cnt}",
    )
