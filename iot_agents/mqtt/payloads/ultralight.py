"""UltraLight 2.0.

    payload   := group { "#" group }
    group     := [ "|" ] [ timestamp "|" ] key "|" value { "|" key "|" value }
    result    := device "@" command "|" text
    command   := device "@" command "|" text
               | device "@" command { "|" name "=" value }

Nothing can be escaped. Values that are JSON are read as such (`15`, `true`, `[1,2]`, `"x"`), others
are texts. Deviates: from the FIWARE agent in that a first field without partner must be an ISO 8601
time, and in that an `@` makes a result only where `result_of` is asked for one.
"""

from __future__ import annotations

from typing import Any

import msgspec

from iot_agents.mqtt.payloads.language import MAX_SETS, BadPayload, Measures, json_or
from smart_data_models.jexl import times

_WRONG = "PARSE_ERROR"


def sets_of(payload: bytes) -> list[Measures]:
    """Return the sets of measures in a payload, in its order.

    Raises:
        BadPayload: any of it is not what the grammar says.
    """
    groups = _text(payload).split("#")
    if len(groups) > MAX_SETS:
        raise BadPayload(f"more than {MAX_SETS} groups", _WRONG)
    return [_set(group, number) for number, group in enumerate(groups)]


def value_of(payload: bytes) -> Any:
    """Return the value of a single attribute: JSON, text, or bytes in hex."""
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return payload.hex()
    return json_or(text, text)


def result_of(payload: bytes) -> tuple[str, str, Any]:
    """Return device, command and result of a command's result.

    Raises:
        BadPayload: it is none.
    """
    text = _text(payload).strip()
    head, bar, rest = text.partition("|")
    device, at, name = head.partition("@")
    if not (bar and at and device and name):
        raise BadPayload("expected <device>@<command>|<result>", _WRONG)
    result = rest.split("|", 1)[0]
    return device, name, json_or(result, result)


def command(device: str, name: str, value: Any) -> bytes:
    """Return a command as a device gets it."""
    if isinstance(value, dict):
        parts = [f"{key}={_written(inner)}" for key, inner in value.items()]
    else:
        parts = [_written(value)]
    return "|".join((f"{device}@{name}", *parts)).encode()


def configuration(device: str, values: Measures) -> bytes:
    """Return values a device asked for."""
    parts = (f"{key}={_written(value)}" for key, value in values.items())
    return "|".join((f"{device}@configuration", *parts)).encode()


def _text(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        raise BadPayload(f"not UTF-8: {error}", _WRONG) from error


def _set(group: str, number: int) -> Measures:
    fields = group.strip("\r\n").removeprefix("|").split("|")
    if not all(fields):
        raise BadPayload(f"group {number}: a field is empty", _WRONG)
    measures: Measures = {}
    if len(fields) % 2:
        moment = fields.pop(0)
        if not fields or not _is_time(moment):
            reason = f"group {number}: {moment!r:.40} is neither a time nor has it a value"
            raise BadPayload(reason, _WRONG)
        measures["TimeInstant"] = moment
    pairs = zip(fields[::2], fields[1::2], strict=True)
    return measures | {key: json_or(value, value) for key, value in pairs}


def _is_time(text: str) -> bool:
    try:
        times.utc_text(text)
    except ValueError:
        return False
    return True


def _written(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
