"""Read the text of a query language from left to right; what is wrong is told with its position."""

from __future__ import annotations

import re
from typing import NoReturn

from broker.core.errors import BadRequestData, TooComplexQuery

MAX_LENGTH = 8192
"""Characters of one query text."""

MAX_DEPTH = 32
"""Parentheses, or linked entities, inside each other."""

NAME = re.compile(r"[^\W\d_]\w*(?::[^\W\d_]\w*)?")
"""A name of clause 4.6.2, with or without a prefix."""

_SHOWN = 12


class Scanner:
    """A text and how far it has been read.

    Attributes:
        language: the parameter the text came in, for error messages.
        position: the index of the next character.
    """

    __slots__ = ("language", "position", "text")

    def __init__(self, language: str, text: str) -> None:
        """Start at the beginning.

        Raises:
            TooComplexQuery: the text is longer than any honest one.
        """
        if len(text) > MAX_LENGTH:
            raise TooComplexQuery(f"{language}: longer than {MAX_LENGTH} characters")
        self.language = language
        self.text = text
        self.position = 0

    @property
    def next(self) -> str:
        """The next character, empty at the end."""
        return self.text[self.position : self.position + 1]

    @property
    def at_end(self) -> bool:
        """Whether everything has been read."""
        return self.position >= len(self.text)

    def take(self, *options: str) -> str:
        """Read the first of the options that stands here and return it, else an empty text."""
        for option in options:
            if self.text.startswith(option, self.position):
                self.position += len(option)
                return option
        return ""

    def match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Read what fits the pattern here."""
        found = pattern.match(self.text, self.position)
        if found is not None:
            self.position = found.end()
        return found

    def expect(self, option: str, expected: str) -> None:
        """Read this very text.

        Raises:
            BadRequestData: something else stands here.
        """
        if not self.take(option):
            self.fail(expected)

    def expect_end(self, expected: str) -> None:
        """Make sure that nothing is left.

        Raises:
            BadRequestData: there is more.
        """
        if not self.at_end:
            self.fail(expected)

    def fail(self, expected: str, position: int | None = None) -> NoReturn:
        """Say what was expected where; positions count from 1.

        Raises:
            BadRequestData: always.
        """
        place = self.position if position is None else position
        rest = self.text[place : place + _SHOWN]
        found = f"{rest!r}" if rest else "the end"
        raise BadRequestData(
            f"{self.language}: expected {expected} at position {place + 1}, got {found}"
        )
