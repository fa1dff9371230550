"""Sort texts as people of a language expect it (clause 4.23.3, RFC 6067).

Texts are compared in levels as in the Unicode Collation Algorithm: by base letters, then by
accents, then by case; equal ones by code point with `-u-ks-identic`. Scripts follow one another by
code point, punctuation and symbols come before digits, and these before letters. Languages add
letters of their own behind others; that is the table below.

Extensions understood after `-u-`: `co` (standard, phonebk, trad, search as standard), `ks`
(level1 to level4, identic), `kn` (digits by number), `kf` (upper or lower case first).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from broker.core.errors import BadRequestData

_TAG = re.compile(
    r"(?P<language>[a-z]{2,3}|und|root)(?:-[a-z]{4})?(?:-(?:[a-z]{2}|\d{3}))?"
    r"(?P<u>-u(?:-[a-z0-9]{2,8})+)?(?:-x(?:-[a-z0-9]{1,8})+)?",
    re.IGNORECASE,
)
_ROOT = re.compile(
    "und|root|en|fr|de|it|pt|nl|ga|gd|id|ms|sw|eu|lb|oc|rm|fy|zu|xh|st|tn|ts|nr|ss|so|rw|rn|ca|ast"
    "|ru|bg|el"
)
"""Languages that the root collation sorts well."""

_AFTER: Mapping[str, str] = {
    "sv": "z<å<ä<ö",
    "fi": "z<å<ä<ö",
    "da": "z<æ=ä<ø=ö<å=aa",
    "nb": "z<æ=ä<ø=ö<å=aa",
    "nn": "z<æ=ä<ø=ö<å=aa",
    "no": "z<æ=ä<ø=ö<å=aa",
    "is": "a<á d<ð e<é i<í o<ó u<ú y<ý z<þ<æ<ö<å",
    "fo": "a<á d<ð i<í o<ó u<ú y<ý z<æ<ø",
    "es": "n<ñ",
    "es-trad": "c<ch l<ll n<ñ",
    "et": "s<š<z<ž w<õ<ä<ö<ü",
    "lv": "c<č g<ģ k<ķ l<ļ n<ņ r<ŗ s<š z<ž",
    "lt": "c<č s<š z<ž",
    "pl": "a<ą c<ć e<ę l<ł n<ń o<ó s<ś z<ź<ż",
    "cs": "c<č h<ch r<ř s<š z<ž",
    "sk": "a<ä c<č h<ch o<ô s<š z<ž",
    "sl": "c<č<ć d<đ s<š z<ž",
    "hr": "c<č<ć d<dž<đ l<lj n<nj s<š z<ž",
    "bs": "c<č<ć d<dž<đ l<lj n<nj s<š z<ž",
    "hu": "c<cs d<dz<dzs g<gy l<ly n<ny o<ö=ő s<sz t<ty u<ü=ű z<zs",
    "ro": "a<ă<â i<î s<ș=ş t<ț=ţ",
    "sq": "c<ç d<dh e<ë g<gj l<ll n<nj r<rr s<sh t<th x<xh z<zh",
    "tr": "c<ç g<ğ h<ı o<ö s<ş u<ü",  # noqa: RUF001 - letters of the language
    "az": "c<ç e<ə g<ğ h<x<ı k<q o<ö s<ş u<ü",  # noqa: RUF001 - letters of the language
    "cy": "c<ch d<dd f<ff g<ng l<ll p<ph r<rh t<th",
    "mt": "b<ċ g<ġ<għ h<ħ z<ż",
    "eo": "c<ĉ g<ĝ h<ĥ j<ĵ s<ŝ u<ŭ",
    "uk": "г<ґ",  # noqa: RUF001 - letters of the language
    "de-phonebk": "",
}
"""Per language, letters that stand behind another one; `=` joins those of one place."""

_EXPANDED: Mapping[str, Mapping[str, str]] = {
    "de-phonebk": {"ä": "ae", "ö": "oe", "ü": "ue"},
}

_FOLDED: Mapping[str, str] = {
    "æ": "ae",
    "œ": "oe",
    "ø": "o\u0338",
    "đ": "d\u0335",
    "ð": "d\u0335",
    "ħ": "h\u0335",
    "ı": "i\u0307",  # noqa: RUF001 - a letter
    "ł": "l\u0335",
    "ŧ": "t\u0335",
    "ß": "ss",
    "þ": "th",
    "ŋ": "n\u0335",
}

_STRENGTHS = {"level1": 1, "level2": 2, "level3": 3, "level4": 3, "identic": 4}
_SPACE, _PUNCTUATION, _SYMBOL, _DIGIT, _LETTER = range(5)
_CLASSES = {"Z": _SPACE, "C": _SPACE, "P": _PUNCTUATION, "S": _SYMBOL, "N": _DIGIT}
_DIGITS = re.compile(r"[0-9]+")

# A key is compared character by character: what separates sorts before all that it separates.
_BETWEEN_LEVELS, _END_OF_MARKS = "\x01", "\x02"
_CLASS_WEIGHTS = "\x10\x11\x12\x13\x14"
_CASES = "\x10\x11"
_OFFSET = 0x20
_KEY_LENGTH = 2
_LIGATURE = "\u0338"


_Element = tuple[str, str, str]
"""What stands for a character at each level."""


@dataclass(frozen=True, slots=True)
class _Rules:
    """How a tag asks to compare.

    Attributes:
        starts: the characters at which more than one has to be looked at.
        known: what has been found for single characters; there are only so many.
    """

    own: Mapping[str, tuple[str, int]]
    expanded: Mapping[str, str]
    longest: int
    starts: frozenset[str]
    strength: int
    numeric: bool
    upper_first: bool
    known: dict[str, _Element] = field(default_factory=dict)


@lru_cache(maxsize=64)
def sort_key(tag: str) -> Callable[[str], str]:
    """Return the function that turns a text into another one that sorts by code point.

    Raises:
        BadRequestData: the tag is malformed, or no order is known for what it names.
    """
    rules = _rules(tag)
    return lru_cache(maxsize=4096)(lambda text: _key(text, rules))


def check(tag: str) -> None:
    """Check that texts can be sorted by a tag.

    Raises:
        BadRequestData: see `sort_key`.
    """
    _rules(tag)


def _rules(tag: str) -> _Rules:
    found = _TAG.fullmatch(tag)
    if found is None:
        raise BadRequestData(f"collation: expected a BCP 47 language tag, got {tag!r:.80}")
    language = found.group("language").lower()
    keywords = _keywords((found.group("u") or "").lower())
    kind = keywords.get("co", "standard")
    name = language if kind in ("standard", "search") else f"{language}-{kind}"
    if name not in _AFTER and _ROOT.fullmatch(name) is None:
        raise BadRequestData(f"collation: no order is known here for {tag!r:.80}")
    own = _own_letters(_AFTER.get(name, ""))
    numeric = _choice(keywords, "kn", {"true": 1, "false": 0}, 0) > 0
    starts = {letter[0] for letter in own if len(letter) > 1}
    starts |= {letter.upper() for letter in starts} | set("0123456789" if numeric else "")
    return _Rules(
        own,
        _EXPANDED.get(name, {}),
        max(map(len, own), default=1),
        frozenset(starts),
        _choice(keywords, "ks", _STRENGTHS, 3),
        numeric,
        _choice(keywords, "kf", {"upper": 1, "lower": 0, "false": 0}, 0) > 0,
    )


def _keywords(extension: str) -> dict[str, str]:
    found: dict[str, str] = {}
    key = ""
    for part in extension.split("-")[2:]:
        if len(part) == _KEY_LENGTH:
            key, found[part] = part, "true"
        elif key:
            found[key] = part
    unknown = sorted(found.keys() - {"co", "ks", "kn", "kf"})
    if unknown:
        raise BadRequestData(f"collation: {unknown[0]!r} is not supported; co, ks, kn and kf are")
    return found


def _choice(keywords: Mapping[str, str], key: str, choices: Mapping[str, int], absent: int) -> int:
    value = keywords.get(key)
    if value is None:
        return absent
    if value not in choices:
        raise BadRequestData(f"collation: {key} is one of {', '.join(choices)}, got {value!r}")
    return choices[value]


def _own_letters(table: str) -> dict[str, tuple[str, int]]:
    """Read a row of the table: each letter with the one it follows and at which place."""
    found = {}
    for group in table.split():
        base, *letters = group.split("<")
        for place, joined in enumerate(letters, start=1):
            for letter in joined.split("="):
                found[letter] = (base, place)
    return found


def _key(text: str, rules: _Rules) -> str:
    weights, accents, cases = [], [], []
    for weight, marks, case in _elements(unicodedata.normalize("NFC", text), rules):
        weights.append(weight)
        accents.append(marks)
        cases.append(case)
    levels = ("".join(weights), "".join(accents), "".join(cases), text)[: rules.strength]
    return _BETWEEN_LEVELS.join(levels)


def _elements(text: str, rules: _Rules) -> Iterator[_Element]:
    """Yield the weights, accents and cases of each letter or other character."""
    known, starts = rules.known, rules.starts
    position = 0
    while position < len(text):
        character = text[position]
        if character in starts:
            size, element = _several(text, position, rules)
            if element is not None:
                yield element
                position += size
                continue
        element = known.get(character)
        if element is None:
            element = known[character] = _one(character, rules)
        yield element
        position += 1


def _several(text: str, position: int, rules: _Rules) -> tuple[int, _Element | None]:
    """Read a number, or a letter that is written with several."""
    if rules.numeric and (digits := _DIGITS.match(text, position)):
        number = digits.group().lstrip("0")
        weight = _CLASS_WEIGHTS[_DIGIT] + chr(_OFFSET + len(number)) + number
        return digits.end() - position, (weight, _END_OF_MARKS, _CASES[0])
    for size in range(rules.longest, 1, -1):
        place = rules.own.get(text[position : position + size].lower())
        if place is not None:
            return size, _letter(place, text[position], rules)
    return 1, None


def _letter(place: tuple[str, int], character: str, rules: _Rules) -> _Element:
    case = _CASES[character.isupper() != rules.upper_first]
    return _weight(_LETTER, *place), _END_OF_MARKS, case


def _one(character: str, rules: _Rules) -> _Element:
    lower = character.lower()
    if lower in rules.own:
        return _letter(rules.own[lower], character, rules)
    written = rules.expanded.get(lower) or _FOLDED.get(lower)
    bases: list[str] = []
    marks: list[str] = []
    for part in unicodedata.normalize("NFD", written or lower):
        if not unicodedata.combining(part):
            bases.append(part)
            marks.append("")
        elif marks:
            marks[-1] += part
    if written is not None and not any(marks):
        marks[-1] = _LIGATURE
    kinds = [_CLASSES.get(unicodedata.category(base)[0], _LETTER) for base in bases]
    case = _CASES[character.isupper() != rules.upper_first]
    return (
        "".join(_weight(kind, base, 0) for kind, base in zip(kinds, bases, strict=True)),
        "".join(mark + _END_OF_MARKS for mark in marks),
        case * len(bases),
    )


def _weight(kind: int, base: str, place: int) -> str:
    return _CLASS_WEIGHTS[kind] + base + chr(_OFFSET + place)
