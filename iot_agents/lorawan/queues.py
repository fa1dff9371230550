"""How each network server takes a downlink into its queue: one row for each."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from broker.core.timestamps import format_timestamp
from iot_agents.lorawan import chirpstack_v3, loriot, thingpark, things_stack
from iot_agents.lorawan.downlink import Downlink
from iot_agents.lorawan.uplink import CHIRPSTACK_V4

_TOKEN: Final = "rigel:"
_PRIORITIES: Final = frozenset(
    ("LOWEST", "LOW", "BELOW_NORMAL", "NORMAL", "ABOVE_NORMAL", "HIGH", "HIGHEST")
)


class NotTaken(Exception):
    """A network server cannot take a downlink as it is; the text says why."""


@dataclass(frozen=True, slots=True)
class Queue:
    """The queue of one kind of network server.

    Attributes:
        message: makes the MQTT message, and the body of a post unless `body` does.
        token: by which the network server reports on a downlink; the device's EUI where it does
            not tell its downlinks apart.
        topic: makes the topic of the place where the device's messages come from; empty where
            downlinks do not go by MQTT.
        authorization: the header of a post that holds the token.
    """

    message: Callable[[Downlink, str], Mapping[str, Any]]
    token: Callable[[Downlink], str]
    topic: Callable[[str, Downlink], str] = lambda _place, _downlink: ""
    body: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda message: message
    authorization: str = "Authorization"


def _data(downlink: Downlink, data: str, values: str) -> dict[str, Any]:
    if downlink.data is None:
        return {values: downlink.values}
    return {data: base64.b64encode(downlink.data).decode()}


def _bytes(downlink: Downlink) -> bytes:
    if downlink.data is None:
        raise NotTaken("nothing encodes the values: the device has no script, nor its network")
    return downlink.data


def _chirpstack_v4(downlink: Downlink, _: str) -> Mapping[str, Any]:
    return {
        "id": _chirpstack_token(downlink),
        "devEui": downlink.dev_eui,
        "confirmed": downlink.confirmed,
        "fPort": downlink.port,
        "expiresAt": format_timestamp(downlink.expires),
        **_data(downlink, "data", "object"),
    }


def _chirpstack_token(downlink: Downlink) -> str:
    return str(uuid.UUID(hex=downlink.id))


def _chirpstack_v3(downlink: Downlink, _: str) -> Mapping[str, Any]:
    return {
        "confirmed": downlink.confirmed,
        "fPort": downlink.port,
        **_data(downlink, "data", "object"),
    }


def _things_stack(downlink: Downlink, _: str) -> Mapping[str, Any]:
    if downlink.priority and downlink.priority not in _PRIORITIES:
        raise NotTaken(f"priority {downlink.priority!r:.40} is none of {sorted(_PRIORITIES)}")
    told = {
        "f_port": downlink.port,
        "confirmed": downlink.confirmed,
        "priority": downlink.priority or "NORMAL",
        "correlation_ids": [_things_stack_token(downlink)],
        **_data(downlink, "frm_payload", "decoded_payload"),
    }
    return {"downlinks": [told]}


def _things_stack_token(downlink: Downlink) -> str:
    return _TOKEN + downlink.id


def _loriot(downlink: Downlink, application: str) -> Mapping[str, Any]:
    return {
        "cmd": "tx",
        "EUI": downlink.dev_eui.upper(),
        "port": downlink.port,
        "confirmed": downlink.confirmed,
        "data": _bytes(downlink).hex(),
        "appid": application,
    }


def _any(downlink: Downlink, application: str) -> Mapping[str, Any]:
    return {
        "id": downlink.id,
        "devEui": downlink.dev_eui,
        "application": application,
        "fPort": downlink.port,
        "confirmed": downlink.confirmed,
        "data": base64.b64encode(_bytes(downlink)).decode(),
    }


def _device(downlink: Downlink) -> str:
    return downlink.dev_eui


QUEUES: Final[Mapping[str, Queue]] = {
    CHIRPSTACK_V4: Queue(
        _chirpstack_v4,
        _chirpstack_token,
        lambda place, _: f"{place}/command/down",
        lambda message: {"queueItem": message},
        "Grpc-Metadata-Authorization",
    ),
    chirpstack_v3.FORMAT: Queue(
        _chirpstack_v3,
        _device,
        lambda place, _: f"{place}/command/down",
        lambda message: {"deviceQueueItem": message},
        "Grpc-Metadata-Authorization",
    ),
    things_stack.FORMAT: Queue(
        _things_stack,
        _things_stack_token,
        lambda place, downlink: f"{place}/down/{'replace' if downlink.replace else 'push'}",
    ),
    thingpark.FORMAT: Queue(_any, _device),
    loriot.FORMAT: Queue(_loriot, _device),
}
"""The queues by the format of their networks' messages."""

FORMATS: Final[Mapping[str, str]] = {
    "chirpstack": CHIRPSTACK_V4,
    "things-stack": things_stack.FORMAT,
    "thingpark": thingpark.FORMAT,
    "loriot": loriot.FORMAT,
}
"""The formats of networks whose devices have not sent anything yet."""
