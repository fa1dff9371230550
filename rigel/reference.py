"""Write docs/reference from the code: the settings and the command line."""

from __future__ import annotations

import argparse
import sys
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, Union, get_args, get_origin

from rigel.cli import build_parser, common_options
from rigel.options import Option, options_of
from rigel.settings import Settings

_SETTINGS_HEAD: Final = """\
# Settings

*Written from the code by `make docs`.*

Each setting has a name in the environment and a key in `rigel.yaml`. The environment beats the
file, and the file beats the default; `--data-dir` and `--log-level` on the command line beat both.
An unknown name or a value of the wrong type stops the start with an explanation.

The file is the one that `--config` or `RIGEL_CONFIG` names, or else `rigel.yaml` in the working
directory. It is read by the rules of YAML 1.2: `no`, `on` and `off` are text.

```yaml
data_dir: /var/lib/rigel
broker:
  port: 1026
agents:
  mqtt_url: mqtt://localhost:1883
```

In the environment a list is separated by commas, or written as JSON; an empty variable counts as
not set. What is set at the top (`data_dir`, `host`) holds for every section that does not set it.
"""

_COMMON: Final = "Option of all commands but `version`"

_CLI_HEAD: Final = """\
# Command line

*Written from the code by `make docs`.*

Exit status: 0 after a normal end, 1 after a failure, 2 when arguments or settings are wrong.
"""


def settings_page(settings: type = Settings) -> str:
    """Return the page about the settings."""
    sections: dict[str, list[Option]] = {}
    for option in options_of(settings):
        sections.setdefault(option.path[0] if len(option.path) > 1 else "", []).append(option)
    return _SETTINGS_HEAD + "".join(_section(name, found) for name, found in sections.items())


def cli_page() -> str:
    """Return the page about the command line."""
    parser = build_parser()
    commands = "".join(_command(f"rigel {name}", own) for name, own in _commands(parser))
    common = _table(_COMMON, _arguments(common_options()))
    return f"{_CLI_HEAD}\n{parser.description}\n{common}{commands}"


PAGES: Final = {"settings.md": settings_page, "cli.md": cli_page}


def main(arguments: Sequence[str]) -> None:
    """Write all pages into a directory."""
    directory = Path(arguments[0])
    directory.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (directory / name).write_text(page(), encoding="utf-8")


def _section(name: str, options: Sequence[Option]) -> str:
    rows = "".join(
        f"| `{option.variable}` | `{option.key}` | {_type(option.type)} "
        f"| {_default(option)} | {option.doc} |\n"
        for option in options
    )
    return (
        f"\n## {f'`{name}`' if name else 'For all sections'}\n\n"
        "| Variable | Key | Type | Default | What it does |\n| --- | --- | --- | --- | --- |\n"
        f"{rows}"
    )


_WORDS: Final[Mapping[Any, str]] = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "true or false",
    Path: "path",
}


def _type(kind: Any) -> str:
    if kind in _WORDS:
        return _WORDS[kind]
    inner = [part for part in get_args(kind) if part not in {type(None), Ellipsis}]
    if get_origin(kind) is Literal:
        return " or ".join(f"`{word}`" for word in inner)
    if get_origin(kind) in {Union, types.UnionType}:
        return " or ".join(map(_type, inner))
    return "list of " + " or ".join(map(_type, inner))


def _default(option: Option) -> str:
    if option.default is None or option.default in {"", ()}:
        return ""
    if isinstance(option.default, bool):
        return f"`{str(option.default).lower()}`"
    if isinstance(option.default, tuple):
        return ", ".join(f"`{item}`" for item in option.default)
    return f"`{option.default}`"


# argparse's own help text differs between Python versions, so its parts are laid out here.
def _command(name: str, parser: argparse.ArgumentParser) -> str:
    common = {_name(action) for action in _arguments(common_options())}
    own = [action for action in _arguments(parser) if _name(action) not in common]
    inner = "".join(_command(f"{name} {word}", found) for word, found in _commands(parser))
    level = "#" * (name.count(" ") + 1)
    table = f"\n{_table('Argument', own)}" if own else ""
    return f"\n{level} `{name}`\n\n{parser.description}\n{table}{inner}"


def _table(head: str, arguments: Iterable[argparse.Action]) -> str:
    rows = "".join(f"| `{_name(a)}` | {_choices(a)}{a.help} |\n" for a in arguments)
    return f"| {head} | What it does |\n| --- | --- |\n{rows}"


def _arguments(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:  # noqa: SLF001 - argparse offers no other way to list them
        if not isinstance(action, (argparse._HelpAction, argparse._SubParsersAction)):  # noqa: SLF001
            yield action


def _name(action: argparse.Action) -> str:
    if not action.option_strings:
        return _metavar(action) or action.dest
    return " ".join(filter(None, (action.option_strings[-1], _metavar(action))))


def _metavar(action: argparse.Action) -> str:
    return action.metavar if isinstance(action.metavar, str) else ""


def _choices(action: argparse.Action) -> str:
    if action.choices is None or _metavar(action):
        return ""
    return ", ".join(f"`{choice}`" for choice in action.choices) + ": "


def _commands(
    parser: argparse.ArgumentParser,
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:  # noqa: SLF001 - as above
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            yield from action.choices.items()


if __name__ == "__main__":
    main(sys.argv[1:])
