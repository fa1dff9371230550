"""Publish the demonstration's frames as a ChirpStack v4 network server does."""

from __future__ import annotations

import base64
import uuid
from typing import Any, Final

import msgspec

from rigel.demo.story import Uplink

APPLICATION: Final = "0f3c1d52-5a3e-4f10-9d6b-7a4b2c9e1d01"
_TENANT: Final = "0f3c1d52-5a3e-4f10-9d6b-7a4b2c9e1d02"
_GATEWAYS: Final = ("02d3000000000001", "02d3000000000002")
_IDS: Final = uuid.UUID("0f3c1d52-5a3e-4f10-9d6b-7a4b2c9e1d03")


def topic(dev_eui: str) -> str:
    """Return where the uplinks of a device are published."""
    return f"application/{APPLICATION}/device/{dev_eui}/event/up"


def message(uplink: Uplink, *, session: str) -> bytes:
    """Write an uplink as ChirpStack's JSON; members with the default value are left out.

    Args:
        uplink: the frame.
        session: the device's address since its last join, in hex; frame counters start anew with
            each.
    """
    seen = f"{session} {uplink.dev_eui} {uplink.f_cnt}"
    document: dict[str, Any] = {
        "deduplicationId": str(uuid.uuid5(_IDS, seen)),
        "time": uplink.at.isoformat(timespec="milliseconds"),
        "deviceInfo": {
            "tenantId": _TENANT,
            "tenantName": "demonstration",
            "applicationId": APPLICATION,
            "applicationName": "city",
            "deviceProfileName": uplink.profile,
            "deviceName": uplink.dev_eui,
            "devEui": uplink.dev_eui,
            "deviceClassEnabled": "CLASS_A",
            "tags": {},
        },
        "devAddr": session,
        "adr": True,
        "dr": 5,
        "fPort": uplink.f_port,
        "data": base64.b64encode(uplink.payload).decode(),
        "rxInfo": [_reception(uplink, gateway) for gateway in range(len(_GATEWAYS))],
        "txInfo": {
            "frequency": 868_100_000,
            "modulation": {
                "lora": {"bandwidth": 125_000, "spreadingFactor": 7, "codeRate": "CR_4_5"}
            },
        },
        "regionConfigId": "eu868",
    }
    if uplink.f_cnt:
        document["fCnt"] = uplink.f_cnt
    return msgspec.json.encode(document)


def _reception(uplink: Uplink, gateway: int) -> dict[str, Any]:
    # Signal strength differs by device, gateway and frame, and is the same in every replay.
    spread = int(uplink.dev_eui[-4:], 16) * 7 + uplink.f_cnt * 3 + gateway * 23
    return {
        "gatewayId": _GATEWAYS[gateway],
        "uplinkId": uplink.f_cnt * 2 + gateway + 1,
        "rssi": -62 - spread % 50,
        "snr": 9.5 - spread % 13,
        "channel": 3,
        "crcStatus": "CRC_OK",
    }
