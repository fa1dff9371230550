"""A mapping tried on a payload: its entities, what is wrong with them, why others are missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from iot_agents.common.mapping import model
from iot_agents.common.mapping.apply import apply, scope_of
from iot_agents.common.mapping.model import Drops, Entity, EntityRule, MappingError
from smart_data_models.jexl.values import MISSING, ExpressionError, Scope, truthy
from smart_data_models.validator import Validator

_LONGEST = 100


@dataclass(frozen=True, slots=True)
class Trial:
    """What a payload gives.

    Attributes:
        entities: as they would be sent to the broker.
        problems: what the models have against them, each with the entity's id.
        left_out: what was not made, and why.
        error: why the payload would be refused as a whole; empty when it would not.
    """

    entities: Sequence[Entity]
    problems: Sequence[str]
    left_out: Sequence[str]
    error: str = ""

    @property
    def good(self) -> bool:
        """Whether entities were made, and their models have nothing against them."""
        return bool(self.entities) and not self.problems and not self.error


def tried(
    mapping: model.Mapping,
    document: Mapping[str, Any],
    payload: Any,
    device: Mapping[str, Any] | None,
    validator: Validator,
) -> Trial:
    """Apply a mapping to a payload and say what became of every part of it.

    Args:
        document: the mapping as its file says it.
        device: what is provisioned of the device; see `apply`.
    """
    drops: Drops = []
    try:
        if mapping.when is not None and not truthy(mapping.when(_members(payload))):
            reason = f"when: {document['when']} does not hold: the payload is not for this mapping"
            return Trial((), (), (reason,))
        entities = apply(mapping, payload, device, drops=drops)
        scope = scope_of(mapping, payload, device)
    except ExpressionError as error:
        return Trial((), (), (), f"when: {error}")
    except MappingError as error:
        return Trial((), (), (), f"{error.field}: {error.reason}")
    problems = [
        f"{entity['id']}: {problem}"
        for entity in entities
        for problem in validator.check(entity).problems
    ]
    left_out = [f"{drop.field}: {drop.reason}" for drop in drops]
    dropped = {drop.field for drop in drops}
    for rule, said in zip(mapping.entities, document["entities"], strict=True):
        left_out += _missing(rule, said, scope, dropped)
    return Trial(entities, problems, left_out)


def example_problems(mapping: model.Mapping, validator: Validator) -> Iterator[tuple[int, str]]:
    """Yield the examples of a mapping that do not come out as they say, by their number."""
    for number, example in enumerate(mapping.examples):
        drops: Drops = []
        try:
            made = apply(mapping, example["payload"], example.get("device"), drops=drops)
        except MappingError as error:
            if error.field != example.get("error"):
                yield number, f"fails at {error.field}: {error.reason}"
            continue
        if "error" in example:
            yield number, f"was to fail at {example['error']}, and does not"
            continue
        yield from ((number, text) for text in _differences(made, example["expected"]))
        if (dropped := [drop.field for drop in drops]) != example.get("drops", []):
            yield number, f"leaves out {', '.join(dropped) or 'nothing'}, unlike its `drops`"
        for entity in made:
            yield from ((number, str(problem)) for problem in validator.check(entity).problems)


def _differences(made: Sequence[Entity], expected: Sequence[Entity]) -> Iterator[str]:
    made_by_id = {entity["id"]: entity for entity in made}
    for entity in expected:
        found = made_by_id.pop(entity["id"], None)
        if found is None:
            yield f"expects {entity['id']}, which is not made"
            continue
        for name in dict.fromkeys((*entity, *found)):
            if found.get(name) != entity.get(name):
                yield (
                    f"expects of {entity['id']} {name}: {entity.get(name)!r:.200};"
                    f" made is {found.get(name)!r:.200}"
                )
    for entity_id in made_by_id:
        yield f"makes {entity_id}, which is not expected"


def _members(payload: Any) -> Scope:
    return payload if isinstance(payload, dict) else {}


def _missing(
    rule: EntityRule, said: Mapping[str, Any], scope: Scope, dropped: set[str]
) -> Iterator[str]:
    """Yield what the payload has nothing for, of one entity rule."""
    if rule.each is not None:
        items = rule.each(scope)
        if not isinstance(items, list) or not items:
            yield f"{rule.field}: {said['each']} is empty or not in the payload"
            return
        scope = {**scope, rule.item_name: items[0]}
    if rule.when is not None and not truthy(held := rule.when(scope)):
        why = "reads something that is not there" if held is MISSING else "does not hold"
        yield f"{rule.field}: {said['when']} {why}"
        return
    for attribute in rule.attributes:
        if attribute.field in dropped:
            continue
        value = attribute.value(scope)
        words = _words(said["attributes"][attribute.name])
        if value is MISSING or value is None:
            yield f"{attribute.field}: nothing there ({words})"
        elif attribute.when is not None and not truthy(attribute.when(scope)):
            yield f"{attribute.field}: its `when` does not hold ({words})"


def _words(field: Mapping[str, Any]) -> str:
    text = ", ".join(f"{word}: {value}" for word, value in field.items())
    return text if len(text) <= _LONGEST else text[:_LONGEST] + " …"
