"""ChirpStack v4: events in JSON, as its MQTT and HTTP integrations send them.

    MQTT    application/<application id>/device/<dev eui>/event/<event>
    HTTP    POST …?event=<event>

The JSON is protobuf's: members with their default value (0, false, an empty text) are left out, so
an uplink without `fCnt` has the frame counter 0. Times are RFC 3339 with up to nine digits.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from iot_agents.lorawan.uplink import BadUplink, NoMeasure, Uplink

FORMAT = "chirpstack-v4"
_TOPIC = re.compile(r"application/[^/]+/device/([^/]+)/event/([^/]+)")
_EUI = re.compile(r"[0-9a-f]{16}")
_EVENTS = {"up", "join", "status", "ack", "txack", "log", "location", "integration"}


class _DeviceInfo(msgspec.Struct, rename="camel"):
    dev_eui: str
    device_profile_name: str = ""


class _Reception(msgspec.Struct, rename="camel"):
    rssi: int | float = 0
    snr: int | float = 0


class _Up(msgspec.Struct, rename="camel"):
    device_info: _DeviceInfo
    time: str = ""
    dev_addr: str = ""
    f_cnt: int = 0
    f_port: int = 0
    data: str = ""
    object: dict[str, Any] | None = None
    rx_info: list[_Reception] = []
    join_server_context: dict[str, Any] | None = None


def event_of(topic: str) -> tuple[str, str]:
    """Return the event and the device a topic names, both empty where topics are made otherwise."""
    match = _TOPIC.fullmatch(topic)
    return (match[2], match[1].lower()) if match else ("", "")


def decode_uplink(event: str, payload: bytes, clock: Callable[[], datetime]) -> Uplink:
    """Read an event.

    Args:
        event: its name; empty is taken for an uplink.
        clock: gives the time of an uplink without one.

    Raises:
        NoMeasure: the event or the frame carries none.
        BadUplink: the message cannot be read.
    """
    if event and event != "up":
        if event in _EVENTS:
            raise NoMeasure(f"event {event}")
        raise BadUplink(f"unknown event {event!r:.40}")
    try:
        document = msgspec.json.decode(payload, type=dict[str, Any])
        up = msgspec.convert(document, _Up)
    except msgspec.DecodeError as error:
        raise BadUplink(f"not an uplink of ChirpStack v4: {error}") from error
    if not up.f_port:
        raise NoMeasure("MAC commands only")
    if up.join_server_context:
        raise BadUplink("encrypted payload: the network server has no application session key")
    return _uplink(up, document, _moment(up.time) if up.time else clock())


def _uplink(up: _Up, document: dict[str, Any], moment: datetime) -> Uplink:
    dev_eui = up.device_info.dev_eui.lower()
    if not _EUI.fullmatch(dev_eui):
        raise BadUplink(f"{dev_eui!r:.40} is not a device EUI")
    return Uplink(
        format=FORMAT,
        dev_eui=dev_eui,
        profile=up.device_info.device_profile_name,
        session=up.dev_addr.lower(),
        f_cnt=up.f_cnt,
        f_port=up.f_port,
        time=moment,
        document=document,
        data=_bytes(up.data),
        decoded=up.object,
        rssi=max((reception.rssi for reception in up.rx_info), default=None),
        snr=max((reception.snr for reception in up.rx_info), default=None),
        gateways=len(up.rx_info),
    )


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadUplink(f"time: {text!r:.40} is not a date-time") from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise BadUplink(f"data: {text!r:.40} is not base64") from error
