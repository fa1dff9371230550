"""ChirpStack v3 (application server): events in JSON, in both forms it has.

    MQTT    application/<number>/device/<dev eui>/event/<event>     since 3.11
            application/<number>/device/<dev eui>/rx                 before
    HTTP    POST …?event=<event>

`json_v3` writes EUIs in hex and leaves default values out; `json` writes EUIs in base64, the
decoded object as a text in `objectJSON`, and `null` for a time that is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from iot_agents.common.commands.model import Fate, NetworkReport
from iot_agents.lorawan import reading
from iot_agents.lorawan.chirpstack import location_members, status_members
from iot_agents.lorawan.uplink import (
    BadUplink,
    Modulation,
    NoMeasure,
    Reception,
    Report,
    Told,
    Uplink,
)

FORMAT: Final = "chirpstack-v3"
SERVER: Final = "ChirpStack v3"
_BASE64_EUI: Final = 12


class _Reception(msgspec.Struct, frozen=True):
    gateway_id: str = msgspec.field(default="", name="gatewayID")
    time: str | None = None
    rssi: int | float | None = None
    snr: int | float | None = msgspec.field(default=None, name="loRaSNR")
    location: dict[str, Any] | None = None


class _Transmission(msgspec.Struct, frozen=True):
    frequency: int = 0
    lora: dict[str, Any] | None = msgspec.field(default=None, name="loRaModulationInfo")


class _Event(msgspec.Struct, frozen=True, rename="camel"):
    dev_eui: str = msgspec.field(name="devEUI")
    application_id: str = msgspec.field(default="", name="applicationID")
    device_name: str = ""
    published_at: str | None = None


class _Up(_Event, frozen=True, rename="camel"):
    device_profile_name: str = ""
    dev_addr: str = ""
    f_cnt: int = 0
    f_port: int = 0
    data: str | None = None
    object: dict[str, Any] | None = None
    object_json: str = msgspec.field(default="", name="objectJSON")
    rx_info: list[_Reception] | None = None
    tx_info: _Transmission = _Transmission()
    tags: dict[str, Any] | None = None


class _Ack(_Event, frozen=True):
    acknowledged: bool = False


class _Error(_Event, frozen=True):
    kind: str = msgspec.field(default="", name="type")
    error: str = ""


def decode(event: str, speaker: str, document: Mapping[str, Any], now: datetime) -> Told:
    """Read an event; see `chirpstack.decode`.

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
    receptions = up.rx_info or []
    lora = up.tx_info.lora or {}
    return Uplink(
        format=FORMAT,
        dev_eui=dev_eui,
        name=up.device_name,
        application=up.application_id,
        profile=up.device_profile_name,
        tags=up.tags or {},
        session=up.dev_addr,
        f_cnt=reading.counter(up.f_cnt, "fCnt"),
        f_port=reading.counter(up.f_port, "fPort"),
        time=_time(up, receptions, now),
        document=document,
        data=reading.from_base64(up.data or ""),
        decoded=up.object if up.object is not None else _object(up.object_json),
        receptions=[
            Reception(_hex_of(one.gateway_id), one.rssi, one.snr, one.location)
            for one in receptions
        ],
        modulation=Modulation(
            up.tx_info.frequency,
            _number(lora.get("spreadingFactor")),
            # In kHz here, in Hz everywhere else.
            _number(lora.get("bandwidth")) * 1000,
        ),
    )


def _status(speaker: str, document: Mapping[str, Any], now: datetime) -> Report:
    return _report("status", speaker, document, status_members(document, SERVER), now)


def _location(speaker: str, document: Mapping[str, Any], now: datetime) -> Report:
    return _report("location", speaker, document, location_members(document, SERVER), now)


def _report(
    event: str,
    speaker: str,
    document: Mapping[str, Any],
    members: Mapping[str, Any],
    now: datetime,
) -> Report:
    told = reading.read(document, _Event, SERVER)
    return Report(
        format=FORMAT,
        dev_eui=_device(told, speaker),
        event=event,
        time=_time(told, (), now),
        members=members,
        document=document,
    )


def _ack(speaker: str, document: Mapping[str, Any], _: datetime) -> NetworkReport:
    ack = reading.read(document, _Ack, SERVER)
    fate = Fate.ACKNOWLEDGED if ack.acknowledged else Fate.FAILED
    return _downlink(ack, speaker, fate, "" if ack.acknowledged else "not acknowledged")


def _txack(speaker: str, document: Mapping[str, Any], _: datetime) -> NetworkReport:
    return _downlink(reading.read(document, _Ack, SERVER), speaker, Fate.SENT, "")


def _downlink(told: _Event, speaker: str, fate: Fate, reason: str) -> NetworkReport:
    # This version does not say which one.
    return NetworkReport(address=_device(told, speaker), handles=None, fate=fate, reason=reason)


def _error(speaker: str, document: Mapping[str, Any], _: datetime) -> Told:
    told = reading.read(document, _Error, SERVER)
    _device(told, speaker)
    raise BadUplink(f"the network server reports {told.kind:.40}: {told.error:.400}")


def _nothing(*_: Any) -> Told:
    raise NoMeasure("an event without a measure")


def _device(told: _Event, speaker: str) -> str:
    dev_eui = reading.eui(_hex_of(told.dev_eui))
    reading.speaks_for(speaker, dev_eui)
    return dev_eui


def _hex_of(identifier: str) -> str:
    """Return an EUI in hex; the form `json` writes it in base64."""
    if len(identifier) == _BASE64_EUI and identifier.endswith("="):
        return reading.from_base64(identifier, "devEUI").hex()
    return identifier


def _time(told: _Event, receptions: list[_Reception] | tuple[()], now: datetime) -> datetime:
    heard = next((one.time for one in receptions if one.time), None)
    text = heard or told.published_at
    return reading.moment(text) if text else now


def _object(text: str) -> Mapping[str, Any] | None:
    return reading.document_of(text.encode()) if text else None


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0


_EVENTS: Final[Mapping[str, Callable[[str, Mapping[str, Any], datetime], Told]]] = {
    "": _up,
    "up": _up,
    "rx": _up,
    "status": _status,
    "location": _location,
    "ack": _ack,
    "txack": _txack,
    "error": _error,
    "join": _nothing,
    "integration": _nothing,
}
