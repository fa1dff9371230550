"""Payloads of the JSON agent: an object is one set of measures, an array of objects several."""

from __future__ import annotations

from typing import Any

import msgspec

from iot_agents.mqtt.payloads.language import MAX_SETS, BadPayload, Measures, json_or


def decode(payload: bytes) -> Any:
    """Return the JSON of a payload.

    Raises:
        BadPayload: it is none.
    """
    try:
        return msgspec.json.decode(payload)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BadPayload(f"not JSON: {error}") from error


def sets_of(document: Any) -> list[Measures]:
    """Return the sets of measures in a document, in its order.

    Raises:
        BadPayload: it is neither an object nor an array of objects, or holds too many.
    """
    if isinstance(document, dict):
        return [document]
    if not isinstance(document, list):
        raise BadPayload("expected an object or an array of objects")
    if len(document) > MAX_SETS:
        raise BadPayload(f"more than {MAX_SETS} sets of measures")
    for number, item in enumerate(document):
        if not isinstance(item, dict):
            raise BadPayload(f"item {number} of the array is no object")
    return document


def value_of(payload: bytes) -> Any:
    """Return the value of a single attribute: JSON, or the bytes in hex."""
    return json_or(payload, payload.hex())


def results_of(payload: bytes) -> Measures:
    """Return the results of commands, by name.

    Raises:
        BadPayload: it is no object.
    """
    document = decode(payload)
    if not isinstance(document, dict):
        raise BadPayload("expected an object of results by command")
    return document
