"""What is refused of a device or a group although it has the right shape.

The FIWARE library refuses some characters in names. Values that stand for one of a few words, for
a time zone or for a URL are checked here too, so that a typing error is heard of at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from iot_agents.common.commands.provisioned import option
from iot_agents.common.device import Attribute, Provisioned
from iot_agents.common.provisioning_errors import WrongExpressionType, WrongSyntax
from iot_agents.common.service_group import ServiceGroup

_FORBIDDEN: Final = re.compile(r"[<>();'=\"]")
_FORBIDDEN_IN_TYPES: Final = re.compile(r"[<>;'=\"]")
_WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "ngsi_version": ("v2", "ld", "mixed"),
    "payload_type": ("iotagent", "ngsiv2", "ngsild"),
    "cmd_mode": ("legacy", "notification", "advancedNotification"),
}
_JSON_NAMES: Final = {
    "ngsi_version": "ngsiVersion",
    "payload_type": "payloadType",
    "cmd_mode": "cmdMode",
}
_QOS: Final = ("0", "1", "2", 0, 1, 2)


def check_rules(provisioned: Provisioned, where: str, *, relaxed: bool = False) -> None:
    """Check what a device or group says.

    Args:
        relaxed: any character may stand in `object_id`, as OPC UA needs it.

    Raises:
        WrongSyntax: something is refused; the message names the place and the reason.
        WrongExpressionType: it wants another expression language than JEXL.
    """
    _refuse(_FORBIDDEN_IN_TYPES, provisioned.entity_type, f"{where}.entity_type")
    for member in ("attributes", "lazy", "commands"):
        for number, attribute in enumerate(getattr(provisioned, member)):
            _check_attribute(attribute, f"{where}.{member}[{number}]", relaxed=relaxed)
    for number, command in enumerate(provisioned.commands):
        _check_options(command, f"{where}.commands[{number}].metadata")
    for member, words in _WORDS.items():
        _check_word(getattr(provisioned, member), words, f"{where}.{_JSON_NAMES[member]}")
    language = provisioned.expression_language
    if language not in ("", "jexl"):
        raise WrongExpressionType(f"{where}.expressionLanguage: {language!r:.80} is not jexl")
    if provisioned.timezone:
        _check_zone(provisioned.timezone, f"{where}.timezone")
    _check_interval(provisioned.internal("rigel"), f"{where}.internal_attributes.rigel")
    if isinstance(provisioned, ServiceGroup) and provisioned.cb_host:
        _check_url(provisioned.cb_host, f"{where}.cbHost")


def _check_interval(rigel: Mapping[str, Any], where: str) -> None:
    interval = rigel.get("expectedInterval", 1)
    if not _is_seconds(interval):
        raise WrongSyntax(f"{where}.expectedInterval: {interval!r:.80} is no number of seconds")


def _check_attribute(attribute: Attribute, where: str, *, relaxed: bool) -> None:
    if not relaxed:
        _refuse(_FORBIDDEN, attribute.object_id, f"{where}.object_id")
    _refuse(_FORBIDDEN, attribute.name, f"{where}.name")
    _refuse(_FORBIDDEN, attribute.type, f"{where}.type")
    if attribute.payload_type:
        _check_word(attribute.payload_type, _COMMAND_PAYLOADS, f"{where}.payloadType")
    for name, check in _MQTT.items():
        if attribute.mqtt is not None and name in attribute.mqtt:
            value = attribute.mqtt[name]
            if not check(value):
                raise WrongSyntax(f"{where}.mqtt.{name}: {value!r:.80} is not possible")
    if attribute.mqtt is not None and (unknown := set(attribute.mqtt) - set(_MQTT)):
        raise WrongSyntax(f"{where}.mqtt: unknown member {min(unknown)!r:.80}")


def _check_options(command: Attribute, where: str) -> None:
    """Check what the metadata of a command say to the desk; its courier knows of others."""
    members = {"metadata": command.metadata}
    for name, check in _OPTIONS.items():
        value = option(members, name)
        if value is not None and not check(value):
            raise WrongSyntax(f"{where}.{name}: {value!r:.80} is not possible")


def _is_seconds(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _is_qos(value: Any) -> bool:
    return not isinstance(value, bool) and value in _QOS


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


_MQTT: Final[Mapping[str, Callable[[Any], bool]]] = {"qos": _is_qos, "retain": _is_flag}
_OPTIONS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "expiry": _is_seconds,
    "idempotent": _is_flag,
    "oneAtATime": _is_flag,
}
_COMMAND_PAYLOADS: Final = ("json", "text", "binaryfromstring", "binaryfromhex", "binaryfromjson")


def _refuse(characters: re.Pattern[str], text: str, where: str) -> None:
    if found := characters.search(text):
        raise WrongSyntax(
            f"{where}: {text!r:.80} has the character {found[0]} in it, which is not allowed"
        )


def _check_word(text: str, words: tuple[str, ...], where: str) -> None:
    if text and text not in words:
        raise WrongSyntax(f"{where}: {text!r:.80} is none of {', '.join(words)}")


def _check_zone(name: str, where: str) -> None:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise WrongSyntax(f"{where}: {name!r:.80} is not a time zone") from error


def _check_url(text: str, where: str) -> None:
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        _ = parts.port
    except ValueError as error:
        raise WrongSyntax(f"{where}: {text!r:.80} is not a URL") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise WrongSyntax(f"{where}: {text!r:.80} is not an http or https URL")
