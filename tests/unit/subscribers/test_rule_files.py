from pathlib import Path

import pytest

from subscribers.common.definitions import InvalidDefinition, load_definition
from subscribers.common.instants import Duration
from subscribers.rules.conditions import compile_check
from subscribers.rules.model import Rule
from subscribers.rules.role import packaged_rules, rules_role
from subscribers.settings import Settings

HEAT = """
rule: too-hot
title: Too hot
subject:
  type: WeatherObserved
  where: [{attribute: temperature, above: 35}]
alert: {category: weather, severity: high, description: "It is hot at {subject}"}
"""


def directory(tmp_path: Path, text: str) -> Path:
    (tmp_path / "rule.yaml").write_text(text)
    return tmp_path


def test_a_rule_needs_little(tmp_path: Path) -> None:
    rule = load_definition(directory(tmp_path, HEAT) / "rule.yaml", Rule).content

    assert (rule.for_, rule.lateness, rule.linked, rule.alert.source) == (0, 0, None, "subject")


def test_the_packaged_rule_looks_at_charging_points_and_their_bays() -> None:
    file = packaged_rules() / "blocked-charging-point.yaml"

    rule = load_definition(file, Rule).content

    assert rule.for_ == Duration.read("15min")
    assert rule.subject.type == "EVChargingPoint"
    assert rule.linked is not None
    assert (rule.linked.type, rule.linked.by) == ("ParkingSpot", "refParkingSpot")


@pytest.mark.parametrize(
    ("status", "raised"),
    [
        ("AVAILABLE", True),
        ("BLOCKED", True),
        ("INOPERATIVE", True),
        ("OUTOFORDER", True),
        ("RESERVED", True),
        ("CHARGING", False),
        ("PLANNED", False),
        ("REMOVED", False),
        ("UNKNOWN", False),
        ("charging", False),
    ],
)
def test_the_packaged_rule_raises_where_a_car_could_charge_and_does_not(
    status: str, *, raised: bool
) -> None:
    condition = load_definition(packaged_rules() / "blocked-charging-point.yaml", Rule).content

    assert compile_check(condition.subject.where[0])(status) is raised


def test_a_rule_subscribes_to_what_its_conditions_its_link_and_its_alert_need() -> None:
    role = rules_role(Settings())

    watched = {binding.name: binding.attributes for binding in role.bindings}

    assert watched["blocked-charging-point.subject"] == ("status", "refParkingSpot", "location")
    assert watched["blocked-charging-point.linked"] == ("status", "location")


def test_a_query_names_what_to_watch(tmp_path: Path) -> None:
    text = HEAT.replace("where: [{attribute: temperature, above: 35}]", "q: a>1;b[c]==2|!d")

    role = rules_role(Settings(packaged=False, rules_dirs=(directory(tmp_path, text),)))

    assert role.bindings[0].attributes == ("a", "b", "d", "location")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("above: 35", "over: 35", "subject.where.0.over: unknown field"),
        ("above: 35", "above: 35, below: 40", "got above and below"),
        (", above: 35", "", "got none of them"),
        ("above: 35", "above: hot", "subject.where.0.above: expected `float | null`"),
        ("where: [{attribute: temperature, above: 35}]", "where: []", "expected conditions in"),
        ("where: [{attribute: temperature, above: 35}]", "q: a>", "q: "),
        ("category: weather", "category: heat", "alert.category: invalid enum value"),
        ("severity: high", "severity: high, source: linked", "the rule has no linked entity"),
        ("{subject}", "{place}", "only {subject}, {linked} and {since} can be filled in"),
        ("{subject}", "{subject.x}", "only {subject}, {linked} and {since} can be filled in"),
        ("rule: too-hot", "rule: too hot", "rule.yaml:2: rule: "),
        ("title: Too hot", "title: Too hot\nfor: 15", "rule.yaml:4: for: expected a duration"),
    ],
)
def test_a_mistake_in_a_rule_is_told_with_its_place(
    tmp_path: Path, old: str, new: str, problem: str
) -> None:
    rules = directory(tmp_path, HEAT.replace(old, new))

    with pytest.raises(InvalidDefinition) as caught:
        rules_role(Settings(rules_dirs=(rules,)))

    assert "rule.yaml" in str(caught.value)
    assert problem in str(caught.value)


def test_a_rule_cannot_take_the_name_of_another(tmp_path: Path) -> None:
    rules = directory(tmp_path, HEAT.replace("too-hot", "blocked-charging-point"))

    with pytest.raises(InvalidDefinition, match="stands in"):
        rules_role(Settings(rules_dirs=(rules,)))
