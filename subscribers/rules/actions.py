"""What is written to the broker when a rule's conditions are met, and when they no longer are.

An alert's id is made of the rule, the pair and the instant its conditions became true, so that one
trigger makes one alert, however often it is worked out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from subscribers.common.instants import Instant, date_time, to_text
from subscribers.common.outbox import Operation, Write
from subscribers.rules.evaluate import Cleared, Raised
from subscribers.rules.knowledge import LINKED, Pair
from subscribers.rules.model import Rule

_DIGITS: Final = 20


def alert_id(rule: str, pair: Pair, since: Instant) -> str:
    """Return the id of the alert of one trigger."""
    trigger = "\n".join((rule, pair.subject, pair.linked, str(since)))
    return f"urn:ngsi-ld:Alert:{rule}:{hashlib.sha256(trigger.encode()).hexdigest()[:_DIGITS]}"


def open_alert(rule: Rule, raised: Raised, location: Mapping[str, Any] | None) -> Write:
    """Return the alert as it is raised."""
    pair, text = raised.pair, rule.alert
    entity_id = alert_id(rule.name, pair, raised.since)
    source = pair.linked if text.source == LINKED else pair.subject
    evidence = [{"entity": entity, **values} for entity, values in raised.evidence.items()]
    entity = {
        "id": entity_id,
        "type": "Alert",
        "name": _property(rule.title),
        "description": _property(text.describe(pair.subject, pair.linked, to_text(raised.since))),
        "category": _property(text.category),
        "severity": _property(text.severity),
        "alertSource": {"type": "Relationship", "object": source},
        "dateIssued": _property(date_time(raised.at)),
        "validFrom": _property(date_time(raised.since)),
        "alertState": _property("open", raised.at),
        "data": _property({"rule": rule.name, "evidence": evidence}),
    }
    if text.sub_category is not None:
        entity["subCategory"] = _property(text.sub_category)
    if location is not None:
        entity["location"] = {"type": "GeoProperty", "value": location}
    return Write(f"open {entity_id}", Operation.CREATE, entity)


def close_alert(rule: str, cleared: Cleared) -> Write:
    """Return what changes in an alert when it is cleared."""
    entity_id = alert_id(rule, cleared.pair, cleared.since)
    entity = {
        "id": entity_id,
        "alertState": _property("closed", cleared.at),
        "validTo": _property(date_time(cleared.at)),
    }
    return Write(f"close {entity_id}", Operation.APPEND, entity)


def _property(value: Any, observed_at: Instant | None = None) -> dict[str, Any]:
    instance = {"type": "Property", "value": value}
    if observed_at is not None:
        instance["observedAt"] = to_text(observed_at)
    return instance
