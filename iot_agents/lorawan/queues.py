"""How each network server takes a downlink into its queue: one row for each."""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from broker.core.timestamps import format_timestamp
from iot_agents.lorawan import chirpstack_v3, loriot, thingpark, things_stack
from iot_agents.lorawan.downlink import Downlink
from iot_agents.lorawan.uplink import CHIRPSTACK_V4

_PRIORITIES: Final = frozenset(
    ("LOWEST", "LOW", "BELOW_NORMAL", "NORMAL", "ABOVE_NORMAL", "HIGH", "HIGHEST")
)
Post = tuple[str, Mapping[str, str]]
"""The URL of a post, and its headers."""


class NotTaken(Exception):
    """A network server cannot take a downlink as it is; the text says why."""


def _bearer(url: str, key: str) -> Post:
    return url, {"Authorization": f"Bearer {key}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """The queue of one kind of network server.

    Attributes:
        message: makes the MQTT message, and the body of a post unless `body` does.
        handle: what the network server will call the downlink in its reports; empty where it does
            not tell the downlinks of a device apart.
        topic: makes the topic of what a device's topics begin with; empty where downlinks do not
            go by MQTT.
        qos: of the MQTT message.
        authorized: adds a key to the URL or the headers of a post.
        named: reads from the answer to a post what the network server calls the downlink instead.
        replaces: whether a downlink can take the place of what is queued.
    """

    message: Callable[[Downlink, str], Mapping[str, Any]]
    handle: Callable[[Downlink], str] = lambda _downlink: ""
    topic: Callable[[str, Downlink], str] = lambda _device, _downlink: ""
    qos: int = 1
    body: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda message: message
    authorized: Callable[[str, str], Post] = _bearer
    named: Callable[[Mapping[str, Any]], str] = lambda _answer: ""
    replaces: bool = False


def _data(downlink: Downlink, data: str, values: str) -> dict[str, Any]:
    if downlink.data is None:
        return {values: downlink.values}
    return {data: base64.b64encode(downlink.data).decode()}


def _bytes(downlink: Downlink) -> bytes:
    if downlink.data is None:
        raise NotTaken("nothing encodes the values: the device has no script, nor its network")
    return downlink.data


def _command_down(device: str, _: Downlink) -> str:
    return f"{device}/command/down"


def _grpc_metadata(url: str, key: str) -> Post:
    return url, {"Grpc-Metadata-Authorization": f"Bearer {key}"}


def _chirpstack_v4(downlink: Downlink, _: str) -> Mapping[str, Any]:
    return {
        "id": _chirpstack_id(downlink),
        "devEui": downlink.dev_eui,
        "confirmed": downlink.confirmed,
        "fPort": downlink.port,
        "expiresAt": format_timestamp(downlink.expires),
        **_data(downlink, "data", "object"),
    }


def _chirpstack_id(downlink: Downlink) -> str:
    return str(uuid.UUID(hex=downlink.id))


def _chirpstack_named(answer: Mapping[str, Any]) -> str:
    """Return the id of the queue item, which the API chooses itself."""
    given = answer.get("id")
    return given if isinstance(given, str) else ""


def _chirpstack_v3(downlink: Downlink, _: str) -> Mapping[str, Any]:
    return {
        "confirmed": downlink.confirmed,
        "fPort": downlink.port,
        **_data(downlink, "data", "object"),
    }


def _chirpstack_v3_body(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the API's form of a message: values are a text in it."""
    item = dict(message)
    if "object" in item:
        item["jsonObject"] = msgspec.json.encode(item.pop("object")).decode()
    return {"deviceQueueItem": item}


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
    if downlink.confirmed and not downlink.repeatable:
        # Otherwise it is sent until the device confirms it, which may have done it long before.
        told["confirmed_retry"] = {"max_attempts": things_stack.ONE_ATTEMPT}
    return {"downlinks": [told]}


def _things_stack_token(downlink: Downlink) -> str:
    return things_stack.OURS + downlink.id


def _things_stack_topic(device: str, downlink: Downlink) -> str:
    return f"{device}/down/{'replace' if downlink.replace else 'push'}"


def _thingpark(downlink: Downlink, _: str) -> Mapping[str, Any]:
    return {
        "DevEUI_downlink": {
            "DevEUI": downlink.dev_eui.upper(),
            "FPort": downlink.port,
            "payload_hex": _bytes(downlink).hex(),
            "Confirmed": str(int(downlink.confirmed)),
            "FlushDownlinkQueue": str(int(downlink.replace)),
            "ValidityTime": format_timestamp(downlink.expires),
            "CorrelationID": downlink.short_id,
        }
    }


def _thingpark_token(url: str, key: str) -> Post:
    """Sign the query that names an application server, as its keys are for that."""
    _, separator, query = url.partition("?")
    if not separator or "AS_ID=" not in query:
        return _bearer(url, key)
    token = hashlib.sha256((query + key.lower()).encode()).hexdigest()
    return f"{url}&Token={token}", {}


def _loriot(downlink: Downlink, application: str) -> Mapping[str, Any]:
    return {
        "cmd": "tx",
        "EUI": downlink.dev_eui.upper(),
        "port": downlink.port,
        "confirmed": downlink.confirmed,
        "data": _bytes(downlink).hex(),
        "appid": application,
    }


QUEUES: Final[Mapping[str, Queue]] = {
    CHIRPSTACK_V4: Queue(
        message=_chirpstack_v4,
        handle=_chirpstack_id,
        topic=_command_down,
        body=lambda message: {"queueItem": message},
        authorized=_grpc_metadata,
        named=_chirpstack_named,
    ),
    chirpstack_v3.FORMAT: Queue(
        message=_chirpstack_v3,
        topic=_command_down,
        body=_chirpstack_v3_body,
        authorized=_grpc_metadata,
    ),
    things_stack.FORMAT: Queue(
        message=_things_stack,
        handle=_things_stack_token,
        topic=_things_stack_topic,
        # More it does not know.
        qos=0,
        replaces=True,
    ),
    thingpark.FORMAT: Queue(
        message=_thingpark,
        handle=lambda downlink: downlink.short_id,
        authorized=_thingpark_token,
        replaces=True,
    ),
    loriot.FORMAT: Queue(message=_loriot),
}
"""The queues by the format of their networks' messages."""

FORMATS: Final[Mapping[str, tuple[str, ...]]] = {
    "chirpstack": (CHIRPSTACK_V4, chirpstack_v3.FORMAT),
    "things-stack": (things_stack.FORMAT,),
    "thingpark": (thingpark.FORMAT,),
    "loriot": (loriot.FORMAT,),
}
"""The formats of each network's messages; of one that has not sent anything yet, the first."""
