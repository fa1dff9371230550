"""Settings are read once, checked, and a mistake names what was probably meant."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

import rigel.settings
from rigel.config import SettingsError, load


@dataclass(frozen=True, slots=True)
class Broker:
    port: int = 1026
    data_dir: Path = Path("rigel-data")
    timeout: float = 5.0
    fetch: bool = True


@dataclass(frozen=True, slots=True)
class Agents:
    mqtt_url: str = ""
    topics: tuple[str, ...] = ("application/#",)
    tokens: tuple[str, ...] = ()
    validation: Literal["off", "warn"] = "warn"
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    data_dir: Path = Path("rigel-data")
    broker: Broker = field(default_factory=Broker)
    agents: Agents = field(default_factory=Agents)

    def __post_init__(self) -> None:
        if self.broker.port < 0:
            raise ValueError("a port is not below 0")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "rigel.yaml"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_without_anything_said_the_defaults_hold() -> None:
    assert load(Settings, {"HOME": "/root", "BROKER_PORT": "1"}) == Settings()


def test_a_variable_beats_the_file_and_the_file_beats_the_default(file: Path) -> None:
    file.write_text("broker: {port: 2000, timeout: 7}\n")

    settings = load(Settings, {"RIGEL_BROKER_PORT": "3000"}, file=file)

    assert settings.broker == Broker(port=3000, timeout=7.0)


def test_the_command_line_beats_a_variable() -> None:
    settings = load(Settings, {"RIGEL_DATA_DIR": "a"}, overrides={"data_dir": Path("b")})

    assert settings.data_dir == Path("b")


def test_the_file_is_named_by_a_variable(file: Path) -> None:
    other = file.with_name("other.yaml")
    other.write_text("broker:\n  port: 2000\n")

    assert load(Settings, {"RIGEL_CONFIG": str(other)}).broker.port == 2000


def test_a_rigel_yaml_in_the_working_directory_is_taken(file: Path) -> None:
    file.write_text("broker:\n  port: 2000\n")

    assert load(Settings, {}).broker.port == 2000


@pytest.mark.parametrize("text", ["# nothing yet\n", "broker:\n"], ids=["file", "section"])
def test_what_is_empty_says_nothing(file: Path, text: str) -> None:
    file.write_text(text)

    assert load(Settings, {}, file=file) == Settings()


def test_a_section_takes_what_is_set_above_it_under_the_same_name() -> None:
    settings = load(Settings, {"RIGEL_DATA_DIR": "here"})

    assert settings.broker.data_dir == Path("here")


def test_a_section_may_differ_from_what_is_set_above_it() -> None:
    environ = {"RIGEL_DATA_DIR": "here", "RIGEL_BROKER_DATA_DIR": "there"}

    settings = load(Settings, environ)

    assert (settings.data_dir, settings.broker.data_dir) == (Path("here"), Path("there"))


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("RIGEL_AGENTS_TOPICS", "a/+/b, c/#", ("a/+/b", "c/#")),
        ("RIGEL_AGENTS_TOPICS", '["a,b"]', ("a,b",)),
        ("RIGEL_AGENTS_VALIDATION", "off", "off"),
        ("RIGEL_AGENTS_CA_FILE", "ca.pem", Path("ca.pem")),
        ("RIGEL_AGENTS_MQTT_URL", "", ""),
    ],
    ids=["list by comma", "list as JSON", "one of some words", "path", "empty is not set"],
)
def test_a_variable_is_read_as_what_the_setting_is(name: str, text: str, value: object) -> None:
    agents = load(Settings, {name: text}).agents

    assert getattr(agents, name.removeprefix("RIGEL_AGENTS_").lower()) == value


@pytest.mark.parametrize("text", ["false", "0"])
def test_a_variable_can_say_no(text: str) -> None:
    assert load(Settings, {"RIGEL_BROKER_FETCH": text}).broker.fetch is False


@pytest.mark.parametrize(
    ("environ", "complaint"),
    [
        (
            {"RIGEL_BROKER_PROT": "1"},
            "RIGEL_BROKER_PROT: unknown variable; the nearest known name is RIGEL_BROKER_PORT",
        ),
        (
            {"RIGEL_BROKER_PORT": "many"},
            "RIGEL_BROKER_PORT: expected `int`, got `str`, but it says 'many'",
        ),
        (
            {"RIGEL_AGENTS_VALIDATION": "strict"},
            "RIGEL_AGENTS_VALIDATION: invalid enum value 'strict', but it says 'strict'",
        ),
        ({"RIGEL_BROKER_PORT": "-1"}, "settings: a port is not below 0"),
        ({"RIGEL_CONFIG": "absent.yaml"}, "absent.yaml: No such file or directory"),
    ],
    ids=["unknown name", "wrong type", "unknown word", "refused by the class", "no file"],
)
def test_a_mistake_in_the_environment_is_explained(environ: dict[str, str], complaint: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(Settings, environ)

    assert str(caught.value) == complaint


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("broker: {prot: 1}", "broker.prot: unknown key; the nearest known name is broker.port"),
        ("brokers: {port: 1}", "brokers.port: unknown key; the nearest known name is broker.port"),
        ('broker: {port: "1"}', "broker.port: expected `int`, got `str`, but it says '1'"),
        ("agents: {topics: a}", "agents.topics: expected `array`, got `str`, but it says 'a'"),
        ("broker: 5", "broker: unknown key; the nearest known name is broker.port"),
        ("tokens:", "tokens: unknown key; the nearest known name is agents.tokens"),
        ("agents: {validation: off}", None),
    ],
    ids=[
        "key",
        "section",
        "type",
        "list",
        "section is a value",
        "key without value",
        "off is a word",
    ],
)
def test_a_mistake_in_the_file_is_explained(file: Path, text: str, complaint: str | None) -> None:
    file.write_text(text)

    try:
        load(Settings, {}, file=file)
        said = None
    except SettingsError as error:
        said = str(error)

    assert said == (complaint and f"{file}: line 1: {complaint}")


def test_all_mistakes_are_told_at_once(file: Path) -> None:
    file.write_text("broker: {prot: 1}")

    with pytest.raises(SettingsError) as caught:
        load(Settings, {"RIGEL_BROKER_PORT": "x", "RIGEL_NOPE": "1"}, file=file)

    assert len(str(caught.value).splitlines()) == 3


def test_a_secret_is_not_shown_in_a_complaint(file: Path) -> None:
    file.write_text("agents: {tokens: s3cret}")

    with pytest.raises(SettingsError, match=r"agents\.tokens: expected") as caught:
        load(Settings, {}, file=file)

    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "key",
    [
        "lorawan_downlink_tokens",
        "lorawan_downlinks",
        "lorawan_http_token",
        "lorawan_servers",
        "mqtt_url",
        "ocpi_tokens",
    ],
)
def test_what_can_hold_a_key_of_the_agents_is_never_shown(file: Path, key: str) -> None:
    file.write_text(f"agents: {{{key}: {{a: s3cret}}}}")

    with pytest.raises(SettingsError, match=rf"agents\.{key}") as caught:
        load(rigel.settings.Settings, {}, file=file)

    assert "s3cret" not in str(caught.value)
