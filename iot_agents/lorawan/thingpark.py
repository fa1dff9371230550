"""Actility ThingPark: frames by HTTP POST, as a JSON object with one member.

Numbers come as texts or as numbers, depending on the version. `DevEUI_uplink` is a frame, which may
confirm a downlink (`ACKbit`), and `DevEUI_downlink_Sent` tells whether one was sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from iot_agents.common.commands.model import Fate, NetworkReport
from iot_agents.lorawan import reading
from iot_agents.lorawan.uplink import (
    BadUplink,
    Modulation,
    NoMeasure,
    Reception,
    Told,
    Uplink,
    acknowledgement_of,
)

FORMAT: Final = "thingpark"
SERVER: Final = "ThingPark"
_UPLINK: Final = "DevEUI_uplink"
_SENT: Final = "DevEUI_downlink_Sent"
_CAUSES: Final = ("DeliveryFailedCause1", "DeliveryFailedCause2", "DeliveryFailedCause3")


class _Gateway(msgspec.Struct, frozen=True):
    gateway: str = msgspec.field(default="", name="Lrrid")
    rssi: float | None = msgspec.field(default=None, name="LrrRSSI")
    snr: float | None = msgspec.field(default=None, name="LrrSNR")


class _Gateways(msgspec.Struct, frozen=True):
    each: list[_Gateway] | _Gateway = msgspec.field(default=[], name="Lrr")


class _Up(msgspec.Struct, frozen=True):
    dev_eui: str = msgspec.field(name="DevEUI")
    time: str = msgspec.field(default="", name="Time")
    f_port: int = msgspec.field(default=0, name="FPort")
    f_cnt: int = msgspec.field(default=0, name="FCntUp")
    payload: str = msgspec.field(default="", name="payload_hex")
    dev_addr: str = msgspec.field(default="", name="DevAddr")
    rssi: float | None = msgspec.field(default=None, name="LrrRSSI")
    snr: float | None = msgspec.field(default=None, name="LrrSNR")
    gateway: str = msgspec.field(default="", name="Lrrid")
    gateways: _Gateways = msgspec.field(default=_Gateways(), name="Lrrs")
    spreading_factor: int = msgspec.field(default=0, name="SpFact")
    customer: str = msgspec.field(default="", name="CustomerID")
    customer_data: Any = msgspec.field(default=None, name="CustomerData")
    decoded: Any = msgspec.field(default=None, name="payload")
    acknowledges: Any = msgspec.field(default=None, name="ACKbit")


class _Sent(msgspec.Struct, frozen=True):
    dev_eui: str = msgspec.field(name="DevEUI")
    status: Any = msgspec.field(default=None, name="DeliveryStatus")
    handle: str = msgspec.field(default="", name="CorrelationID")


def decode(_: str, speaker: str, document: Mapping[str, Any], now: datetime) -> Told:
    """Read a message; see `chirpstack.decode`. The query names the device and nothing else.

    Raises:
        NoMeasure: it carries none.
        BadUplink: it cannot be read.
    """
    if isinstance(sent := document.get(_SENT), Mapping):
        return _sent(speaker, sent)
    inner = document.get(_UPLINK)
    if not isinstance(inner, Mapping):
        if any(name.startswith("DevEUI_") for name in document):
            raise NoMeasure("not an uplink")
        raise BadUplink(f"not a message of {SERVER}: no {_UPLINK}")
    up = reading.read(inner, _Up, SERVER)
    dev_eui = reading.eui(up.dev_eui)
    reading.speaks_for(speaker, dev_eui)
    acknowledges = str(up.acknowledges) == "1"
    if not up.f_port and acknowledges:
        return acknowledgement_of(dev_eui)
    if not up.f_port:
        raise NoMeasure("MAC commands only")
    customer = up.customer_data if isinstance(up.customer_data, Mapping) else {}
    return Uplink(
        format=FORMAT,
        dev_eui=dev_eui,
        name=_text(customer.get("name")),
        application=up.customer,
        profile=_profile(customer),
        session=up.dev_addr.lower(),
        f_cnt=reading.counter(up.f_cnt, "FCntUp"),
        f_port=reading.counter(up.f_port, "FPort"),
        time=reading.moment(up.time, "Time") if up.time else now,
        document=inner,
        data=reading.from_hex(up.payload, "payload_hex"),
        decoded=up.decoded if isinstance(up.decoded, Mapping) else None,
        receptions=_receptions(up),
        modulation=Modulation(spreading_factor=up.spreading_factor),
        acknowledges=acknowledges,
    )


def _sent(speaker: str, document: Mapping[str, Any]) -> NetworkReport:
    told = reading.read(document, _Sent, SERVER)
    dev_eui = reading.eui(told.dev_eui)
    reading.speaks_for(speaker, dev_eui)
    failed = str(told.status) == "0"
    causes = " ".join(_text(document.get(name)) for name in _CAUSES).strip()
    return NetworkReport(
        address=dev_eui,
        handles=(told.handle.upper(),) if told.handle else None,
        fate=Fate.FAILED if failed else Fate.SENT,
        reason=f"not sent: {causes or 'no cause given':.100}" if failed else "",
    )


def _receptions(up: _Up) -> list[Reception]:
    each = up.gateways.each
    gateways = each if isinstance(each, list) else [each]
    if not gateways:
        return [Reception(up.gateway, up.rssi, up.snr)]
    return [Reception(one.gateway, one.rssi, one.snr) for one in gateways]


def _profile(customer: Mapping[str, Any]) -> str:
    kind = customer.get("alr")
    return _text(kind.get("pro")) if isinstance(kind, Mapping) else ""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
