"""The transforms of the FIWARE provisioning API, by their names there.

Input that a transform cannot work with gives null, as it does there. `localestring` and
`localestringnumber` know the languages and options of `jexl.locales`.
"""

from __future__ import annotations

import math
import re
import urllib.parse
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache, reduce
from typing import Any, Final, TypeAlias

import msgspec
import re2

from smart_data_models.jexl import locales, operators, times, values
from smart_data_models.jexl.values import MISSING, limited, same, to_number, to_text

TransformFunction: TypeAlias = Callable[..., Any]
Clock: TypeAlias = Callable[[], datetime]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_INT_PREFIX: Final = re.compile(r"\s*([+-]?\d+)")
_FLOAT_PREFIX: Final = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)")
_URI_KEPT: Final = ";,/?:@&=+$#-_.!~*'()"
_URI_RESERVED: Final = frozenset(";,/?:@&=+$#")
_MAX_DIGITS: Final = 20
_WORD: Final = 1 << 32


def transforms(clock: Clock) -> dict[str, TransformFunction]:
    """Return the transforms by name; `clock` tells `now` the time."""
    return {**_TRANSFORMS, "now": lambda _: _milliseconds(clock())}


def _of_text(function: Callable[..., Any]) -> TransformFunction:
    """Apply a function to the value as text; null and missing stay null."""

    def transform(value: Any, *arguments: Any) -> Any:
        if value is None or value is MISSING:
            return None
        return function(to_text(value), *arguments)

    return transform


def _of_number(function: Callable[..., Any]) -> TransformFunction:
    """Apply a function to the value as a number; what is none gives null."""

    def transform(value: Any, *arguments: Any) -> Any:
        number = to_number(value)
        return None if number is None else function(number, *arguments)

    return transform


def _of_array(function: Callable[..., Any]) -> TransformFunction:
    """Apply a function to an array; what is none gives null."""

    def transform(value: Any, *arguments: Any) -> Any:
        return function(value, *arguments) if isinstance(value, list) else None

    return transform


def _integer(value: Any) -> int:
    number = to_number(value)
    if number is None:
        raise ValueError(value)
    return int(number)


def _substr(text: str, start: Any, length: Any = None) -> str:
    first = _integer(start)
    first = max(0, first + len(text)) if first < 0 else first
    return text[first:] if length is None else text[first : first + max(0, _integer(length))]


@lru_cache(maxsize=256)
def _pattern(expression: str) -> Any:
    return re2.compile(expression)


def _replacement(template: str) -> Callable[[Any], str]:
    parts = re.split(r"\$(\d|&|\$)", template)

    def expand(match: Any) -> str:
        pieces = list(parts)
        for index in range(1, len(parts), 2):
            mark = parts[index]
            pieces[index] = "$" if mark == "$" else match[0 if mark == "&" else int(mark)] or ""
        return "".join(pieces)

    return expand


def _replace(count: int) -> Callable[[str, Any, Any], str]:
    def replace(text: str, expression: Any, by: Any) -> str:
        pattern = _pattern(to_text(expression))
        replaced: str = pattern.sub(_replacement(to_text(by)), text, count)
        return limited(replaced)

    return replace


def _split(text: str, separator: Any) -> list[str]:
    separator = to_text(separator)
    return text.split(separator) if separator else list(text)


def _joined(items: list[Any], separator: Any) -> str:
    return limited(to_text(separator).join("" if item is None else to_text(item) for item in items))


def _concatenated(items: list[Any], more: Any) -> list[Any]:
    return items + more if isinstance(more, list) else [*items, more]


def _kind(value: Any) -> str:
    if value is MISSING:
        return "undefined"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "string" if isinstance(value, str) else "object"


def _is_nan(value: Any) -> bool:
    return value is MISSING or not (value is None or value == "" or to_number(value) is not None)


def _prefix(pattern: re.Pattern[str], kind: type[int | float]) -> TransformFunction:
    def parse(text: str) -> Any:
        match = pattern.match(text)
        return None if match is None else values.plain(kind(match[1]))

    return _of_text(parse)


def _to_fixed(number: float, digits: Any = 0) -> str | None:
    places = _integer(digits)
    if not 0 <= places <= _MAX_DIGITS:
        return None
    rounded = Decimal(number).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
    return format(rounded, "f")


def _milliseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _moment(value: Any) -> datetime:
    if isinstance(value, str):
        return times.moment_of_text(value)
    return times.moment_of_number(value, times.MILLISECONDS)


def _iso(value: Any) -> str:
    return times.write(_moment(value))


def _minutes_from_utc(value: Any) -> int:
    # JavaScript tells the offset of the machine's zone; the product thinks in UTC.
    _moment(value)
    return 0


