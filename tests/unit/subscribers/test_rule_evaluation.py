from typing import Any

import pytest

from subscribers.rules.knowledge import Pair
from tests.support.rule_lab import BLOCKED, RuleLab, minute

POINT, BAY = "urn:ngsi-ld:EVChargingPoint:1", "urn:ngsi-ld:ParkingSpot:1"
OTHER_BAY = "urn:ngsi-ld:ParkingSpot:2"
PAIR = f"{POINT} {BAY}"


def single(*where: dict[str, Any], **changes: Any) -> dict[str, Any]:
    document = {k: v for k, v in BLOCKED.items() if k not in ("linked", "for")}
    alert = {**BLOCKED["alert"], "source": "subject"}
    return {**document, "subject": {"type": "Probe", "where": where}, "alert": alert, **changes}


@pytest.fixture
def lab() -> RuleLab:
    lab = RuleLab()
    lab.link(POINT, BAY)
    lab.tell("subject", POINT, 0, status="available")
    return lab


def test_an_alert_is_raised_when_the_conditions_have_been_true_for_long_enough(
    lab: RuleLab,
) -> None:
    lab.tell("linked", BAY, 10, status="occupied")

    assert lab.pass_to(24.9) == []
    assert lab.pass_to(25) == [("raised", 25, PAIR)]
    assert lab.pass_to(500) == []


def test_it_is_cleared_when_one_of_them_is_no_longer_true(lab: RuleLab) -> None:
    lab.tell("linked", BAY, 10, status="occupied")
    lab.pass_to(30)
    lab.tell("subject", POINT, 40, status="charging")

    assert lab.pass_to(41) == [("cleared", 40, f"{PAIR} since 10")]


def test_a_short_stay_raises_nothing(lab: RuleLab) -> None:
    lab.tell("linked", BAY, 10, status="occupied")
    lab.tell("linked", BAY, 24, status="free")

    assert lab.pass_to(500) == []


def test_an_interruption_starts_the_time_anew(lab: RuleLab) -> None:
    lab.tell("linked", BAY, 10, status="occupied")
    lab.tell("subject", POINT, 20, status="charging")
    lab.tell("subject", POINT, 21, status="available")

    assert lab.pass_to(500) == [("raised", 36, PAIR)]


def test_a_heartbeat_with_the_same_state_does_not_start_the_time_anew(lab: RuleLab) -> None:
    lab.tell("linked", BAY, 10, status="occupied")
    lab.tell("linked", BAY, 20, status="occupied")

    assert lab.pass_to(25) == [("raised", 25, PAIR)]


def test_another_value_that_fits_too_does_not_start_the_time_anew(lab: RuleLab) -> None:
    lab.tell("linked", BAY, 10, status="occupied")
    lab.tell("subject", POINT, 20, status="blocked")

    assert lab.pass_to(25) == [("raised", 25, PAIR)]


def test_true_for_exactly_as_long_as_the_rule_says_is_long_enough(lab: RuleLab) -> None:
    lab.tell("linked", BAY, 10, status="occupied")
    lab.tell("linked", BAY, 25, status="free")

    assert lab.pass_to(26) == [("raised", 25, PAIR), ("cleared", 25, f"{PAIR} since 10")]


def test_each_trigger_raises_an_alert_of_its_own(lab: RuleLab) -> None:
    lab.tell("linked", BAY, 10, status="occupied")
    lab.tell("linked", BAY, 30, status="free")
    lab.tell("linked", BAY, 40, status="occupied")

    assert [event[:2] for event in lab.pass_to(60)] == [
        ("raised", 25),
        ("cleared", 30),
        ("raised", 55),
    ]


def test_what_is_told_twice_changes_nothing(lab: RuleLab) -> None:
    for _ in range(2):
        lab.tell("linked", BAY, 10, status="occupied")
    lab.pass_to(30)
    lab.tell("linked", BAY, 10, status="occupied")

    assert lab.pass_to(31) == []
    assert lab.evaluation.outcomes["known"] == 2


def test_older_news_than_what_is_known_change_nothing(lab: RuleLab) -> None:
    lab.tell("linked", BAY, 10, status="occupied")
    lab.pass_to(12)
    lab.tell("linked", BAY, 9, status="free")

    assert lab.pass_to(25) == [("raised", 25, PAIR)]


def test_within_the_lateness_the_order_of_arrival_does_not_matter() -> None:
    lab = RuleLab(lateness="5min")
    lab.link(POINT, BAY)
    lab.tell("subject", POINT, 0, status="available")
    lab.tell("linked", BAY, 10, status="occupied")
    lab.pass_to(28)
    lab.tell("subject", POINT, 24, status="charging")

    assert lab.pass_to(100) == []


