"""The command `rigel mapping`: check mappings, try one on a payload, start one from a sample."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from iot_agents.common.codecs.catalogue import Codecs
from iot_agents.common.codecs.sandbox import Sandbox, SandboxLimits
from iot_agents.common.mapping.apply import apply
from iot_agents.common.mapping.loader import TABLES, Loader
from iot_agents.common.mapping.model import InvalidMapping, MappingError
from iot_agents.common.mapping.scaffold import Sample, scaffold
from iot_agents.common.mapping.trial import Trial, example_problems, tried
from rigel.actions import AddAction
from rigel.settings import Settings
from smart_data_models.catalogue import Catalogue
from smart_data_models.validator import Validator

_FAILED: Final = 1
_MAX_SAMPLE: Final = 1_048_576
_SAMPLE_DEVICE: Final = {"id": "sample-1"}


class Misused(Exception):
    """What was given cannot be used; the text says why."""


def add_actions(add: AddAction) -> None:
    """Add the actions and what can be said to each."""
    checking = add("check", "check mapping files, and run their examples")
    checking.add_argument("paths", nargs="+", metavar="FILE", help="a mapping, or a directory")
    trying = add("try", "see what a mapping makes of a payload, and why not more")
    trying.add_argument("mapping", type=Path, metavar="MAPPING", help="a mapping file")
    trying.add_argument("--json", action="store_true", help="print the outcome as JSON")
    new = add("new", "start a mapping from a sample payload")
    for action in (trying, new):
        action.add_argument(
            "payload",
            nargs="?",
            default="-",
            metavar="PAYLOAD",
            help="a JSON file; `-`, or none: standard input",
        )
        action.add_argument(
            "--device", metavar="FILE", help="what is provisioned of the device, in JSON"
        )
    new.add_argument("--type", metavar="TYPE", help="the type of entity to make")
    new.add_argument("--name", metavar="NAME", help="the mapping's name")
    new.add_argument(
        "--protocol", default="mqtt", help="mqtt, http, lorawan or ocpi (default: mqtt)"
    )
    new.add_argument("--topic", metavar="FILTER", help="the MQTT topics it is for")
    new.add_argument("--profile", metavar="NAME", help="the device profiles it is for")
    new.add_argument(
        "--output", type=Path, metavar="FILE", help="the file to write (default: print it)"
    )


async def run(settings: Settings, given: argparse.Namespace) -> int:
    """Do what was asked for and return the exit status.

    Raises:
        Misused: what was given cannot be used.
        InvalidMapping: the mapping to try is wrong.
    """
    agents = settings.agents
    sandbox = Sandbox(SandboxLimits(seconds=agents.codec_seconds, memory=agents.codec_memory))
    try:
        return _ACTIONS[given.action](Loader(codecs=Codecs(sandbox, agents.codecs)), given)
    finally:
        sandbox.close()


def _check(loader: Loader, given: argparse.Namespace) -> int:
    validator = Validator(Catalogue.packaged())
    files = list(_files(given.paths))
    if not files:
        raise Misused(f"there is no mapping in {', '.join(given.paths)}")
    failed = False
    for file, root in files:
        problems = list(_problems(loader, validator, file, root))
        failed = failed or bool(problems)
        _print(problems or [f"{file}: good"])
    return _FAILED if failed else 0


def _problems(loader: Loader, validator: Validator, file: Path, root: Path) -> Iterator[str]:
    try:
        mapping, document = loader.load_text(_text(file), str(file), root)
    except InvalidMapping as error:
        yield from error.problems
        return
    for number, problem in example_problems(mapping, validator):
        name = mapping.examples[number]["name"]
        line = document.line(("examples", number))
        yield f"{file}:{line}: examples[{number}] ({name}): {problem}"


def _try(loader: Loader, given: argparse.Namespace) -> int:
    file: Path = given.mapping
    mapping, document = loader.load_text(_text(file), str(file), file.parent)
    payload = _sample(given.payload)
    device = _sample(given.device) if given.device is not None else None
    trial = tried(mapping, document.value, payload, device, Validator(Catalogue.packaged()))
    if given.json:
        told = {
            "entities": trial.entities,
            "problems": trial.problems,
            "leftOut": trial.left_out,
            "error": trial.error,
        }
        _print([_formatted(told)])
    else:
        _print(_told(trial))
    return 0 if trial.good else _FAILED


def _told(trial: Trial) -> Iterator[str]:
    if trial.error:
        yield f"refused: {trial.error}"
    for entity in trial.entities:
        yield _formatted(entity)
    if not trial.entities:
        yield "no entity is made"
    for reason in trial.left_out:
        yield f"left out: {reason}"
    for problem in trial.problems:
        yield f"breaks its model: {problem}"
    if trial.good:
        yield "fits its model" if len(trial.entities) == 1 else "all fit their models"


def _new(loader: Loader, given: argparse.Namespace) -> int:
    catalogue = Catalogue.packaged()
    if not given.type:
        raise Misused(
            f"rigel mapping new: give the type with --type; there are {', '.join(catalogue.types)}"
        )
    model = catalogue.model(given.type)
    if model is None:
        near = catalogue.nearest_type(given.type)
        raise Misused(f"there is no model {given.type!r:.80}{near}")
    payload = _sample(given.payload)
    device = _sample(given.device) if given.device is not None else _SAMPLE_DEVICE
    if not isinstance(payload, dict):
        raise Misused("the sample must be a JSON object")
    source = {"protocol": given.protocol, "topic": given.topic, "profile": given.profile}
    name = given.name or f"new-{model.name.lower()}"
    sample = Sample(payload, {k: v for k, v in source.items() if v is not None}, name)
    try:
        text = _with_example(loader, sample, model, device)
    except (ValueError, MappingError) as error:
        raise Misused(f"no mapping can be made of the sample: {error}") from error
    if given.output is None:
        sys.stdout.write(text)
        return 0
    if given.output.exists():
        raise Misused(f"{given.output} is there already")
    given.output.write_text(text, encoding="utf-8")
    _print([f"{given.output} is written; `rigel mapping check {given.output}` checks it"])
    return 0


def _with_example(loader: Loader, sample: Sample, model: Any, device: Any) -> str:
    """Return the text of a mapping whose example is what it makes of the sample."""
    made = scaffold(sample, model)
    example = {"name": "the sample", "device": device, "payload": sample.payload}
    draft = made.text({**example, "expected": [{"id": "urn:x:1", "type": model.name}]})
    mapping, _ = loader.load_text(draft, "the mapping", Path())
    return made.text({**example, "expected": apply(mapping, sample.payload, device)})


def _files(paths: Iterable[str]) -> Iterator[tuple[Path, Path]]:
    """Yield the mapping files of paths, each with where its tables are looked for."""
    for path in map(Path, paths):
        if path.is_dir():
            found = sorted(file for file in path.rglob("*.y*ml") if TABLES not in file.parts)
            yield from ((file, path) for file in found)
        else:
            yield path, path.parent


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Misused(f"{file}: {error}") from error


def _sample(path: str) -> Any:
    """Return what a JSON file says; `-` is standard input."""
    if path == "-":
        data = sys.stdin.buffer.read(_MAX_SAMPLE + 1)
    else:
        with Path(path).open("rb") as file:
            data = file.read(_MAX_SAMPLE + 1)
    name = "standard input" if path == "-" else path
    if len(data) > _MAX_SAMPLE:
        raise Misused(f"{name} is larger than {_MAX_SAMPLE} bytes")
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Misused(f"{name} is not JSON: {error}") from error


def _formatted(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value)).decode()


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        sys.stdout.write(line + "\n")


_ACTIONS: Final[Mapping[str, Callable[[Loader, argparse.Namespace], int]]] = {
    "check": _check,
    "try": _try,
    "new": _new,
}
