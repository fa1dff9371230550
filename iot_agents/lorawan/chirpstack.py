"""ChirpStack v4: events in JSON, as its MQTT and HTTP integrations send them.

    MQTT    application/<application id>/device/<dev eui>/event/<event>
    HTTP    POST …?event=<event>

The JSON is protobuf's: members with their default value (0, false, an empty text) are left out, so
an uplink without `fCnt` has the frame counter 0. Times are RFC 3339 with up to nine digits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from iot_agents.common.commands.model import Fate, NetworkReport
from iot_agents.lorawan import reading
from iot_agents.lorawan.uplink import (
    CHIRPSTACK_V4,
    BadUplink,
    Modulation,
    NoMeasure,
    Reception,
    Report,
    Told,
    Uplink,
)

SERVER: Final = "ChirpStack v4"
_TROUBLE: Final = "ERROR"
_EXPIRED: Final = "EXPIRED"


class _DeviceInfo(msgspec.Struct, frozen=True, rename="camel"):
    dev_eui: str
    device_name: str = ""
    device_profile_name: str = ""
    application_id: str = ""
    tags: dict[str, Any] = {}


class _Reception(msgspec.Struct, frozen=True, rename="camel"):
    gateway_id: str = ""
    rssi: int | float | None = None
    snr: int | float | None = None
    location: dict[str, Any] | None = None


class _Lora(msgspec.Struct, frozen=True, rename="camel"):
    bandwidth: int = 0
    spreading_factor: int = 0


class _Modulation(msgspec.Struct, frozen=True):
    lora: _Lora = _Lora()


class _Transmission(msgspec.Struct, frozen=True):
    frequency: int = 0
    modulation: _Modulation = _Modulation()


class _Event(msgspec.Struct, frozen=True, rename="camel"):
    device_info: _DeviceInfo
    time: str | None = None
    deduplication_id: str = ""


class _Up(_Event, frozen=True, rename="camel"):
    dev_addr: str = ""
    f_cnt: int = 0
    f_port: int = 0
    data: str = ""
    object: dict[str, Any] | None = None
    rx_info: list[_Reception] = []
    tx_info: _Transmission = _Transmission()
    join_server_context: dict[str, Any] | None = None


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    margin: int | float = 0
    external_power_source: bool = False
    battery_level_unavailable: bool = False
    battery_level: int | float | None = None


class _Position(msgspec.Struct, frozen=True):
    latitude: float = 0.0
    longitude: float = 0.0
    altitude: float | None = None
    accuracy: float | None = None


class _Location(msgspec.Struct, frozen=True):
    location: _Position


class _Ack(_Event, frozen=True, rename="camel"):
    queue_item_id: str = ""
    acknowledged: bool = False


class _Log(_Event, frozen=True, rename="camel"):
    level: str = ""
    code: str = ""
    description: str = ""
    context: dict[str, Any] = {}


def decode(event: str, speaker: str, document: Mapping[str, Any], now: datetime) -> Told:
    """Read an event.

    Args:
        event: its name; empty is taken for an uplink.
        speaker: the device that the topic names; empty when there is none.
        now: the time of an event without one.

    Raises:
        NoMeasure: the event or the frame carries none.
        BadUplink: the message cannot be read.
    """
    reader = _EVENTS.get(event)
    if reader is None:
        raise BadUplink(f"unknown event {event!r:.40}")
    return reader(speaker, document, now)


def _up(speaker: str, document: Mapping[str, Any], now: datetime) -> Uplink:
    up = reading.read(document, _Up, SERVER)
    dev_eui = _device(up, speaker)
    if not up.f_port:
        raise NoMeasure("MAC commands only")
    if up.join_server_context:
        raise BadUplink("encrypted payload: the network server has no application session key")
    lora = up.tx_info.modulation.lora
    return Uplink(
        format=CHIRPSTACK_V4,
        dev_eui=dev_eui,
        name=up.device_info.device_name,
        application=up.device_info.application_id,
        profile=up.device_info.device_profile_name,
        tags=up.device_info.tags,
        session=up.dev_addr.lower(),
        f_cnt=reading.counter(up.f_cnt, "fCnt"),
        f_port=reading.counter(up.f_port, "fPort"),
        time=_time(up, now),
        document=document,
        data=reading.from_base64(up.data),
        decoded=up.object,
        receptions=[
            Reception(one.gateway_id, one.rssi, one.snr, one.location) for one in up.rx_info
        ],
        modulation=Modulation(up.tx_info.frequency, lora.spreading_factor, lora.bandwidth),
    )


def _status(speaker: str, document: Mapping[str, Any], now: datetime) -> Report:
    return _report("status", speaker, document, status_members(document, SERVER), now)


def _location(speaker: str, document: Mapping[str, Any], now: datetime) -> Report:
    return _report("location", speaker, document, location_members(document, SERVER), now)


def status_members(document: Mapping[str, Any], server: str) -> dict[str, Any]:
    """Return what a status tells: `margin` in dB, `battery_level` in percent, its power.

    Raises:
        BadUplink: it cannot be read.
    """
    status = reading.read(document, _Status, server)
    members = {"margin": status.margin, "external_power_source": status.external_power_source}
    if not status.battery_level_unavailable and status.battery_level is not None:
        members["battery_level"] = status.battery_level
    return members


def location_members(document: Mapping[str, Any], server: str) -> dict[str, Any]:
    """Return what `location` tells: where a device is, `altitude` and `accuracy` in metres.

    Raises:
        BadUplink: it cannot be read.
    """
    position = reading.read(document, _Location, server).location
    point = [position.longitude, position.latitude]
    members: dict[str, Any] = {"location": {"type": "Point", "coordinates": point}}
    for name in ("altitude", "accuracy"):
        if (value := getattr(position, name)) is not None:
            members[name] = value
    return members


def _report(
    event: str,
    speaker: str,
    document: Mapping[str, Any],
    members: Mapping[str, Any],
    now: datetime,
) -> Report:
    told = reading.read(document, _Event, SERVER)
    return Report(
        format=CHIRPSTACK_V4,
        dev_eui=_device(told, speaker),
        event=event,
        time=_time(told, now),
        members=members,
        document=document,
        key=told.deduplication_id,
    )


def _ack(speaker: str, document: Mapping[str, Any], _: datetime) -> NetworkReport:
    ack = reading.read(document, _Ack, SERVER)
    fate = Fate.ACKNOWLEDGED if ack.acknowledged else Fate.FAILED
    reason = "" if ack.acknowledged else "the device did not acknowledge it"
    return _downlink(ack, speaker, ack.queue_item_id, fate, reason)


def _txack(speaker: str, document: Mapping[str, Any], _: datetime) -> NetworkReport:
    ack = reading.read(document, _Ack, SERVER)
    return _downlink(ack, speaker, ack.queue_item_id, Fate.SENT, "")


def _log(speaker: str, document: Mapping[str, Any], _: datetime) -> NetworkReport:
    """Read a line of the network server's log: trouble of a device, or an expired downlink."""
    log = reading.read(document, _Log, SERVER)
    dev_eui = _device(log, speaker)
    queue_item = log.context.get("queue_item_id")
    if log.code == _EXPIRED and isinstance(queue_item, str):
        return _downlink(log, dev_eui, queue_item, Fate.FAILED, "expired in the network server")
    if log.level != _TROUBLE:
        raise NoMeasure(f"log {log.code:.40}")
    raise BadUplink(f"the network server reports {log.code:.40}: {log.description:.400}")


def _downlink(told: _Event, speaker: str, handle: str, fate: Fate, reason: str) -> NetworkReport:
    return NetworkReport(
        address=_device(told, speaker),
        handles=(handle,) if handle else (),
        fate=fate,
        reason=reason,
    )


def _nothing(*_: Any) -> Told:
    raise NoMeasure("an event without a measure")


def _device(told: _Event, speaker: str) -> str:
    dev_eui = reading.eui(told.device_info.dev_eui)
    reading.speaks_for(speaker, dev_eui)
    return dev_eui


def _time(told: _Event, now: datetime) -> datetime:
    return reading.moment(told.time) if told.time else now


_EVENTS: Final[Mapping[str, Callable[[str, Mapping[str, Any], datetime], Told]]] = {
    "": _up,
    "up": _up,
    "status": _status,
    "location": _location,
    "ack": _ack,
    "txack": _txack,
    "log": _log,
    "join": _nothing,
    "integration": _nothing,
}
