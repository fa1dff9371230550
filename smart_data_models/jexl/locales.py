"""Numbers and moments as people of a place write them: `localestring`, `localestringnumber`.

The provisioning API leaves this to JavaScript's Intl, which knows hundreds of languages. Here are
those of a table, with the options that are about digits, time zone and single parts of a date; any
other option or language gives nothing, rather than something else than was asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_PARTS: Final = ("year", "month", "day", "hour", "minute", "second")
_DATE: Final = _PARTS[:3]
_WIDTHS: Final = ("numeric", "2-digit")
_MAX_DIGITS: Final = 20
_FIELD: Final = re.compile(r"\{(\w+)(?::(\d))?\}")


@dataclass(frozen=True, slots=True)
class _Locale:
    """How a language writes.

    Attributes:
        group: between thousands, from numbers of `grouped` digits before them on.
        point: before the fraction.
        date: the parts of a date in order, with what stands between them and their least digits.
        glue: between date and time.
        hours: least digits of an hour.
        half_days: whether hours go to twelve.
    """

    group: str
    point: str
    date: str
    glue: str = ", "
    hours: int = 2
    half_days: bool = False
    grouped: int = 1


_BY_LANGUAGE: Final = {
    ("en", "en-US"): _Locale(",", ".", "{month}/{day}/{year}", hours=1, half_days=True),
    ("en-GB",): _Locale(",", ".", "{day:2}/{month:2}/{year}"),
    ("es", "es-ES"): _Locale(".", ",", "{day}/{month}/{year}", hours=1, grouped=2),
    ("fr", "fr-FR"): _Locale("\u202f", ",", "{day:2}/{month:2}/{year}", glue=" "),
    ("de", "de-DE"): _Locale(".", ",", "{day}.{month}.{year}"),
    ("nl", "nl-NL"): _Locale(".", ",", "{day}-{month}-{year}"),
    ("pt", "pt-BR"): _Locale(".", ",", "{day:2}/{month:2}/{year}"),
}
_LOCALES: Final = {tag: locale for tags, locale in _BY_LANGUAGE.items() for tag in tags}
_DEFAULT: Final = "en-US"


def number(value: float, locale: Any = _DEFAULT, options: Any = None) -> str:
    """Write a number; options are the least and most digits of the fraction and `useGrouping`.

    Raises:
        ValueError: the language or an option is not known.
    """
    told = _options(options, {"minimumFractionDigits", "maximumFractionDigits", "useGrouping"})
    words = _locale(locale)
    least = _digits(told.get("minimumFractionDigits", 0))
    most = _digits(told.get("maximumFractionDigits", max(3, least)))
    if most < least:
        raise ValueError("minimumFractionDigits is above maximumFractionDigits")
    rounded = Decimal(repr(value)).quantize(Decimal(1).scaleb(-most), ROUND_HALF_UP)
    whole, _, fraction = format(abs(rounded), "f").partition(".")
    fraction = fraction[:least] + fraction[least:].rstrip("0")
    if told.get("useGrouping", True) and len(whole) >= 3 + words.grouped:
        whole = f"{int(whole):,}".replace(",", words.group)
    sign = "-" if rounded < 0 else ""
    return sign + whole + (words.point + fraction if fraction else "")


def moment(value: datetime, locale: Any = _DEFAULT, options: Any = None) -> str:
    """Write a moment; options are `timeZone` (UTC without it), `hour12` and the parts to write.

    Raises:
        ValueError: the language or an option is not known.
    """
    told = _options(options, {"timeZone", "hour12", *_PARTS})
    words = _locale(locale)
    local = value.astimezone(_zone(told.get("timeZone", "UTC")))
    asked = {part: told[part] for part in _PARTS if part in told}
    if any(width not in _WIDTHS for width in asked.values()):
        raise ValueError(f"parts of a moment are {' or '.join(_WIDTHS)}")
    parts = asked or dict.fromkeys(_PARTS, "numeric")
    written = [_date(local, words, parts), _time(local, words, parts, told.get("hour12"))]
    return words.glue.join(text for text in written if text)


def _date(local: datetime, words: _Locale, parts: Mapping[str, str]) -> str:
    if not any(part in parts for part in _DATE):
        return ""
    if not all(part in parts for part in _DATE):
        raise ValueError("a date is written whole: year, month and day")

    def field(match: re.Match[str]) -> str:
        part, least = match[1], int(match[2] or 1)
        value = getattr(local, part)
        if part == "year":
            return str(value) if parts[part] == "numeric" else _padded(value % 100, 2)
        return _padded(value, 2 if parts[part] == "2-digit" else least)

    return _FIELD.sub(field, words.date)


def _time(local: datetime, words: _Locale, parts: Mapping[str, str], half_days: Any) -> str:
    asked = [part for part in ("hour", "minute", "second") if part in parts]
    if not asked:
        return ""
    halved = words.half_days if half_days is None else bool(half_days)
    texts = []
    for part in asked:
        value = getattr(local, part)
        if part == "hour":
            least = 2 if parts[part] == "2-digit" else 1 if halved else words.hours
            texts.append(_padded((value - 1) % 12 + 1 if halved else value, least))
        else:
            texts.append(_padded(value, 2 if len(asked) > 1 else 1))
    suffix = (" AM" if local.hour < 12 else " PM") if halved and "hour" in asked else ""  # noqa: PLR2004 - noon
    return ":".join(texts) + suffix


def _padded(value: int, digits: int) -> str:
    return str(value).rjust(digits, "0")


def _options(options: Any, known: set[str]) -> Mapping[str, Any]:
    if options is None:
        return {}
    if not isinstance(options, dict) or not known >= options.keys():
        raise ValueError(f"{options!r:.80} has options that are not known")
    return options


def _locale(tag: Any) -> _Locale:
    found = _LOCALES.get(str(tag))
    if found is None:
        raise ValueError(f"the language {tag!r:.40} is not known")
    return found


def _digits(value: Any) -> int:
    if isinstance(value, int) and 0 <= value <= _MAX_DIGITS:
        return int(value)
    raise ValueError(f"{value!r:.40} is no number of digits")


def _zone(name: Any) -> tzinfo:
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(str(name))
    except (ZoneInfoNotFoundError, OSError) as error:
        raise ValueError(f"the time zone {name!r:.40} is not known") from error
