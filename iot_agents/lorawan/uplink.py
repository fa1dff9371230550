"""What network servers tell, as all of them mean it, whatever they call its parts.

Mapping files read one shape whichever network a frame came through: the names of ChirpStack v4
(`deviceInfo.devEui`, `fPort`, `data` …) over the members of the network's own message, and `radio`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeAlias

from broker.core.timestamps import format_timestamp
from iot_agents.common.commands.model import Fate, NetworkReport
from iot_agents.common.mapping.model import Source
from iot_agents.common.measure import Measure

CHIRPSTACK_V4: Final = "chirpstack-v4"


class BadUplink(Exception):
    """A message of a network server that cannot be read; the text says what is wrong with it."""


class NoMeasure(Exception):
    """A message of a network server that is right and carries no measure; the text says why."""


@dataclass(frozen=True, slots=True)
class Reception:
    """How one gateway heard a frame: `rssi` in dBm, `snr` in dB."""

    gateway: str = ""
    rssi: float | None = None
    snr: float | None = None
    location: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Modulation:
    """How a frame was sent: `frequency` and `bandwidth` in Hz; 0 where the network does not say."""

    frequency: int = 0
    spreading_factor: int = 0
    bandwidth: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Uplink:
    """A frame of a device as the network server received it.

    Attributes:
        format: the shape of the document, such as `chirpstack-v4`.
        dev_eui: in lower-case hex.
        name: what the network server calls the device.
        application: what the network server calls its application.
        profile: what the network server calls this kind of device.
        session: differs after each join, when the frame counter starts again; empty where the
            network does not say.
        data: the application's bytes, decrypted.
        decoded: what the network server's codec made of them.
        document: the whole message.
        acknowledges: whether the frame confirms a downlink, where the network server has no event
            of its own for that.
    """

    format: str
    dev_eui: str
    session: str
    f_cnt: int
    f_port: int
    time: datetime
    document: Mapping[str, Any]
    name: str = ""
    application: str = ""
    profile: str = ""
    tags: Mapping[str, Any] = field(default_factory=dict)
    data: bytes = b""
    decoded: Mapping[str, Any] | None = None
    receptions: Sequence[Reception] = ()
    modulation: Modulation = Modulation()
    acknowledges: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the network server tells of a device without a frame: its battery, where it is.

    Attributes:
        event: `status` or `location`.
        members: by the names under which provisioned attributes can ask for them.
        key: the same for every delivery of this report; empty where the network does not say.
    """

    format: str
    dev_eui: str
    event: str
    time: datetime
    members: Mapping[str, Any]
    document: Mapping[str, Any]
    key: str = ""


Told: TypeAlias = Uplink | Report | NetworkReport
"""What a message of a network server can tell."""


def acknowledgement_of(dev_eui: str) -> NetworkReport:
    """Return the report that a frame is which confirms the downlink before it."""
    return NetworkReport(address=dev_eui, handles=None, fate=Fate.ACKNOWLEDGED)


def radio_of(uplink: Uplink) -> dict[str, Any]:
    """Return the radio quality of a frame, by the names documented for expressions.

    `rssi` and `snr` are the best of all gateways, `gateway` the one with that `rssi`.
    """
    best = max(uplink.receptions, key=_strength, default=Reception())
    modulation = uplink.modulation
    told = {
        "rssi": best.rssi,
        "snr": max((r.snr for r in uplink.receptions if r.snr is not None), default=None),
        "gateways": len(uplink.receptions),
        "gateway": best.gateway or None,
        "gateway_location": best.location,
        "spreading_factor": modulation.spreading_factor or None,
        "bandwidth": modulation.bandwidth or None,
        "frequency": modulation.frequency or None,
        "f_cnt": uplink.f_cnt,
        "f_port": uplink.f_port,
    }
    return {name: value for name, value in told.items() if value is not None}


def measure_of(uplink: Uplink, topic: str, raw: bytes) -> Measure:
    """Return the measure an uplink carries."""
    radio = radio_of(uplink)
    return Measure(
        source=Source("lorawan", uplink.format, topic, uplink.profile),
        device_id=uplink.dev_eui,
        payload={**uplink.document, **_common_names(uplink), "radio": radio},
        raw=raw,
        moment=uplink.time,
        members=uplink.decoded or {},
        network=radio,
        data=uplink.data,
        port=uplink.f_port,
        key=f"lorawan/{uplink.dev_eui}/{uplink.session}/{uplink.f_cnt}",
    )


def measure_of_report(report: Report, topic: str, raw: bytes) -> Measure:
    """Return the measure a report is; only provisioned attributes can ask for its members."""
    return Measure(
        source=Source("lorawan", report.format, topic),
        device_id=report.dev_eui,
        payload=report.document,
        raw=raw,
        moment=report.time,
        members=report.members,
        event=report.event,
        key=f"lorawan/{report.dev_eui}/{report.event}/{report.key}" if report.key else "",
    )


def _strength(reception: Reception) -> float:
    return reception.rssi if reception.rssi is not None else float("-inf")


def _common_names(uplink: Uplink) -> dict[str, Any]:
    """Return a frame in the names of ChirpStack v4; nothing for one that has them already."""
    if uplink.format == CHIRPSTACK_V4:
        return {}
    names: dict[str, Any] = {
        "time": format_timestamp(uplink.time),
        "deviceInfo": {
            "devEui": uplink.dev_eui,
            "deviceName": uplink.name or uplink.dev_eui,
            "deviceProfileName": uplink.profile,
            "applicationId": uplink.application,
            "tags": dict(uplink.tags),
        },
        "fCnt": uplink.f_cnt,
        "fPort": uplink.f_port,
        "data": base64.b64encode(uplink.data).decode(),
        "rxInfo": [_reception(reception) for reception in uplink.receptions],
    }
    if uplink.decoded is not None:
        names["object"] = uplink.decoded
    return names


def _reception(reception: Reception) -> dict[str, Any]:
    told = {
        "gatewayId": reception.gateway,
        "rssi": reception.rssi,
        "snr": reception.snr,
        "location": reception.location,
    }
    return {name: value for name, value in told.items() if value is not None}