def test_an_alert_waits_for_the_lateness_to_pass() -> None:
    lab = RuleLab(lateness="5min")
    lab.link(POINT, BAY)
    lab.tell("subject", POINT, 0, status="available")
    lab.tell("linked", BAY, 10, status="occupied")

    assert lab.pass_to(29.9) == []
    assert lab.pass_to(30) == [("raised", 25, PAIR)]


def test_news_that_come_later_than_allowed_are_taken_as_they_come() -> None:
    lab = RuleLab(lateness="5min")
    lab.link(POINT, BAY)
    lab.tell("subject", POINT, 0, status="available")
    lab.pass_to(60)
    lab.tell("linked", BAY, 20, status="occupied")

    assert lab.pass_to(60) == [("raised", 35, PAIR)]
    assert lab.evaluation.outcomes["late"] == 1


def test_an_alert_that_late_news_prove_wrong_is_cleared() -> None:
    lab = RuleLab(lateness="5min")
    lab.link(POINT, BAY)
    lab.tell("subject", POINT, 0, status="available")
    lab.tell("linked", BAY, 10, status="occupied")
    lab.pass_to(40)
    lab.tell("linked", BAY, 12, status="free")

    assert lab.happened() == [("cleared", 12, f"{PAIR} since 10")]


def test_a_timer_survives_a_restart(lab: RuleLab) -> None:
    lab.tell("linked", BAY, 10, status="occupied")
    lab.pass_to(20)

    lab.restart()

    assert lab.pass_to(60) == [("raised", 25, PAIR)]


def test_an_open_alert_survives_a_restart_and_is_not_raised_again(lab: RuleLab) -> None:
    lab.tell("linked", BAY, 10, status="occupied")
    lab.pass_to(30)

    lab.restart()
    lab.tell("linked", BAY, 10, status="occupied")

    assert lab.pass_to(60) == []
    assert list(lab.evaluation.alerts) == [Pair(POINT, BAY)]


def test_a_timer_that_ran_out_while_the_process_was_down_is_judged_by_what_came_meanwhile(
    lab: RuleLab,
) -> None:
    lab.tell("linked", BAY, 10, status="occupied")
    lab.pass_to(12)
    lab.restart()

    lab.tell("linked", BAY, 20, status="free")

    assert lab.pass_to(60) == []


def test_an_alert_is_raised_and_cleared_at_once_when_both_lie_in_the_past(lab: RuleLab) -> None:
    lab.tell("linked", BAY, 10, status="occupied")
    lab.pass_to(12)
    lab.restart()

    lab.tell("linked", BAY, 40, status="free")

    assert [event[:2] for event in lab.pass_to(60)] == [("raised", 25), ("cleared", 40)]


def test_observations_that_wait_survive_a_restart() -> None:
    lab = RuleLab(lateness="5min")
    lab.link(POINT, BAY)
    lab.tell("subject", POINT, 0, status="available")
    lab.tell("linked", BAY, 10, status="occupied")

    lab.restart()

    assert lab.pass_to(30) == [("raised", 25, PAIR)]


def test_nothing_is_decided_while_a_condition_cannot_be_answered() -> None:
    lab = RuleLab()
    lab.link(POINT, BAY)
    lab.tell("linked", BAY, 10, status="occupied")

    assert lab.pass_to(500) == []


def test_the_link_may_become_known_last() -> None:
    lab = RuleLab()
    lab.tell("subject", POINT, 0, status="available")
    lab.tell("linked", BAY, 10, status="occupied")
    lab.pass_to(60)

    lab.link(POINT, BAY)

    assert lab.happened() == [("raised", 25, PAIR)]


def test_an_alert_is_cleared_when_the_link_leads_elsewhere(lab: RuleLab) -> None:
    lab.tell("linked", BAY, 10, status="occupied")
    lab.pass_to(30)

    lab.link(POINT, OTHER_BAY)

    assert lab.happened() == [("cleared", 30, f"{PAIR} since 10")]


def test_a_link_that_changed_before_time_began_clears_the_alert_then(lab: RuleLab) -> None:
    lab.tell("linked", BAY, 10, status="occupied")
    lab.pass_to(30)
    lab.restart()

    lab.link(POINT, OTHER_BAY)

    assert lab.happened() == []
    assert lab.pass_to(50) == [("cleared", 50, f"{PAIR} since 10")]


def test_each_linked_entity_has_an_alert_of_its_own(lab: RuleLab) -> None:
    lab.link(POINT, BAY, OTHER_BAY)
    lab.tell("linked", BAY, 10, status="occupied")
    lab.tell("linked", OTHER_BAY, 11, status="occupied")

    assert lab.pass_to(60) == [("raised", 25, PAIR), ("raised", 26, f"{POINT} {OTHER_BAY}")]


