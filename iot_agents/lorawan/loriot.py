"""Loriot: frames by HTTP POST or through a WebSocket bridge, as flat JSON objects.

`rx` is sent at once, `gw` repeats the frame with the list of its gateways; both have the same frame
counter and nearly the same time, so that the first to come counts. A frame may confirm a downlink
(`ack`), and `txd` tells that one was sent; which one is not said.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
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

FORMAT: Final = "loriot"
SERVER: Final = "Loriot"
_FRAMES: Final = {"rx", "gw"}
_SENT: Final = "txd"


class _Gateway(msgspec.Struct, frozen=True):
    gateway: str = msgspec.field(default="", name="gweui")
    rssi: float | None = None
    snr: float | None = None


class _Up(msgspec.Struct, frozen=True):
    dev_eui: str = msgspec.field(name="EUI")
    ts: int | None = None
    fcnt: int = 0
    port: int = 0
    freq: int = 0
    rssi: float | None = None
    snr: float | None = None
    dr: str = ""
    data: str | None = None
    ack: Any = None
    gws: list[_Gateway] = []


def decode(_: str, speaker: str, document: Mapping[str, Any], now: datetime) -> Told:
    """Read a message; see `chirpstack.decode`.

    Raises:
        NoMeasure: it carries none.
        BadUplink: it cannot be read.
    """
    command = document.get("cmd")
    if not isinstance(command, str):
        raise BadUplink(f"not a message of {SERVER}: no cmd")
    if command not in (*_FRAMES, _SENT):
        raise NoMeasure(f"command {command:.20}")
    up = reading.read(document, _Up, SERVER)
    dev_eui = reading.eui(up.dev_eui)
    reading.speaks_for(speaker, dev_eui)
    if command == _SENT:
        return NetworkReport(address=dev_eui, handles=None, fate=Fate.SENT)
    if not up.port and up.ack is True:
        return acknowledgement_of(dev_eui)
    if not up.port:
        raise NoMeasure("MAC commands only")
    if up.data is None:
        raise BadUplink("encrypted payload: the network server has no application session key")
    receptions = [Reception(one.gateway, one.rssi, one.snr) for one in up.gws]
    return Uplink(
        format=FORMAT,
        dev_eui=dev_eui,
        session="",
        f_cnt=reading.counter(up.fcnt, "fcnt"),
        f_port=reading.counter(up.port, "port"),
        time=_time(up.ts, now),
        document=document,
        data=reading.from_hex(up.data, "data"),
        receptions=receptions or [Reception("", up.rssi, up.snr)],
        modulation=_modulation(up),
        acknowledges=up.ack is True,
    )


def _time(milliseconds: int | None, now: datetime) -> datetime:
    if milliseconds is None:
        return now
    try:
        return datetime.fromtimestamp(milliseconds // 1000, UTC).replace(
            microsecond=milliseconds % 1000 * 1000
        )
    except (ValueError, OverflowError, OSError) as error:
        raise BadUplink(f"ts: {milliseconds!r:.40} is not a time in milliseconds") from error


def _modulation(up: _Up) -> Modulation:
    """Read a data rate such as `SF7 BW125 4/5`."""
    numbers = {"SF": 0, "BW": 0}
    for part in up.dr.split():
        name, digits = part[:2], part[2:5]
        if name in numbers and digits.isascii() and digits.isdigit():
            numbers[name] = int(digits)
    return Modulation(up.freq, numbers["SF"], numbers["BW"] * 1000)
