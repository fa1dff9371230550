r"""Regular expressions that cannot stall the broker: RE2 runs in time linear in the text.

The clauses ask for POSIX expressions (IEEE 1003.2); RE2 reads those and the usual `\\d`, `\\w`.
A pattern fits when it is found anywhere in the text; `^` and `$` tie it to the ends.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import re2

from broker.core.errors import BadRequestData, TooComplexQuery

MAX_PATTERN = 1000
"""Characters of one pattern."""

MAX_PROGRAM = 5000
"""Instructions a pattern may compile to; repeated counts such as `(a{50}){50}` exceed it."""

_MEMORY = 8 << 20
_LITERAL = r"((?:[^\\.+*?()|\[\]{}^$]|\\[^\w\s])*)"
_START = re.compile(rf"\^{_LITERAL}(.?)", re.DOTALL)
_SIMPLE = re.compile(rf"(\^|\.\*)?{_LITERAL}(\.\*)?(\$)?", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


@lru_cache(maxsize=512)
def finder(pattern: str, where: str) -> Callable[[str], object]:
    """Return a function that tells whether the pattern is found in a text.

    Raises:
        BadRequestData: the pattern is not a regular expression of RE2.
        TooComplexQuery: it is too long or unfolds to too much.
    """
    if len(pattern) > MAX_PATTERN:
        raise TooComplexQuery(f"{where}: a pattern of more than {MAX_PATTERN} characters")
    simple = _SIMPLE.fullmatch(pattern)
    return _finder(pattern, where) if simple is None else _text_test(*simple.groups())


def _finder(pattern: str, where: str) -> Callable[[str], object]:
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = _MEMORY
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0]
        text = reason.decode() if isinstance(reason, bytes) else str(reason)
        raise BadRequestData(
            f"{where}: {pattern!r:.120} is no regular expression: {text}"
        ) from error
    if compiled.programsize > MAX_PROGRAM:
        raise TooComplexQuery(f"{where}: the pattern {pattern!r:.120} unfolds to too much")
    search: Callable[[str], object] = compiled.search
    return search


def _text_test(
    start: str | None, escaped: str, rest: str | None, end: str | None
) -> Callable[[str], object]:
    """Do without an engine where a pattern is a text with `^`, `$` or `.*` around it."""
    literal = _ESCAPED.sub(r"\1", escaped)
    if start != "^":
        if end and not rest:
            return lambda text: text.endswith(literal)
        if not end:
            return lambda text: literal in text
        return lambda text: (
            literal in text and "\n" not in text[text.rindex(literal) :][len(literal) :]
        )
    if end is None:
        return lambda text: text.startswith(literal)
    if rest is None:
        return literal.__eq__
    return lambda text: text.startswith(literal) and "\n" not in text[len(literal) :]


class Plain(NamedTuple):
    """A pattern that is a text, which may be tied to the start or the end."""

    text: str
    at_start: bool
    at_end: bool


def plain(pattern: str) -> Plain | None:
    """Return what a pattern is without an engine; None if it takes one."""
    found = _SIMPLE.fullmatch(pattern)
    if found is None:
        return None
    start, escaped, rest, end = found.groups()
    if end and rest:  # whose `.*` a line's end stops
        return None
    return Plain(_ESCAPED.sub(r"\1", escaped), start == "^", end is not None)


def literal_prefix(pattern: str) -> str:
    """Return the text that everything the pattern fits starts with; empty if there is none."""
    found = _START.match(pattern)
    if found is None or "|" in pattern:
        return ""
    prefix = _ESCAPED.sub(r"\1", found.group(1))
    return prefix[:-1] if found.group(2) in ("?", "*", "{") and prefix else prefix
