"""The Things Stack v3 (TTN, TTI): messages in JSON, the same by MQTT and by webhook.

    MQTT    v3/<application>@<tenant>/devices/<device id>/<event>
    HTTP    POST …

What a message is stands in its members (`uplink_message`, `downlink_ack` …), so that the topic and
the webhook's path need not be believed. Empty, zero and false members are left out. The topic names
the device by the id it has in the network, not by its EUI.

A confirmed downlink that the device did not confirm is put into the queue again by the network
server, as often as its `confirmed_retry` says: only with one attempt is a `downlink_nack` the end.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from iot_agents.common.commands.model import Fate, NetworkReport
from iot_agents.lorawan import reading
from iot_agents.lorawan.chirpstack import location_members
from iot_agents.lorawan.uplink import (
    BadUplink,
    Modulation,
    NoMeasure,
    Reception,
    Report,
    Told,
    Uplink,
)

FORMAT: Final = "things-stack-v3"
SERVER: Final = "The Things Stack"
NORMALIZED: Final = "up/normalized"
OURS: Final = "rigel:"
"""What correlation ids begin with that this agent gives."""
ONE_ATTEMPT: Final = 1
_NACK: Final = "downlink_nack"
_SINGLE: Final = struct.Struct(">f")


class _ApplicationIds(msgspec.Struct, frozen=True):
    application_id: str = ""


class _Ids(msgspec.Struct, frozen=True):
    device_id: str = ""
    application_ids: _ApplicationIds = _ApplicationIds()
    dev_eui: str = ""


class _GatewayIds(msgspec.Struct, frozen=True):
    gateway_id: str = ""


class _Reception(msgspec.Struct, frozen=True):
    gateway_ids: _GatewayIds = _GatewayIds()
    rssi: int | float | None = None
    snr: int | float | None = None
    location: dict[str, Any] | None = None


class _Lora(msgspec.Struct, frozen=True):
    bandwidth: int = 0
    spreading_factor: int = 0


class _DataRate(msgspec.Struct, frozen=True):
    lora: _Lora = _Lora()


class _Settings(msgspec.Struct, frozen=True):
    data_rate: _DataRate = _DataRate()
    frequency: int = 0


class _Version(msgspec.Struct, frozen=True):
    brand_id: str = ""
    model_id: str = ""


class _UplinkMessage(msgspec.Struct, frozen=True):
    session_key_id: str = ""
    f_port: int = 0
    f_cnt: int = 0
    frm_payload: str = ""
    decoded_payload: dict[str, Any] | None = None
    rx_metadata: list[_Reception] = []
    settings: _Settings = _Settings()
    received_at: str = ""
    version_ids: _Version = _Version()


class _Message(msgspec.Struct, frozen=True):
    end_device_ids: _Ids
    received_at: str = ""
    correlation_ids: list[str] = []


class _Up(_Message, frozen=True, kw_only=True):
    uplink_message: _UplinkMessage
    simulated: bool = False


def decode(event: str, speaker: str, document: Mapping[str, Any], now: datetime) -> Told:
    """Read a message.

    Args:
        event: what the topic says after the device; only `up/normalized`, which repeats `up`,
            matters.
        speaker: the device id in the topic; empty when there is none.
        now: the time of a message without one.

    Raises:
        NoMeasure: it carries none.
        BadUplink: it cannot be read.
    """
    if event == NORMALIZED:
        raise NoMeasure("the same frame as up")
    for member, reader in _MEMBERS.items():
        if member in document:
            return reader(speaker, document, now)
    raise BadUplink(f"not a message of {SERVER}: none of {', '.join(_MEMBERS)}")


def _up(speaker: str, document: Mapping[str, Any], now: datetime) -> Uplink:
    up = reading.read(document, _Up, SERVER)
    frame, ids = up.uplink_message, up.end_device_ids
    dev_eui = _device(up, speaker)
    if up.simulated:
        raise NoMeasure("simulated in the console")
    if not frame.f_port:
        raise NoMeasure("MAC commands only")
    lora = frame.settings.data_rate.lora
    return Uplink(
        format=FORMAT,
        dev_eui=dev_eui,
        name=ids.device_id,
        application=ids.application_ids.application_id,
        profile=" ".join(filter(None, (frame.version_ids.brand_id, frame.version_ids.model_id))),
        session=frame.session_key_id,
        f_cnt=reading.counter(frame.f_cnt, "f_cnt"),
        f_port=reading.counter(frame.f_port, "f_port"),
        time=_time(frame.received_at or up.received_at, now),
        document=document,
        data=reading.from_base64(frame.frm_payload, "frm_payload"),
        decoded=_rounded(frame.decoded_payload),
        receptions=[
            Reception(one.gateway_ids.gateway_id, one.rssi, one.snr, one.location)
            for one in frame.rx_metadata
        ],
        modulation=Modulation(frame.settings.frequency, lora.spreading_factor, lora.bandwidth),
    )


def _location(speaker: str, document: Mapping[str, Any], now: datetime) -> Report:
    told = reading.read(document, _Message, SERVER)
    solved = document["location_solved"]
    if not isinstance(solved, Mapping):
        raise BadUplink("location_solved: must be an object")
    return Report(
        format=FORMAT,
        dev_eui=_device(told, speaker),
        event="location",
        time=_time(told.received_at, now),
        members=location_members(solved, SERVER),
        document=document,
        key=told.received_at,
    )


def _downlink(
    fate: Fate, member: str
) -> Callable[[str, Mapping[str, Any], datetime], NetworkReport]:
    def reader(speaker: str, document: Mapping[str, Any], _: datetime) -> NetworkReport:
        told = reading.read(document, _Message, SERVER)
        detail = document[member]
        return NetworkReport(
            address=_device(told, speaker),
            handles=_ours((*told.correlation_ids, *_correlation_ids(detail))),
            fate=fate,
            reason=_reason(detail, member) if fate is Fate.FAILED else "",
        )

    return reader


def _nack(speaker: str, document: Mapping[str, Any], now: datetime) -> NetworkReport:
    detail = document[_NACK]
    retry = detail.get("confirmed_retry") if isinstance(detail, Mapping) else None
    most = retry.get("max_attempts") if isinstance(retry, Mapping) else None
    fate = Fate.FAILED if most == ONE_ATTEMPT else Fate.QUEUED
    return _downlink(fate, _NACK)(speaker, document, now)


def _ours(ids: Sequence[str]) -> Sequence[str]:
    """Return those of a dozen correlation ids that this agent gave."""
    return tuple(each for each in dict.fromkeys(ids) if each.startswith(OURS))


def _correlation_ids(detail: Any) -> Iterator[str]:
    """Yield the correlation ids in a downlink, in the one that failed, or in those given up."""
    if not isinstance(detail, Mapping):
        return
    several = detail.get("downlinks")
    for each in (detail, detail.get("downlink"), *(several if isinstance(several, list) else ())):
        ids = each.get("correlation_ids") if isinstance(each, Mapping) else None
        yield from (one for one in ids if isinstance(one, str)) if isinstance(ids, list) else ()


def _reason(detail: Any, member: str) -> str:
    error = detail.get("error") if isinstance(detail, Mapping) else None
    text = error.get("message_format") if isinstance(error, Mapping) else None
    return f"{member}: {text:.200}" if isinstance(text, str) else member


def _nothing(*_: Any) -> Told:
    raise NoMeasure("an event without a measure")


def _device(told: _Message, speaker: str) -> str:
    reading.speaks_for(speaker, told.end_device_ids.device_id)
    return reading.eui(told.end_device_ids.dev_eui)


def _time(text: str, now: datetime) -> datetime:
    return reading.moment(text, "received_at") if text else now


def _rounded(value: Any) -> Any:
    """Return decoded values without the digits that single precision makes up."""
    if isinstance(value, float):
        return _shortest_single(value)
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return value


def _shortest_single(number: float) -> float:
    """Return the shortest decimal of a number that is exactly a single, and others as they are."""
    try:
        single = _SINGLE.unpack(_SINGLE.pack(number))[0]
    except OverflowError:
        return number
    if single != number:
        return number
    for digits in range(6, 10):
        short = float(f"{number:.{digits}g}")
        if _SINGLE.unpack(_SINGLE.pack(short))[0] == number:
            return short
    return number


_MEMBERS: Final[Mapping[str, Callable[[str, Mapping[str, Any], datetime], Told]]] = {
    "uplink_message": _up,
    "location_solved": _location,
    "downlink_queued": _downlink(Fate.QUEUED, "downlink_queued"),
    "downlink_sent": _downlink(Fate.SENT, "downlink_sent"),
    "downlink_ack": _downlink(Fate.ACKNOWLEDGED, "downlink_ack"),
    _NACK: _nack,
    "downlink_failed": _downlink(Fate.FAILED, "downlink_failed"),
    "downlink_queue_invalidated": _downlink(Fate.FAILED, "downlink_queue_invalidated"),
    "join_accept": _nothing,
    "service_data": _nothing,
}
