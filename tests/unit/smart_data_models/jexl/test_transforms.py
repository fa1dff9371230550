"""The transforms of the FIWARE provisioning API, one row per behaviour."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from smart_data_models.jexl.expressions import compile_expression
from smart_data_models.jexl.transforms import transforms
from smart_data_models.jexl.values import ExpressionError

ROWS: list[tuple[str, Any, Any]] = [
    ("v|jsonparse", '{"a": [1, null]}', {"a": [1, None]}),
    ("v|jsonparse", "{a}", None),
    ("v|jsonparse", "[" * 5000, None),
    ("v|jsonstringify", {"a": [1, True]}, '{"a":[1,true]}'),
    ("v|indexOf('b')", "abc", 1),
    ("v|indexOf('z')", "abc", -1),
    ("v|length", "abc", 3),
    ("v|length", 1234, 4),
    ("v|trim", "  a ", "a"),
    ("v|substr(1, 2)", "abcd", "bc"),
    ("v|substr(-2, 1)", "abcd", "c"),
    ("v|substr(1)", "abcd", "bcd"),
    ("v|substr('x')", "abcd", None),
    ("v|touppercase", "aé", "AÉ"),
    ("v|tolowercase", "AÉ", "aé"),
    ("v|tostring", 21.0, "21"),
    ("v|tostring", None, None),
    ("v|replacestr('a', 'b')", "aa", "ba"),
    ("v|replaceregexp('[0-9]+', 'n')", "a1b22", "anb22"),
    ("v|replaceallregexp('[0-9]+', 'n')", "a1b22", "anbn"),
    ("v|replaceallregexp('(é)(.)', '$2$1$&$$')", "éa", "aééa$"),
    ("v|replaceallregexp('a', '$9')", "a", None),
    ("v|replaceallregexp('(', 'x')", "a", None),
    ("v|split(',')", "a,b", ["a", "b"]),
    ("v|split('')", "ab", ["a", "b"]),
    ("v|joinarrtostr('-')", ["a", 1, None], "a-1-"),
    ("v|joinarrtostr('-')", "ab", None),
    ("v|concatarr([3])", [1, 2], [1, 2, 3]),
    ("v|concatarr(3)", [1], [1, 3]),
    ("v|addreduce", [1, 2, 3], 6),
    ("v|addreduce", ["a", 1], "a1"),
    ("v|addreduce", [], None),
    ("v|lengtharray", [1, 2], 2),
    ("v|lengtharray", "ab", None),
    ("v|typeof", 1, "number"),
    ("v|typeof", "a", "string"),
    ("v|typeof", True, "boolean"),
    ("v|typeof", [1], "object"),
    ("v|typeof", None, "object"),
    ("v|isarray", [1], True),
    ("v|isarray", {}, False),
    ("v|isnan", "abc", True),
    ("v|isnan", "12", False),
    ("v|isnan", "", False),
    ("v|isnan", None, False),
    ("v|parseint", "12abc", 12),
    ("v|parseint", " -7.9", -7),
    ("v|parseint", "abc", None),
    ("v|parsefloat", "1.5e2x", 150),
    ("v|parsefloat", ".5", 0.5),
    ("v|parsefloat", "x", None),
    ("v|floor", -1.5, -2),
    ("v|floor", "abc", None),
    ("v|ceil", 1.2, 2),
    ("v|round", 2.5, 3),
    ("v|round", -2.5, -2),
    ("v|round", "1.6", 2),
    ("v|tofixed(2)", 1.005, "1.00"),
    ("v|tofixed(1)", 0.25, "0.3"),
    ("v|tofixed(0)", 2.5, "3"),
    ("v|tofixed(200)", 2.5, None),
    ("v|toisodate", 1772352902123, "2026-03-01T08:15:02.123Z"),
    ("v|toisostring", "2026-03-01T09:15:02.1239+01:00", "2026-03-01T08:15:02.123Z"),
    ("v|toisostring", "2026-03-01", "2026-03-01T00:00:00.000Z"),
    ("v|toisostring", "yesterday", None),
    ("v|toisostring", 1e30, None),
    ("v|gettime", "2026-03-01T08:15:02.123Z", 1772352902123),
    ("v|localestring", "2026-03-01T08:05:02Z", "3/1/2026, 8:05:02 AM"),
    ("v|localestring('en-US', {timeZone: 'Europe/Madrid'})", 1772395502000, "3/1/2026, 9:05:02 PM"),
    ("v|localestring('en-US', {hour12: false})", "2026-03-01T20:05:02Z", "3/1/2026, 20:05:02"),
    ("v|localestring('en-GB')", "2026-03-01T08:05:02Z", "01/03/2026, 08:05:02"),
    ("v|localestring('es-ES')", "2026-03-01T08:05:02Z", "1/3/2026, 8:05:02"),
    ("v|localestring('fr')", "2026-03-01T08:05:02Z", "01/03/2026 08:05:02"),
    ("v|localestring('de-DE')", "2026-03-01T08:05:02Z", "1.3.2026, 08:05:02"),
    ("v|localestring('nl-NL')", "2026-03-01T08:05:02Z", "1-3-2026, 08:05:02"),
    ("v|localestring('pt-BR')", "2026-03-01T08:05:02Z", "01/03/2026, 08:05:02"),
    (
        "v|localestring('de', {year: '2-digit', month: '2-digit', day: '2-digit'})",
        "2026-03-01T08:05:02Z",
        "01.03.26",
    ),
    ("v|localestring('fr', {hour: 'numeric', minute: '2-digit'})", "2026-03-01T08:05:02Z", "08:05"),
    ("v|localestring('xx')", "2026-03-01T08:05:02Z", None),
    ("v|localestring('fr', {timeZone: '../x'})", "2026-03-01T08:05:02Z", None),
    ("v|localestring('fr', {month: 'long'})", "2026-03-01T08:05:02Z", None),
    ("v|localestring('fr', {era: 'long'})", "2026-03-01T08:05:02Z", None),
    ("v|localestring('fr')", "soon", None),
    ("v|localestringnumber", 1234567.8916, "1,234,567.892"),
    ("v|localestringnumber('de-DE')", -1234.5, "-1.234,5"),
    ("v|localestringnumber('es-ES')", 1234.5, "1234,5"),
    ("v|localestringnumber('es-ES')", 12345, "12.345"),
    ("v|localestringnumber('fr', {minimumFractionDigits: 2})", "1234", "1\u202f234,00"),
    ("v|localestringnumber('en', {maximumFractionDigits: 0})", 2.5, "3"),
    ("v|localestringnumber('en', {useGrouping: false})", 12345, "12345"),
    ("v|localestringnumber('en', {style: 'percent'})", 0.5, None),
    ("v|localestringnumber('en', {maximumFractionDigits: 900})", 0.5, None),
    ("v|localestringnumber('en')", "many", None),
    ("v|timeoffset", "2026-03-01T08:15:02Z", 0),
    ("v|timeoffset", "x", None),
    ("v|urlencode", "a b/ü?x=1", "a%20b/%C3%BC?x=1"),
    ("v|urldecode", "a%20b%2F%C3%BC", "a b%2Fü"),
    ("v|urldecode", "%FF", None),
    ("v|mapper([true,false], ['occupied','free'])", False, "free"),
    ("v|mapper([true,false], ['occupied','free'])", 1, None),
    ("v|mapper([1, 2], ['a'])", 2, None),
    ("v|thmapper([10, 20], ['low','mid','high'])", 10, "low"),
    ("v|thmapper([10, 20], ['low','mid','high'])", 15, "mid"),
    ("v|thmapper([10, 20], ['low','mid','high'])", 25, None),
    ("v|thmapper([10], ['low'])", "x", None),
    ("v|bitwisemask(12, '&', 2)", 6, 1),
    ("v|bitwisemask(8, '|', 0)", 1, 9),
    ("v|bitwisemask(255, '^', 0)", 1, 254),
    ("v|bitwisemask(0, 'none', 1)", 4294967295, -1),
    ("v|slice(1, 3)", [1, 2, 3, 4], [2, 3]),
    ("v|slice(-1)", [1, 2], [2]),
    ("v|addset(2)", [1, 2, 1], [1, 2]),
    ("v|addset(3)", [1, 2], [1, 2, 3]),
    ("v|removeset(1)", [1, 2, True], [2, True]),
    ("v|valuePicker(1)", {"a": 1, "b": 2, "c": 1}, ["a", "c"]),
    ("v|valuePicker(1)", [1], None),
    ("v|valuePickerMulti([1, 2])", {"a": 1, "b": 2, "c": 3}, ["a", "b"]),
    ("v|hextostring", "c3bc", "ü"),
    ("v|hextostring", "abc", None),
    ("v|hash", "abc", "00017862"),
    ("v|hash", "a long text that overflows", "7BD267FA"),
]


LISTED = """
jsonparse jsonstringify indexOf length trim substr touppercase tolowercase tostring replacestr
replaceregexp replaceallregexp split joinarrtostr concatarr addreduce lengtharray typeof isarray
isnan parseint parsefloat floor ceil round tofixed toisodate toisostring gettime timeoffset now
localestring localestringnumber urlencode urldecode mapper thmapper bitwisemask slice addset
removeset valuePicker valuePickerMulti hextostring hash
"""


def test_every_transform_of_the_provisioning_api_is_there_and_no_other() -> None:
    assert sorted(transforms(lambda: datetime.now(UTC))) == sorted(LISTED.split())


@pytest.mark.parametrize(("text", "value", "expected"), ROWS)
def test_a_transform_gives_what_it_gives_in_the_provisioning_api(
    text: str, value: Any, expected: Any
) -> None:
    assert compile_expression(text)({"v": value}) == expected


def test_a_transform_may_not_build_an_endless_text() -> None:
    get = compile_expression("v|joinarrtostr(w)")

    with pytest.raises(ExpressionError, match="longer than"):
        get({"v": [1] * 1000, "w": "x" * 1000})


def test_a_hostile_pattern_costs_linear_time() -> None:
    get = compile_expression("v|replaceallregexp('(a+)+$', 'b')")

    assert get({"v": "a" * 30_000 + "!"}) == "a" * 30_000 + "!"
