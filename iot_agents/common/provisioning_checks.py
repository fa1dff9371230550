"""What clients say of devices and groups, checked and completed before it is stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from iot_agents.common.device import Device, entity_id, read
from iot_agents.common.mapping.model import InvalidMapping
from iot_agents.common.mapping.provisioned import compile_mapping
from iot_agents.common.provisioning_errors import (
    InvalidExpression,
    MissingAttributes,
    MissingConfigParams,
)
from iot_agents.common.provisioning_requests import Place, without
from iot_agents.common.provisioning_rules import check_rules
from iot_agents.common.service_group import ServiceGroup, in_force
from smart_data_models.jexl import syntax
from smart_data_models.jexl.expressions import compile_expression

SET_BY_US: Final = frozenset({"service", "service_path", "subservice", "polling"})
"""Members that answers have and requests need not."""

NOT_KEPT: Final = frozenset({"lastMeasure", "token", "trust"})
"""Members that are taken without an error and not stored."""

_DEFAULT_TYPE: Final = "Thing"


class Checks:
    """Makes devices and groups of documents."""

    def __init__(self, *, relaxed: bool = False) -> None:
        """Say how strict to be.

        Args:
            relaxed: see `check_rules`.
        """
        self._relaxed = relaxed

    def device(self, document: Mapping[str, Any], place: Place, where: str) -> Device:
        """Return a device as a client described it, with its place.

        Raises:
            ProvisioningError: something is wrong with it; the message says where.
        """
        if not document.get("device_id"):
            raise MissingAttributes(f"{where}: device_id is missing")
        own = {**without(document, SET_BY_US | NOT_KEPT), "service": place.service}
        device = read({**own, "service_path": place.path}, Device, where)
        check_rules(device, where, relaxed=self._relaxed)
        _check_expressions(in_force(device, None), where)
        if not device.entity_name:
            return device
        name = entity_id(device.entity_name, device.entity_type or _DEFAULT_TYPE)
        return msgspec.structs.replace(device, entity_name=name)

    def group(self, document: Mapping[str, Any], place: Place, where: str) -> ServiceGroup:
        """Return a group as a client described it, with its place.

        Raises:
            ProvisioningError: something is wrong with it; the message says where.
        """
        own = {**without(document, SET_BY_US | NOT_KEPT), "service": place.service}
        group = read({**own, "subservice": place.path}, ServiceGroup, where)
        if not group.entity_type:
            raise MissingConfigParams(f"{where}: entity_type is missing")
        check_rules(group, where, relaxed=self._relaxed)
        _check_expressions(in_force(Device(device_id="device"), group), where)
        return group


def _check_expressions(provisioned: Mapping[str, Any], where: str) -> None:
    try:
        compile_mapping(provisioned, name=where)
        for number, command in enumerate(provisioned["commands"]):
            _compile(command.get("expression"), f"{where}.commands[{number}].expression")
        endpoint = str(provisioned.get("endpoint", ""))
        _compile("" if "://" in endpoint else endpoint, f"{where}.endpoint")
    except InvalidMapping as error:
        raise InvalidExpression(str(error)) from error


def _compile(expression: str | None, where: str) -> None:
    try:
        if expression:
            compile_expression(expression, strict=False)
    except syntax.InvalidExpression as error:
        raise InvalidExpression(f"{where}: {error}") from error
