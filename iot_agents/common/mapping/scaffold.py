"""A first mapping from a sample payload: what can be told from names and values, to be improved.

Each value of the payload goes to the attribute of the model whose name is the same, or means the
same. Time, id and position are found by their names. What remains stands below as comments, and
every guess says that it is one. The text is a mapping file that loads, with the sample as example.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from smart_data_models.catalogue import Attribute, Model
from smart_data_models.jexl import times

_NAME: Final = re.compile(r"[^.\[\]\s]+")
_SEPARATORS: Final = re.compile(r"[^a-z0-9]+")
_MAX_DEPTH: Final = 16
_MAX_LEAVES: Final = 500
_MILLISECONDS_FROM: Final = 100_000_000_000
_SECONDS_FROM: Final = 1_000_000_000
_TIMES: Final = (
    *("time", "timestamp", "timeinstant", "observedat", "dateobserved", "receivedat"),
    *("ts", "date", "datetime", "at"),
)
_IDS: Final = (
    *("deveui", "deviceid", "id", "serialnumber", "serial", "sn", "device", "sensor", "sensorid"),
    *("imei", "mac", "name"),
)
_LONGITUDES: Final = ("lon", "lng", "long", "longitude")
_LATITUDES: Final = ("lat", "latitude")
_MEANINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "temperature": ("temp", "t", "tempc", "airtemperature", "soiltemp"),
    "soilTemperature": ("temp", "temperature", "soiltemp"),
    "soilMoistureVwc": ("moisture", "soilmoisture", "vwc", "humidity", "watercontent"),
    "soilMoisturePressure": ("tension", "soiltension", "pressure", "kpa"),
    "soilMoistureEc": ("ec", "conductivity", "soilec"),
    "relativeHumidity": ("humidity", "hum", "rh", "h"),
    "atmosphericPressure": ("pressure", "baro", "p"),
    "pressure": ("baro", "p", "atmosphericpressure"),
    "batteryLevel": ("battery", "bat", "batterypercent", "batt", "soc"),
    "batteryVoltage": ("batteryv", "batv", "vbat", "batteryvoltage"),
    "status": ("occupied", "state", "occupancy", "parking", "car", "valve", "fault"),
    "powerState": ("on", "relay", "switch", "lamp", "power"),
    "powerConsumption": ("activepower", "watt", "power"),
    "illuminanceLevel": ("dimming", "dim", "level", "brightness"),
    "pm25": ("pm2_5", "pm25", "pm2"),
    "co2": ("co2ppm",),
    "windSpeed": ("wind", "windspeed"),
    "windDirection": ("winddir", "direction"),
    "precipitation": ("rain", "rainfall"),
    "LAeq": ("laeq", "leq", "noise", "sound", "soundlevel", "spl"),
    "LAmax": ("lmax",),
    "fillingLevel": ("fill", "level", "filllevel", "filling"),
    "waterConsumption": ("volume", "index", "consumption", "water", "pulses"),
    "peopleCount": ("people", "count", "persons", "visitors"),
    "peopleCountTowards": ("in", "countin", "entered", "periodin"),
    "peopleCountAway": ("out", "countout", "left", "periodout"),
    "flowRate": ("flow",),
    "rssi": ("signal",),
}
_YES: Final = {
    "occupied": "free",
    "open": "closed",
    "on": "off",
    "working": "outOfService",
    "CHARGING": "AVAILABLE",
}
"""Of words that stand for yes, those for no."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What a mapping is to be made for.

    Attributes:
        payload: a JSON object as the device sends it.
        source: the members of the mapping's `source`.
        name: of the mapping.
    """

    payload: Mapping[str, Any]
    source: Mapping[str, Any]
    name: str


@dataclass(frozen=True, slots=True)
class Scaffold:
    """A mapping without its example, which `text` writes.

    Attributes:
        document: what the file says, without `examples`.
        notes: remarks, by the name of the attribute they are about.
        unused: values of the payload that went nowhere, by their paths.
    """

    document: Mapping[str, Any]
    notes: Mapping[str, str]
    unused: Mapping[str, Any]

    def text(self, example: Mapping[str, Any]) -> str:
        """Return the mapping file, with an example."""
        entity = self.document["entities"][0]
        lines = [f"mapping: {_yaml(self.document['mapping'])}"]
        lines.append(f"source: {_yaml(self.document['source'])}")
        lines += [
            "",
            "entities:",
            f"- id: {_yaml(entity['id'])}",
            f"  type: {_yaml(entity['type'])}",
        ]
        if "complete" in entity:
            lines.append("  # What the model requires besides has to come from elsewhere.")
            lines.append("  complete: false")
        if "at" in entity:
            lines.append(f"  at: {_yaml(entity['at'])}")
        lines.append("  attributes:")
        for name, field in entity["attributes"].items():
            note = f"  # {self.notes[name]}" if name in self.notes else ""
            lines.append(f"    {_yaml(name)}: {_yaml(field)}{note}")
        if self.unused:
            lines.append("    # Not used of the sample:")
            lines += [f"    #   {path}: {_yaml(value)}" for path, value in self.unused.items()]
        lines += ["", "examples:", f"- name: {_yaml(example['name'])}"]
        lines += [
            f"  {key}: {_yaml(example[key])}" for key in ("device", "payload") if key in example
        ]
        lines.append("  expected:")
        for made in example["expected"]:
            members = [f"{_yaml(key)}: {_yaml(value)}" for key, value in made.items()]
            lines += [("  - " if not n else "    ") + member for n, member in enumerate(members)]
        return "\n".join(lines) + "\n"


def scaffold(sample: Sample, model: Model) -> Scaffold:
    """Guess a mapping of a sample to a model.

    Raises:
        ValueError: nothing in the sample means an attribute of the model.
    """
    leaves = dict(_leaves(sample.payload))
    by_name: dict[str, str] = {}
    for path in leaves:
        by_name.setdefault(_folded(path.rpartition(".")[2]), path)
    used: set[str] = set()
    attributes, notes = _attributes(model, leaves, by_name, used)
    moment = _moment(leaves, by_name)
    if moment is not None:
        used.add(moment["from"])
        for name, field in attributes.items():
            if model.attributes[name].kind == "Property":
                field["observed"] = True
    _point(model, leaves, by_name, used, attributes)
    if moment is not None:
        _dates(model, moment, attributes)
    if not attributes:
        raise ValueError(f"nothing in the sample is called like an attribute of {model.name}")
    identifier = next((by_name[name] for name in _IDS if name in by_name), None)
    used.add(identifier or "")
    entity: dict[str, Any] = {
        "id": f"urn:ngsi-ld:{model.name}:{{{identifier or 'device.id'}}}",
        "type": model.name,
    }
    if any(name not in attributes for name in model.required):
        entity["complete"] = False
    if moment is not None:
        entity["at"] = moment["from"] if len(moment) == 1 else moment
    entity["attributes"] = attributes
    document = {"mapping": sample.name, "source": dict(sample.source), "entities": [entity]}
    return Scaffold(document, notes, {p: v for p, v in leaves.items() if p not in used})


def _attributes(
    model: Model, leaves: Mapping[str, Any], by_name: Mapping[str, str], used: set[str]
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    attributes: dict[str, dict[str, Any]] = {}
    notes: dict[str, str] = {}
    for means in (False, True):
        for name, attribute in model.attributes.items():
            if (
                name in attributes
                or attribute.kind != "Property"
                or attribute.format == "date-time"
            ):
                continue
            names = _MEANINGS.get(name, ()) if means else (_folded(name),)
            path = next((by_name[_folded(n)] for n in names if by_name.get(_folded(n))), None)
            if path is None or path in used or not _may_be(attribute, leaves[path]):
                continue
            used.add(path)
            whole = model.schema["properties"][name].get("maximum") == 1
            attributes[name], note = _field(attribute, path, leaves[path], whole=whole)
            if means and not note:
                note = "guessed from the name"
            if note:
                notes[name] = note
    return attributes, notes


def _may_be(attribute: Attribute, value: Any) -> bool:
    if attribute.words is not None:
        return attribute.type != "array"
    if attribute.type in ("number", "integer"):
        return _number(value) is not None
    return attribute.type in ("", "string") and isinstance(value, str)


def _field(
    attribute: Attribute, path: str, value: Any, *, whole: bool
) -> tuple[dict[str, Any], str]:
    field: dict[str, Any] = {"from": path}
    note = ""
    if attribute.words is not None and value not in attribute.words:
        field["enum"] = _enum(attribute.words, value)
        note = f"a guess; the words are {', '.join(attribute.words)}"
    elif attribute.type in ("number", "integer"):
        if whole and (_number(value) or 0) > 1:
            field["scale"] = 0.01
            note = "a share of 1 in the model; taken for a percentage"
        if attribute.unit is not None:
            field["unit"] = attribute.unit
            note = note or f"in {attribute.unit}? `scale` converts"
    return field, note


def _enum(words: tuple[str, ...], value: Any) -> dict[Any, str]:
    if isinstance(value, bool) or value in (0, 1):
        yes = next((word for word in _YES if word in words), words[0])
        no = _YES.get(yes, "")
        pair = {True: yes, False: no if no in words else words[-1]}
        return pair if isinstance(value, bool) else {int(key): word for key, word in pair.items()}
    near = {_folded(word): word for word in words}
    return {value: near.get(_folded(str(value)), words[0])}


def _moment(leaves: Mapping[str, Any], by_name: Mapping[str, str]) -> dict[str, str] | None:
    """Return the field that gives the moment of a sample, None when it tells none."""
    for name in _TIMES:
        path = by_name.get(name)
        value = leaves[path] if path is not None else None
        if isinstance(value, str) and _is_date(value):
            return {"from": str(path)}
        if isinstance(value, int | float) and value >= _SECONDS_FROM:
            kind = "milliseconds" if value >= _MILLISECONDS_FROM else "seconds"
            return {"from": str(path), "time": kind}
    return None


def _is_date(text: str) -> bool:
    try:
        times.utc_text(text)
    except ValueError:
        return False
    return True


def _dates(model: Model, moment: Mapping[str, str], attributes: dict[str, dict[str, Any]]) -> None:
    for name in ("dateObserved", "dateLastValueReported"):
        if name in model.attributes:
            attributes[name] = dict(moment) if len(moment) > 1 else {**moment, "time": "text"}


def _point(
    model: Model,
    leaves: Mapping[str, Any],
    by_name: Mapping[str, str],
    used: set[str],
    attributes: dict[str, dict[str, Any]],
) -> None:
    east = next((by_name[name] for name in _LONGITUDES if name in by_name), None)
    north = next((by_name[name] for name in _LATITUDES if name in by_name), None)
    if east is None or north is None or "location" not in model.attributes:
        return
    if _number(leaves[east]) is not None and _number(leaves[north]) is not None:
        attributes["location"] = {"point": [east, north]}
        used |= {east, north}


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value.replace(",", ".") if isinstance(value, str) else value)
    except ValueError:
        return None


def _leaves(value: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield the values of a payload that a path of a mapping reaches; of an array, its first."""
    if isinstance(value, dict) and depth < _MAX_DEPTH:
        for name, inner in value.items():
            if _NAME.fullmatch(name):
                yield from _leaves(inner, f"{path}.{name}" if path else name, depth + 1)
    elif isinstance(value, list) and value and path and depth < _MAX_DEPTH:
        yield from _leaves(value[0], f"{path}[0]", depth + 1)
    elif path and value is not None and not isinstance(value, dict | list):
        yield path, value


def _folded(name: str) -> str:
    return _SEPARATORS.sub("", name.lower())


_PLAIN: Final = re.compile(r"[A-Za-z_][\w.\-/]*(?: [\w.\-/]+)*", re.ASCII)
_WORDS_OF_YAML: Final = frozenset(("null", "true", "false", "nan", "inf"))


def _yaml(value: Any) -> str:
    """Return a JSON value as YAML on one line; texts that could be something else are quoted."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_yaml(k)}: {_yaml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_yaml, value)) + "]"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS_OF_YAML:
        return value
    return msgspec.json.encode(value).decode()