def _decoded_uri(text: str) -> str:
    def decode(match: re.Match[str]) -> str:
        decoded = urllib.parse.unquote(match[0], errors="strict")
        return "".join(
            urllib.parse.quote(char, safe="") if char in _URI_RESERVED else char for char in decoded
        )

    return re.sub(r"(?:%[0-9A-Fa-f]{2})+", decode, text)


def _mapped(value: Any, values: Any, choices: Any) -> Any:
    for index, candidate in enumerate(values):
        if same(value, candidate):
            return choices[index]
    return None


def _threshold_mapped(value: Any, limits: Any, choices: Any) -> Any:
    number = to_number(value)
    if number is None:
        return None
    for index, limit in enumerate(limits):
        if number <= limit:
            return choices[index]
    return None


def _signed(word: int) -> int:
    word %= _WORD
    return word - _WORD if word >= _WORD // 2 else word


def _masked(number: float, mask: Any, operator: Any, shift: Any) -> int:
    value, bits = _signed(int(number)), _signed(_integer(mask))
    combined = {"&": value & bits, "|": value | bits, "^": value ^ bits}.get(operator, value)
    return _signed(combined) >> (_integer(shift) % 32)


def _added(items: list[Any], item: Any) -> list[Any]:
    kept: list[Any] = []
    for each in [*items, item]:
        if not any(same(each, other) for other in kept):
            kept.append(each)
    return kept


def _removed(items: list[Any], item: Any) -> list[Any]:
    return [each for each in items if not same(each, item)]


def _keys_of(value: Any, wanted: list[Any]) -> list[str] | None:
    if not isinstance(value, dict):
        return None
    return [key for key, each in value.items() if any(same(each, item) for item in wanted)]


def _hex_text(text: str) -> str:
    return bytes.fromhex(text).decode()


def _hash(text: str) -> str:
    units = text.encode("utf-16-le", errors="surrogatepass")
    total = 0
    for low, high in zip(units[::2], units[1::2], strict=True):
        total = _signed(total * 31 + low + (high << 8))
    return f"{abs(total):08X}"


_TRANSFORMS: Final[dict[str, TransformFunction]] = {
    "jsonparse": _of_text(lambda text: msgspec.json.decode(limited(text))),
    "jsonstringify": lambda value: limited(msgspec.json.encode(value).decode()),
    "indexOf": _of_text(lambda text, part: text.find(to_text(part))),
    "length": _of_text(len),
    "trim": _of_text(str.strip),
    "substr": _of_text(_substr),
    "touppercase": _of_text(str.upper),
    "tolowercase": _of_text(str.lower),
    "tostring": _of_text(str),
    "replacestr": _of_text(lambda text, old, new: text.replace(to_text(old), to_text(new), 1)),
    "replaceregexp": _of_text(_replace(1)),
    "replaceallregexp": _of_text(_replace(0)),
    "split": _of_text(_split),
    "joinarrtostr": _of_array(_joined),
    "concatarr": _of_array(_concatenated),
    "addreduce": _of_array(lambda items: reduce(operators.add, items)),
    "lengtharray": _of_array(len),
    "typeof": _kind,
    "isarray": lambda value: isinstance(value, list),
    "isnan": _is_nan,
    "parseint": _prefix(_INT_PREFIX, int),
    "parsefloat": _prefix(_FLOAT_PREFIX, float),
    "floor": _of_number(math.floor),
    "ceil": _of_number(math.ceil),
    "round": _of_number(lambda number: math.floor(number + 0.5)),
    "tofixed": _of_number(_to_fixed),
    "toisodate": _iso,
    "toisostring": _iso,
    "localestring": lambda value, *how: locales.moment(_moment(value), *how),
    "localestringnumber": _of_number(locales.number),
    "gettime": lambda value: _milliseconds(_moment(value)),
    "timeoffset": _minutes_from_utc,
    "urlencode": _of_text(lambda text: urllib.parse.quote(text, safe=_URI_KEPT)),
    "urldecode": _of_text(_decoded_uri),
    "mapper": _mapped,
    "thmapper": _threshold_mapped,
    "bitwisemask": _of_number(_masked),
    "slice": _of_array(
        lambda items, start=0, end=None: items[
            _integer(start) : None if end is None else _integer(end)
        ]
    ),
    "addset": _of_array(_added),
    "removeset": _of_array(_removed),
    "valuePicker": lambda value, item: _keys_of(value, [item]),
    "valuePickerMulti": _keys_of,
    "hextostring": _of_text(_hex_text),
    "hash": _of_text(_hash),
}
INVALID_INPUT: Final = (
    ValueError, TypeError, IndexError, AttributeError, OverflowError, RecursionError,
    msgspec.MsgspecError, re2.error,
)  # fmt: skip
"""What a transform raises on input it cannot work with; the result is then null."""
