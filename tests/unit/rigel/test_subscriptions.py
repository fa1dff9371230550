"""`rigel subscription` against a broker that runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.client import BrokerRefused, BrokerUnreachable, Client
from rigel import subscriptions
from rigel.cli import build_parser
from rigel.settings import Settings
from tests.support.builders import entity, prop
from tests.support.eventually import eventually
from tests.support.receiver import answering, first, receiver
from tests.support.serve import running_broker

ROADS = "urn:ngsi-ld:Subscription:roads"


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    async with running_broker(tmp_path, notification_attempts=1) as broker:
        yield broker.url


async def subscribe(url: str, uri: str, **members: object) -> None:
    """Subscribe to roads and create one."""
    async with Client.connect(url) as client:
        await client.create_subscription(
            {
                "id": ROADS,
                "type": "Subscription",
                "entities": [{"type": "Road"}],
                "notification": {"endpoint": {"uri": uri}},
                **members,
            }
        )
        await client.create_entity(entity(7, "Road", speed=prop(50)))


async def said(url: str, *words: str) -> int:
    """Run the command as the command line does."""
    given = build_parser().parse_args(["subscription", *words, "--url", url])
    return await subscriptions.run(Settings(), given)


async def test_list_shows_every_subscription(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    await subscribe(url, "http://127.0.0.1:9/", isActive=False)

    assert await said(url, "list") == 0

    printed = f"{ROADS}  paused  sent 0, failed 0  http://127.0.0.1:9/\n"
    assert capsys.readouterr().out == printed


async def test_explain_shows_what_stopped_a_change(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await subscribe(url, "http://127.0.0.1:9/", q="speed>60")

    assert await said(url, "explain", ROADS, "--entity", "urn:ngsi-ld:Road:7") == 0

    printed = capsys.readouterr().out
    assert "  stopped by q\n" in printed
    assert '    q: asked for "speed>60", saw {"speed":50}\n' in printed
    assert "an update of urn:ngsi-ld:Road:7 would not be notified now\n" in printed


async def test_test_fails_when_the_receiver_refuses(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with receiver(first(2, answering(403))) as there:
        await subscribe(url, there.url())
        await there.received(1)

        assert await said(url, "test", ROADS) == 1
        assert await said(url, "test", ROADS) == 0

    printed = capsys.readouterr().out
    assert "it failed: answered 403" in printed
    assert "it was taken" in printed


async def test_letters_are_shown_replayed_and_purged(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def is_given_up() -> bool:
        await said(url, "letters", ROADS)
        return "answered 500" in capsys.readouterr().out

    async with receiver(first(1, answering(500))) as there:
        await subscribe(url, there.url())
        await eventually(is_given_up)

        assert await said(url, "replay", ROADS) == 0
        (received,) = await there.has_accepted(1)
        assert await said(url, "purge", ROADS) == 0

    printed = capsys.readouterr().out
    assert f"1 notifications wait for delivery again\n  {received.id}\n" in printed
    assert "0 dead letters deleted" in printed


async def test_a_subscription_that_is_not_there_is_refused(url: str) -> None:
    with pytest.raises(BrokerRefused, match="there is no subscription"):
        await said(url, "explain", ROADS)


async def test_a_broker_that_is_not_there_is_told_from_one_that_refuses() -> None:
    with pytest.raises(BrokerUnreachable):
        await said("http://127.0.0.1:9", "list")


async def test_explain_tells_the_moments_of_a_periodic_subscription(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await subscribe(url, "http://127.0.0.1:9/", timeInterval=3600, q="speed>60")

    assert await said(url, "explain", ROADS) == 0

    printed = capsys.readouterr().out
    assert "every 3600 s, next at " in printed
    assert "0 match" in printed
    assert "stopped by no entity matches" in printed
