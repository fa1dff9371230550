"""Devices as they are provisioned: the members of the FIWARE provisioning API."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from broker.core.identifiers import is_uri
from iot_agents.common.provisioning_errors import WrongSyntax

T = TypeVar("T")

_EUI = re.compile(r"[0-9A-Fa-f]{16}")


class Attribute(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """An element of `attributes`, `lazy` or `commands`.

    `object_id` and `name` stand for each other where one is absent.
    """

    object_id: str = ""
    name: str = ""
    type: str = ""
    expression: str | None = None
    skip_value: Any = msgspec.field(default=None, name="skipValue")
    entity_name: str | None = None
    entity_type: str | None = None
    metadata: dict[str, Any] | None = None
    value: Any = None
    payload_type: str | None = msgspec.field(default=None, name="payloadType")
    content_type: str | None = msgspec.field(default=None, name="contentType")
    headers: dict[str, str] | None = None
    mqtt: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if not self.object_id and not self.name:
            raise ValueError("one of object_id and name is needed")


class StaticAttribute(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An element of `static_attributes`: a constant."""

    name: str
    type: str = ""
    value: Any = None
    metadata: dict[str, Any] | None = None
    link: dict[str, Any] | None = None


class Provisioned(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The members that devices and service groups share; unset ones are inherited."""

    service: str = ""
    entity_type: str = ""
    transport: str = ""
    endpoint: str = ""
    timezone: str = ""
    timestamp: bool | None = None
    attributes: tuple[Attribute, ...] = ()
    lazy: tuple[Attribute, ...] = ()
    commands: tuple[Attribute, ...] = ()
    static_attributes: tuple[StaticAttribute, ...] = ()
    internal_attributes: Any = None
    autoprovision: bool | None = None
    explicit_attrs: bool | str | None = msgspec.field(default=None, name="explicitAttrs")
    ngsi_version: str = msgspec.field(default="", name="ngsiVersion")
    payload_type: str = msgspec.field(default="", name="payloadType")
    store_last_measure: bool | None = msgspec.field(default=None, name="storeLastMeasure")

    use_cb_flow_control: bool | None = msgspec.field(default=None, name="useCBflowControl")
    cmd_mode: str = msgspec.field(default="", name="cmdMode")
    expression_language: str = msgspec.field(default="", name="expressionLanguage")

    def internal(self, section: str) -> Mapping[str, Any]:
        """Return a section of `internal_attributes`."""
        return internal_section(self.internal_attributes, section)


def internal_sections(internal: Any) -> Mapping[str, Any]:
    """Return `internal_attributes` by section; it may be an object or a list of one."""
    if isinstance(internal, list | tuple) and internal:
        internal = internal[0]
    return internal if isinstance(internal, Mapping) else {}


def internal_section(internal: Any, section: str) -> Mapping[str, Any]:
    """Return a section of `internal_attributes`; empty when it is not there."""
    found = internal_sections(internal).get(section)
    return found if isinstance(found, Mapping) else {}


def for_lorawan(provisioned: Mapping[str, Any]) -> bool:
    """Tell whether a device, by what is in force for it, is reached through LoRaWAN."""
    section = "lorawan" in internal_sections(provisioned.get("internal_attributes"))
    return section or str(provisioned.get("protocol") or "").lower().startswith("lora")


class Device(Provisioned, frozen=True, kw_only=True, omit_defaults=True):
    """One device; its identity is service, service path, apikey and id."""

    device_id: str = ""
    service_path: str = "/"
    apikey: str = ""
    entity_name: str = ""
    protocol: str = ""

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """What no two devices share."""
        return self.service, self.service_path, self.apikey, self.device_id

    @property
    def hardware_id(self) -> str:
        """The name by which a network knows the device: its EUI, or its id."""
        dev_eui = self.internal("lorawan").get("dev_eui")
        return dev_eui.lower() if isinstance(dev_eui, str) else hardware_name(self.device_id)


def hardware_name(device_id: str) -> str:
    """Return the name by which a device is looked up: an EUI is the same in either case."""
    return device_id.lower() if _EUI.fullmatch(device_id) else device_id


def entity_id(name: str, kind: str) -> str:
    """Return a name as a URI: as it is if it is one, otherwise as `urn:ngsi-ld:<type>:<name>`."""
    return name if is_uri(name) else f"urn:ngsi-ld:{kind}:{name}"


def read(document: Any, kind: type[T], where: str) -> T:
    """Check what a client sent.

    Raises:
        WrongSyntax: it is not what it must be; the message names the place.
    """
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise WrongSyntax(f"{where}: {error}") from error


def document_of(thing: msgspec.Struct) -> dict[str, Any]:
    """Return the JSON form of a device or a service group."""
    document: dict[str, Any] = msgspec.to_builtins(thing)
    return document
