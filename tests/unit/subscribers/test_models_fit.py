"""What subscribers write fits the Smart Data Models, whole and without unknown names."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from smart_data_models.catalogue import Catalogue
from smart_data_models.validator import Mode, Validator
from subscribers.kpi.publish import closed_value, running_value
from subscribers.kpi.windows import window_at
from subscribers.rules.actions import close_alert, open_alert
from subscribers.rules.evaluate import Cleared, Raised
from subscribers.rules.knowledge import Pair
from tests.support.kpi_bench import OCCUPANCY, kpi_of
from tests.support.rule_lab import BLOCKED, minute, rule_of

VALIDATOR = Validator(Catalogue.packaged(), default=Mode.REJECT)
PAIR = Pair("urn:ngsi-ld:EVChargingPoint:1", "urn:ngsi-ld:ParkingSpot:1")
GROUP = "urn:ngsi-ld:ParkingGroup:1"


def test_an_alert_is_an_alert() -> None:
    raised = Raised(minute(15), PAIR, minute(0), {PAIR.linked: {"status": "occupied"}})
    write = open_alert(rule_of(BLOCKED), raised, {"type": "Point", "coordinates": [0.34, 46.58]})

    assert VALIDATOR.check(write.entity, whole=True).problems == ()


def test_what_closes_an_alert_is_part_of_one() -> None:
    write = close_alert("blocked", Cleared(minute(20), PAIR, minute(0)))

    assert VALIDATOR.check({**write.entity, "type": "Alert"}).problems == ()


def test_a_kpi_is_a_key_performance_indicator() -> None:
    window = window_at("day", ZoneInfo("Europe/Paris"), minute(0))
    kpi = kpi_of(OCCUPANCY, description="How full it is")

    write = closed_value(kpi, GROUP, window, 0.5)

    assert VALIDATOR.check(write.entity, whole=True).problems == ()


def test_a_running_value_is_part_of_an_indicator() -> None:
    write = running_value(kpi_of(OCCUPANCY), GROUP, 0.5, minute(0))

    assert VALIDATOR.check(write.entity, whole=True).problems == ()
