"""The command line: help for a newcomer, and mistakes that are explained."""

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from rigel.cli import build_parser, main


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_version_prints_the_installed_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out == f"rigel {version('rigel')}\n"


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "examples:" in capsys.readouterr().out


@pytest.mark.parametrize(
    "command",
    [
        "up",
        "demo",
        "broker",
        "agent",
        "rules",
        "kpi",
        "subscription",
        "history",
        "device",
        "mapping",
        "version",
    ],
)
def test_every_command_is_in_the_help_and_has_help_of_its_own(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert re.search(rf"\n    {command}\s", build_parser().format_help())

    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])

    assert ended.value.code == 0
    assert f"usage: rigel {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        (["history", "export", "--query", "type=Road", "roads.csv"], {"file": "roads.csv"}),
        (["device", "import", "--dry-run", "devices.csv"], {"what": "devices.csv"}),
        (["subscription", "explain", "--entity", "urn:x:1", "urn:x:2"], {"id": "urn:x:2"}),
        (["mapping", "try", "--json", "bay.yaml", "-"], {"payload": "-"}),
        (["device", "waiting", "--config", "city.yaml"], {"config": Path("city.yaml")}),
    ],
)
def test_options_of_an_action_may_stand_before_what_it_is_about(
    arguments: list[str], given: dict[str, object]
) -> None:
    parsed = vars(build_parser().parse_args(arguments))

    assert given.items() <= parsed.items()


@pytest.mark.parametrize(
    "arguments",
    [
        ["fly"],
        ["agent"],
        ["agent", "zigbee"],
        ["up", "--log-level", "loud"],
        ["up", "--fast"],
        ["device"],
        ["device", "show"],
        ["device", "list", "--dry-run"],
        ["subscription", "explain"],
        ["mapping", "check"],
    ],
    ids=[
        "command",
        "no protocol",
        "unknown protocol",
        "log level",
        "option",
        "no action",
        "no device",
        "another action's option",
        "no subscription",
        "no mapping",
    ],
)
def test_a_wrong_argument_ends_with_status_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == 2
    assert "rigel" in capsys.readouterr().err


def test_a_misspelt_variable_ends_with_status_2_and_the_nearest_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RIGEL_BROKER_PROT", "1026")

    assert main(["up"]) == 2
    assert "the nearest known name is RIGEL_BROKER_PORT" in capsys.readouterr().err


def test_the_command_is_installed() -> None:
    command = Path(sys.executable).with_name("rigel")

    done = subprocess.run([command, "version"], capture_output=True, text=True, check=True)  # noqa: S603 - our own command

    assert done.stdout == f"rigel {version('rigel')}\n"
