import sqlite3
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from subscribers.common.definitions import Definition
from subscribers.common.instants import Duration, to_instant
from subscribers.rules.engine import CompiledRule, RulesEngine
from subscribers.rules.model import Rule
from subscribers.rules.tables import MIGRATIONS, count_runs, read_runs
from tests.support.engine_bench import EngineBench
from tests.support.rule_lab import BLOCKED, rule_of

POINT, BAY = "urn:ngsi-ld:EVChargingPoint:1", "urn:ngsi-ld:ParkingSpot:1"
SUBJECT, LINKED = "blocked.subject", "blocked.linked"
PLACE = {"type": "Point", "coordinates": [0.34, 46.58]}


def at(minutes: float) -> datetime:
    return datetime(2026, 5, 2, 10, tzinfo=UTC) + timedelta(minutes=minutes)


def built(*rules: Rule, digest: str = "1") -> Callable[[sqlite3.Connection], RulesEngine]:
    compiled = [
        CompiledRule.compile(Definition(Path("rule.yaml"), digest, rule), Duration(0))
        for rule in rules
    ]
    return lambda connection: RulesEngine(connection, compiled)


@pytest.fixture
def bench() -> Iterator[EngineBench]:
    with EngineBench(MIGRATIONS, built(rule_of(BLOCKED))) as made:
        made.tell(SUBJECT, POINT, at(0), at(0), status="available", refParkingSpot=BAY)
        made.tell(LINKED, BAY, at(10), at(10), status="occupied", location=PLACE)
        made.advance(at(11))
        yield made


def test_an_alert_is_an_entity_with_its_evidence(bench: EngineBench) -> None:
    (alert,) = bench.advance(at(30))

    assert alert.pop("id").startswith("urn:ngsi-ld:Alert:blocked:")  # type: ignore[attr-defined]
    assert alert == {
        "type": "Alert",
        "name": {"type": "Property", "value": "Blocked"},
        "description": {
            "type": "Property",
            "value": f"{BAY} blocked since 2026-05-02T10:10:00.000Z at {POINT}",
        },
        "category": {"type": "Property", "value": "traffic"},
        "subCategory": {"type": "Property", "value": "carStopped"},
        "severity": {"type": "Property", "value": "medium"},
        "alertSource": {"type": "Relationship", "object": BAY},
        "dateIssued": {
            "type": "Property",
            "value": {"@type": "DateTime", "@value": "2026-05-02T10:25:00.000Z"},
        },
        "validFrom": {
            "type": "Property",
            "value": {"@type": "DateTime", "@value": "2026-05-02T10:10:00.000Z"},
        },
        "alertState": {
            "type": "Property",
            "value": "open",
            "observedAt": "2026-05-02T10:25:00.000Z",
        },
        "data": {
            "type": "Property",
            "value": {
                "rule": "blocked",
                "evidence": [
                    {"entity": POINT, "status": "available"},
                    {"entity": BAY, "status": "occupied"},
                ],
            },
        },
        "location": {"type": "GeoProperty", "value": PLACE},
    }


def test_clearing_it_closes_the_same_entity(bench: EngineBench) -> None:
    (opened,) = bench.advance(at(30))
    bench.tell(LINKED, BAY, at(40), at(40), status="free")

    (closed,) = bench.advance(at(41))

    assert closed == {
        "id": opened["id"],
        "alertState": {
            "type": "Property",
            "value": "closed",
            "observedAt": "2026-05-02T10:40:00.000Z",
        },
        "validTo": {
            "type": "Property",
            "value": {"@type": "DateTime", "@value": "2026-05-02T10:40:00.000Z"},
        },
    }


def test_the_evidence_is_that_of_the_moment_it_was_raised(bench: EngineBench) -> None:
    bench.tell(LINKED, BAY, at(40), at(40), status="free")

    opened, closed = bench.advance(at(41))

    assert opened["data"]["value"]["evidence"][1] == {"entity": BAY, "status": "occupied"}
    assert closed["id"] == opened["id"]


def test_a_timer_goes_on_after_a_restart(bench: EngineBench) -> None:
    bench.restart()

    assert len(bench.advance(at(30))) == 1


def test_an_alert_is_raised_once_across_restarts(bench: EngineBench) -> None:
    bench.advance(at(30))

    bench.restart()
    bench.tell(LINKED, BAY, at(31), at(10), status="occupied")

    assert bench.advance(at(60)) == []


def test_an_alert_worked_out_twice_has_the_same_id(bench: EngineBench) -> None:
    bench.engine.advance(to_instant(at(30)), to_instant(at(30)))
    lost = bench.engine.drain().statements

    bench.restart()
    (alert,) = bench.advance(at(30))

    assert alert["id"].encode() in next(p[2] for sql, p in lost if "outbox" in sql)


def test_observations_that_wait_are_kept_and_dropped_on_disk() -> None:
    patient = rule_of(BLOCKED, lateness="5min")
    with EngineBench(MIGRATIONS, built(patient)) as bench:
        bench.tell(SUBJECT, POINT, at(0), at(0), status="available", refParkingSpot=BAY)
        bench.tell(LINKED, BAY, at(10), at(10), status="occupied")
        bench.advance(at(10))

        waiting = bench.rows("waiting")
        bench.restart()

        assert waiting == 1
        assert len(bench.advance(at(30))) == 1
        assert bench.rows("waiting") == 0


