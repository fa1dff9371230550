"""Read the settings once: RIGEL_* variables over rigel.yaml over the defaults."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_origin

import msgspec

from rigel.options import Option, options_of, sections_of
from smart_data_models import yaml12

PREFIX = "RIGEL_"
CONFIG_VARIABLE = "RIGEL_CONFIG"
CONFIG_FILE = "rigel.yaml"

T = TypeVar("T")


class SettingsError(Exception):
    """Something in the settings is wrong; the text has one line per mistake."""


def load(
    settings: type[T],
    environ: Mapping[str, str],
    *,
    file: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> T:
    """Return the settings, checked.

    Args:
        settings: the class to make, see `rigel.options`.
        environ: the environment; variables that do not begin with RIGEL_ are not looked at.
        file: what `--config` said; otherwise RIGEL_CONFIG says it, and otherwise a rigel.yaml in
            the working directory is taken when there is one.
        overrides: values by key (`broker.port`) that beat all others, as the command line does.

    Raises:
        SettingsError: an unknown name, a value of the wrong type, or an unreadable file.
    """
    options = tuple(options_of(settings))
    path = _config_path(environ, file)
    problems: list[str] = []
    values: dict[tuple[str, ...], Any] = {}
    sources = (
        _from_file(options, path, problems) if path is not None else (),
        _from_environment(options, environ, problems),
        _from_overrides(options, overrides or {}),
    )
    for source in sources:
        values.update(source)
    _inherit(options, values)
    if problems:
        raise SettingsError("\n".join(problems))
    made: T = _make(settings, values, ())
    return made


def _inherit(options: Iterable[Option], values: dict[tuple[str, ...], Any]) -> None:
    """Give what a section leaves open the value that was set above it under the same name."""
    for option in options:
        above = option.path[-1:]
        if option.path not in values and above in values:
            values[option.path] = values[above]


def _config_path(environ: Mapping[str, str], file: Path | None) -> Path | None:
    if file is not None:
        return file
    if named := environ.get(CONFIG_VARIABLE):
        return Path(named)
    usual = Path(CONFIG_FILE)
    return usual if usual.is_file() else None


def _from_file(
    options: Iterable[Option], path: Path, problems: list[str]
) -> Iterator[tuple[tuple[str, ...], Any]]:
    try:
        document = yaml12.load(path.read_text(encoding="utf-8"))
    except OSError as error:
        problems.append(f"{path}: {error.strerror}")
        return
    except ValueError as error:
        problems.append(f"{path}: {error}")
        return
    known: dict[yaml12.Path, Option] = {option.path: option for option in options}
    for keys, value in _leaves(document.value, known, ()):
        place = f"{path}: line {document.line(keys)}"
        key = ".".join(map(str, keys))
        option = known.get(keys)
        if option is None:
            nearest = _nearest(key, [option.key for option in options])
            problems.append(f"{place}: {key or 'the file'}: unknown key; {nearest}")
            continue
        try:
            yield option.path, _converted(option, value, strict=True)
        except msgspec.ValidationError as error:
            problems.append(_explained(f"{place}: {key}", option, value, error))


def _leaves(
    node: Any, known: Collection[yaml12.Path], path: yaml12.Path
) -> Iterator[tuple[yaml12.Path, Any]]:
    """Yield what stands under each key; a mapping is a section unless an option has its name."""
    if isinstance(node, Mapping) and path not in known:
        for key, value in node.items():
            yield from _leaves(value, known, (*path, key))
    elif node is not None or path in known or not _is_section(path, known):
        yield path, node


def _is_section(path: yaml12.Path, known: Iterable[yaml12.Path]) -> bool:
    return any(option[: len(path)] == path for option in known)


def _from_environment(
    options: Iterable[Option], environ: Mapping[str, str], problems: list[str]
) -> Iterator[tuple[tuple[str, ...], Any]]:
    known = {option.variable: option for option in options}
    for name, text in environ.items():
        # An empty variable is how compose files and CI say "not set".
        if not name.startswith(PREFIX) or name == CONFIG_VARIABLE or not text:
            continue
        option = known.get(name)
        if option is None:
            nearest = _nearest(name, [*known, CONFIG_VARIABLE])
            problems.append(f"{name}: unknown variable; {nearest}")
            continue
        try:
            yield option.path, _converted(option, _from_text(option, text), strict=False)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            problems.append(_explained(name, option, text, error))


def _from_overrides(
    options: Iterable[Option], overrides: Mapping[str, Any]
) -> Iterator[tuple[tuple[str, ...], Any]]:
    known = {option.key: option for option in options}
    for key, value in overrides.items():
        yield known[key].path, value


def _from_text(option: Option, text: str) -> Any:
    """Turn a variable's text into what a file would hold; a list is comma-separated or JSON."""
    if text[:1] in {"[", "{"} and option.type is not str:
        return msgspec.json.decode(text)
    if get_origin(option.type) in {tuple, list, frozenset, set}:
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def _converted(option: Option, value: Any, *, strict: bool) -> Any:
    return msgspec.convert(value, option.type, strict=strict, dec_hook=_decode)


def _decode(kind: type, value: Any) -> Any:
    if issubclass(kind, Path) and isinstance(value, str):
        return Path(value)
    raise ValueError(f"Expected `{kind.__name__}`, got `{type(value).__name__}`")


def _explained(name: str, option: Option, value: Any, error: Exception) -> str:
    shown = "" if option.secret else f", but it says {value!r}"
    return f"{name}: {str(error)[:1].lower()}{str(error)[1:]}{shown}"


def _nearest(name: str, known: Iterable[str]) -> str:
    # Without a cut-off there is always a nearest one, and naming it beats saying nothing.
    return f"the nearest known name is {get_close_matches(name, list(known), n=1, cutoff=0.0)[0]}"


def _make(kind: type, values: Mapping[tuple[str, ...], Any], path: tuple[str, ...]) -> Any:
    members: dict[str, Any] = {
        name: _make(section, values, (*path, name)) for name, section in sections_of(kind).items()
    }
    members |= {inner[-1]: value for inner, value in values.items() if inner[:-1] == path}
    try:
        return kind(**members)
    except ValueError as error:
        raise SettingsError(f"{'.'.join(path) or 'settings'}: {error}") from error
