"""Where notifications go and with which headers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from broker.core.identifiers import DEFAULT_TENANT, Tenant
from broker.core.ld_context import CORE
from broker.core.subscription import Subscription
from broker.core.subscription_documents import parse
from broker.subscriptions.endpoints.target import MqttServer, MqttTarget, Target, target_of


def subscription(link: str | None = None, /, **members: Any) -> Subscription:
    endpoint = {"uri": "https://receiver.example/notify?key=1", **members.pop("endpoint", {})}
    document = {
        "type": "Subscription",
        "entities": [{"type": "Road"}],
        "notification": {"endpoint": endpoint},
        **members,
    }
    made = parse(document, CORE, datetime(2026, 5, 1, tzinfo=UTC))
    return made if link is None else msgspec.structs.replace(made, context_link=link)


def target(link: str | None = None, /, **members: Any) -> Target:
    return target_of(DEFAULT_TENANT, subscription(link, **members))


def pairs(**headers: str) -> list[dict[str, str]]:
    return [{"key": name.replace("_", "-"), "value": value} for name, value in headers.items()]


@pytest.mark.parametrize(
    ("uri", "lane"),
    [
        ("http://receiver.example/a", "http://receiver.example:80"),
        ("https://Receiver.example/b?c", "https://receiver.example:443"),
        ("http://receiver.example:8080/", "http://receiver.example:8080"),
        ("http://[::1]:9/", "http://::1:9"),
        ("mqtt://me:secret@broker.example/a", "mqtt://broker.example:1883"),
        ("mqtts://broker.example/a", "mqtts://broker.example:8883"),
    ],
)
def test_what_is_on_one_host_and_port_shares_a_lane(uri: str, lane: str) -> None:
    assert target(endpoint={"uri": uri}).lane == lane


def test_times_are_in_seconds() -> None:
    made = target(endpoint={"timeout": 1500, "cooldown": 250}, throttling=2)

    assert (made.timeout, made.cooldown, made.throttling) == (1.5, 0.25, 2.0)


def test_json_has_the_context_in_a_link_and_the_tenant_in_a_header() -> None:
    made = target_of(Tenant("north"), subscription("https://city.example/context.jsonld"))

    assert made.headers == {
        "Content-Type": "application/json",
        "Link": "<https://city.example/context.jsonld>; "
        'rel="http://www.w3.org/ns/json-ld#context"; type="application/ld+json"',
        "NGSILD-Tenant": "north",
    }


@pytest.mark.parametrize(
    ("accept", "info", "linked"),
    [
        ("application/ld+json", {}, False),
        ("application/geo+json", {}, False),
        ("application/geo+json", {"Prefer": "body=json"}, True),
    ],
)
def test_the_link_is_there_where_the_body_has_no_context(
    accept: str,
    info: dict[str, str],
    linked: bool,  # noqa: FBT001 - a table's column
) -> None:
    made = target(CORE.link, endpoint={"accept": accept, "receiverInfo": pairs(**info)})

    assert made.headers["Content-Type"] == accept
    assert ("Link" in made.headers) is linked


def test_the_receivers_own_headers_keep_their_case_and_replace_the_brokers() -> None:
    info = pairs(X_Api_KEY="a", authorization="Bearer b", content_type="application/x")

    headers = target(endpoint={"receiverInfo": info}).headers

    assert headers == {
        "X-Api-KEY": "a",
        "authorization": "Bearer b",
        "content-type": "application/x",
    }


def test_a_header_given_twice_is_sent_as_a_list() -> None:
    info = pairs(Via="one") + pairs(Via="two")

    assert target(endpoint={"receiverInfo": info}).headers["Via"] == "one, two"


def test_an_mqtt_uri_names_server_user_and_topic() -> None:
    info = pairs(MQTT_QoS="2", MQTT_Version="mqtt3.1.1")

    made = target(
        endpoint={"uri": "mqtts://me:s%40cret@broker.example:99/a/b%20c", "notifierInfo": info}
    )

    server = MqttServer("broker.example", 99, True, "mqtt3.1.1", "me", "s@cret")
    assert made.mqtt == MqttTarget(server, "a/b c", 2)
    assert "s@cret" not in repr(made.mqtt)


def test_without_notifier_info_it_is_mqtt_5_at_most_once() -> None:
    made = target(endpoint={"uri": "mqtt://broker.example/a"}).mqtt

    assert made is not None
    assert (made.server.version, made.qos) == ("mqtt5.0", 0)
    assert (made.server.user, made.server.password) == (None, None)