def test_facts_about_what_is_gone_are_dropped(bench: EngineBench) -> None:
    bench.advance(at(30))

    bench.forget(LINKED, BAY, at(40))
    (closed,) = bench.advance(at(41))

    assert closed["alertState"]["value"] == "closed"
    assert bench.rows("facts") == 1
    assert list(bench.engine.known(LINKED)) == []
    assert list(bench.engine.known(SUBJECT)) == [POINT]


def test_the_alerts_of_a_rule_that_was_removed_are_closed(bench: EngineBench) -> None:
    (opened,) = bench.advance(at(30))

    bench.restart(built())
    (closed,) = bench.advance(at(50))

    assert (closed["id"], closed["alertState"]["value"]) == (opened["id"], "closed")
    assert [bench.rows(table) for table in ("facts", "alerts", "definitions")] == [0, 0, 0]
    assert bench.advance(at(60)) == []


def test_a_rule_whose_conditions_changed_is_asked_anew_on_what_is_known(
    bench: EngineBench,
) -> None:
    bench.advance(at(30))
    condition = {"attribute": "status", "is": "blocked"}
    stricter = rule_of(BLOCKED, subject={"type": "EVChargingPoint", "where": [condition]})

    bench.restart(built(stricter, digest="2"))
    (closed,) = bench.advance(at(50))

    assert closed["alertState"]["value"] == "closed"


def test_a_rule_that_was_only_reworded_leaves_its_alerts_open(bench: EngineBench) -> None:
    bench.advance(at(30))

    bench.restart(built(rule_of(BLOCKED, title="Reworded"), digest="2"))

    assert bench.advance(at(50)) == []
    assert bench.rows("alerts") == 1


def test_a_rule_may_lose_its_linked_part(bench: EngineBench) -> None:
    bench.advance(at(30))
    alone = {k: v for k, v in BLOCKED.items() if k != "linked"}
    rule = rule_of(alone, alert={**BLOCKED["alert"], "source": "subject"})

    bench.restart(built(rule, digest="2"))
    written = bench.advance(at(50))

    assert sorted(entity["alertState"]["value"] for entity in written) == ["closed", "open"]


def test_what_a_rule_did_stands_in_its_log(bench: EngineBench) -> None:
    bench.advance(at(30), wall=at(1000))
    bench.tell(LINKED, BAY, at(40), at(40), status="free")
    bench.advance(at(41), wall=at(1001))

    cleared, raised = read_runs(bench.connection, "blocked")

    assert raised == {
        "outcome": "raised",
        "at": "2026-05-02T10:25:00.000Z",
        "recordedAt": "2026-05-03T02:40:00.000Z",
        "subject": POINT,
        "linked": BAY,
        "since": "2026-05-02T10:10:00.000Z",
    }
    assert cleared["outcome"] == "cleared"
    assert bench.counts["rule_runs", "blocked", "raised"] == 1


def test_an_error_stands_in_the_log_with_the_entity() -> None:
    hot = {"type": "Probe", "where": [{"attribute": "temperature", "above": 35}]}
    alone = {k: v for k, v in BLOCKED.items() if k != "linked"}
    rule = rule_of(alone, subject=hot, alert={**BLOCKED["alert"], "source": "subject"})
    with EngineBench(MIGRATIONS, built(rule)) as bench:
        bench.tell(SUBJECT, POINT, at(1), at(1), temperature="hot")
        bench.advance(at(2))

        (error,) = read_runs(bench.connection, "blocked")

        assert error["entity"] == POINT
        assert error["problem"] == "temperature: expected a number, got 'hot'"
        assert bench.counts["rule_runs", "blocked", "error"] == 1


def test_the_log_of_a_rule_has_an_end() -> None:
    flapping = {"type": "Probe", "where": [{"attribute": "status", "is": "on"}]}
    alone = {k: v for k, v in BLOCKED.items() if k not in ("linked", "for")}
    rule = rule_of(alone, subject=flapping, alert={**BLOCKED["alert"], "source": "subject"})
    with EngineBench(MIGRATIONS, built(rule)) as bench:
        for number in range(1200):
            status = "on" if number % 2 else "off"
            bench.tell(SUBJECT, POINT, at(number), at(number), status=status)
        bench.advance(at(1200))

        assert sum(count_runs(bench.connection, "blocked").values()) == 1000
        assert read_runs(bench.connection, "blocked")[0]["at"] == "2026-05-03T05:59:00.000Z"


def test_rules_do_not_mix_up_their_entities() -> None:
    heat: Mapping[str, Any] = {
        **{k: v for k, v in BLOCKED.items() if k not in ("linked", "for")},
        "rule": "heat",
        "subject": {"type": "Probe", "where": [{"attribute": "temperature", "above": 35}]},
        "alert": {**BLOCKED["alert"], "source": "subject"},
    }
    with EngineBench(MIGRATIONS, built(rule_of(BLOCKED), rule_of(heat))) as bench:
        bench.tell("heat.subject", POINT, at(1), at(1), temperature=40)

        (alert,) = bench.advance(at(2))

        assert alert["data"]["value"]["rule"] == "heat"
