"""From a payload to checked entities: the mapping applied, the Smart Data Models asked."""

from __future__ import annotations

import logging
from collections.abc import Mapping as Dict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from iot_agents.common.counters import Counters
from iot_agents.common.mapping.apply import apply
from iot_agents.common.mapping.model import Drop, Entity, Mapping, MappingError
from smart_data_models.validator import Validator

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Made:
    """What a payload gave.

    Attributes:
        entities: normalized, with short names, each id once.
        refused: why other entities of the payload must not be written.
        left_out: which attributes could not be made, and why.
    """

    entities: Sequence[Entity] = ()
    refused: Sequence[str] = ()
    left_out: Sequence[str] = ()


class Maker:
    """Makes entities and counts what was wrong with them."""

    def __init__(self, validator: Validator, counters: Counters) -> None:
        self._validator = validator
        self._counters = counters

    def make(
        self,
        mapping: Mapping,
        payload: Any,
        who: str,
        device: Dict[str, Any] | None = None,
        decoded: Dict[str, Any] | None = None,
    ) -> Made:
        """Apply a mapping and check what it gives.

        Args:
            who: whom the log shall name.
            decoded: see `apply`.
        """
        drops: list[Drop] = []
        try:
            entities = apply(mapping, payload, device, drops=drops, decoded=decoded)
        except MappingError as error:
            return Made(refused=(str(error),))
        left_out = [f"{drop.field} left out: {drop.reason}" for drop in drops]
        for text in left_out:
            self._warn("%s: %s", who, text)
        return replace(self._checked(merged(entities), who), left_out=left_out)

    def _checked(self, entities: Sequence[Entity], who: str) -> Made:
        good: list[Entity] = []
        refused: list[str] = []
        for entity in entities:
            verdict = self._validator.check(entity)
            if verdict.rejected:
                problems = "; ".join(map(str, verdict.problems))
                refused.append(f"{entity['id']} breaks {entity['type']}: {problems}")
                continue
            good.append(entity)
            for problem in verdict.problems:
                self._warn("%s: %s: %s", who, entity["id"], problem)
        return Made(good, refused)

    def _warn(self, message: str, *details: object) -> None:
        self._counters.warnings += 1
        # What one measure has wrong, the next ones will have too: not a line for each by default.
        _log.debug(message, *details)


def merged(entities: Sequence[Entity]) -> Sequence[Entity]:
    """Return each id once, later attributes over earlier ones.

    Brokers differ in what two entities of one id in a batch mean.
    """
    by_id: dict[str, Entity] = {}
    for entity in entities:
        by_id[entity["id"]] = {**by_id.get(entity["id"], {}), **entity}
    return list(by_id.values())
