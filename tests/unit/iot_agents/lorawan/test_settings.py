"""The LoRaWAN agent's settings: what is wrong is said at the start, and no key is ever shown."""

from __future__ import annotations

from typing import Any

import pytest

from iot_agents.lorawan.settings import DownlinkSettings, LorawanSettings
from iot_agents.settings import Settings


@pytest.mark.parametrize(
    ("setting", "text", "reason"),
    [
        ("lorawan_servers", "s3cret", r"lorawan_servers\[0\]: expected network=…"),
        ("lorawan_servers", "loriot=mqtt://s3cret", "one of chirpstack, things-stack$"),
        ("lorawan_servers", "chirpstack=http://me:s3cret@a", "none of mqtt:// and mqtts://"),
        ("lorawan_servers", "chirpstack=mqtt://", "none of mqtt:// and mqtts://"),
        ("lorawan_downlinks", "pigeons=s3cret", r"lorawan_downlinks\[0\]: expected network=…"),
        ("lorawan_downlinks", "loriot=ftp://me:s3cret@a", "none of http:// and https://"),
        ("lorawan_downlinks", "loriot=http://a/{eui}?s3cret", r"\{eui\} is none of dev_eui"),
        ("lorawan_downlinks", "loriot=http://a/{?s3cret", "loriot: .*expected '}'"),
        ("lorawan_downlink_tokens", "s3cret", r"lorawan_downlink_tokens\[0\]"),
    ],
)
def test_a_wrong_entry_is_told_by_its_place_alone(setting: str, text: str, reason: str) -> None:
    members: dict[str, Any] = {setting: (text,)}
    settings = Settings(**members)

    with pytest.raises(ValueError, match=reason) as caught:
        (LorawanSettings.of(settings), DownlinkSettings.of(settings))

    assert "s3cret" not in str(caught.value)


def test_keys_are_not_in_what_settings_print() -> None:
    settings = Settings(
        lorawan_http_token="s3cret",
        lorawan_servers=("chirpstack=mqtt://me:s3cret@a",),
        lorawan_downlinks=("loriot=http://me:s3cret@a",),
        lorawan_downlink_tokens=("loriot=s3cret",),
    )

    shown = [repr(each) for each in (LorawanSettings.of(settings), DownlinkSettings.of(settings))]

    assert "s3cret" not in "".join(shown)


def test_servers_of_one_host_are_told_apart_by_their_users() -> None:
    urls = ("mqtt://one:a@host:1884", "mqtt://two:b@host:1884", "mqtts://host")
    settings = Settings(lorawan_servers=tuple(f"things-stack={url}" for url in urls))

    servers = LorawanSettings.of(settings).servers

    assert [server.name for server in servers] == ["one@host:1884", "two@host:1884", "host"]
    assert len({server.client_id("rigel") for server in servers}) == 3


def test_chirpstack_means_both_of_its_versions() -> None:
    settings = DownlinkSettings.of(Settings(lorawan_downlink_tokens=("chirpstack=key",)))

    assert dict(settings.tokens) == {"chirpstack-v4": "key", "chirpstack-v3": "key"}