@pytest.mark.parametrize(
    ("part", "entity_id"), [("subject", POINT), ("linked", BAY)], ids=["subject", "linked"]
)
def test_an_alert_is_cleared_when_an_entity_is_gone(
    lab: RuleLab, part: str, entity_id: str
) -> None:
    lab.tell("linked", BAY, 10, status="occupied")
    lab.pass_to(30)

    lab.forget(part, entity_id, 40)

    assert lab.happened() == [("cleared", 40, f"{PAIR} since 10")]
    assert lab.pass_to(500) == []


def test_a_timer_stops_when_an_entity_is_gone(lab: RuleLab) -> None:
    lab.tell("linked", BAY, 10, status="occupied")
    lab.pass_to(20)

    lab.forget("linked", BAY, 21)

    assert lab.pass_to(500) == []


def test_an_observation_that_waits_is_dropped_with_its_entity() -> None:
    lab = RuleLab(lateness="5min")
    lab.link(POINT, BAY)
    lab.tell("subject", POINT, 0, status="available")
    lab.tell("linked", BAY, 10, status="occupied")

    lab.forget("linked", BAY, 11)

    assert lab.pass_to(500) == []
    assert lab.evaluation.waiting == {}


def test_a_rule_without_a_duration_raises_at_once() -> None:
    lab = RuleLab(single({"attribute": "temperature", "above": 35}))
    lab.tell("subject", POINT, 1, temperature=36.5)
    lab.tell("subject", POINT, 2, temperature=34)

    assert [event[:2] for event in lab.pass_to(3)] == [("raised", 1), ("cleared", 2)]


def test_all_conditions_of_an_entity_must_be_true_together() -> None:
    hot_and_dry = (
        {"attribute": "temperature", "above": 35},
        {"attribute": "humidity", "below": 0.2},
    )
    lab = RuleLab(single(*hot_and_dry, **{"for": "10min"}))
    lab.tell("subject", POINT, 1, temperature=36)
    lab.tell("subject", POINT, 5, humidity=0.1)

    assert lab.pass_to(60) == [("raised", 15, POINT)]


def test_silence_raises_an_alert_and_a_sign_of_life_clears_it() -> None:
    lab = RuleLab(single({"attribute": "soilMoisture", "silentFor": "60min"}))
    lab.tell("subject", POINT, 0, soilMoisture=3)
    lab.tell("subject", POINT, 30, soilMoisture=3)
    lab.pass_to(31)

    assert lab.pass_to(89.9) == []
    assert lab.pass_to(90) == [("raised", 90, POINT)]

    lab.tell("subject", POINT, 100, soilMoisture=3)

    assert lab.pass_to(101) == [("cleared", 100, f"{POINT} since 90")]
    assert lab.pass_to(160) == [("raised", 160, POINT)]


def test_silence_is_watched_on_after_a_restart() -> None:
    lab = RuleLab(single({"attribute": "soilMoisture", "silentFor": "60min"}))
    lab.tell("subject", POINT, 0, soilMoisture=3)
    lab.pass_to(1)

    lab.restart()

    assert lab.pass_to(61) == [("raised", 60, POINT)]


def test_a_query_can_say_what_conditions_cannot() -> None:
    document = single()
    document["subject"] = {"type": "Probe", "q": "temperature>35|humidity<0.1"}
    lab = RuleLab(document)
    lab.tell("subject", POINT, 1, temperature=20)
    lab.tell("subject", POINT, 2, humidity=0.05)
    lab.tell("subject", POINT, 3, temperature=40)
    lab.tell("subject", POINT, 4, humidity=0.5)
    lab.tell("subject", POINT, 5, temperature=10)

    assert [event[:2] for event in lab.pass_to(9)] == [("raised", 2), ("cleared", 5)]


def test_a_value_that_cannot_be_compared_is_an_error_with_the_entity() -> None:
    lab = RuleLab(single({"attribute": "temperature", "above": 35}))
    lab.tell("subject", POINT, 1, temperature=36)
    lab.tell("subject", POINT, 2, temperature="hot")

    raised, failed, cleared = lab.pass_to(3)

    assert (raised[0], cleared[0]) == ("raised", "cleared")
    assert failed == ("failed", 2, "temperature: expected a number, got 'hot'")


def test_an_observation_without_a_time_counts_as_observed_now() -> None:
    lab = RuleLab(single({"attribute": "status", "is": "on"}, **{"for": "5min"}))
    lab.tell("subject", POINT, None, status="on")

    assert lab.pass_to(5) == [("raised", 5, POINT)]


def test_an_alert_tells_the_evidence_and_the_place_of_its_source(lab: RuleLab) -> None:
    place = {"type": "Point", "coordinates": [0.34, 46.58]}
    lab.tell("linked", BAY, 10, status="occupied", location=place)

    lab.evaluation.advance(minute(30))

    (raised,) = lab.evaluation.events
    assert raised.evidence == {POINT: {"status": "available"}, BAY: {"status": "occupied"}}  # type: ignore[union-attr]
    assert lab.evaluation.knowledge.location(Pair(POINT, BAY), "linked") == place
