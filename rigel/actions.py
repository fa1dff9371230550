"""Commands that have actions, such as `rigel device import`: each with arguments of its own."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

AddAction = Callable[[str, str], argparse.ArgumentParser]
"""Adds an action, given its word and what it does; returns the parser of its arguments."""


def actions_of(
    command: argparse.ArgumentParser, common: Sequence[argparse.ArgumentParser]
) -> AddAction:
    """Return what adds actions to a command; all take the common options."""
    actions = command.add_subparsers(
        dest="action", metavar="ACTION", title="actions", required=True
    )

    def add(word: str, text: str) -> argparse.ArgumentParser:
        said = f"{text[0].upper()}{text[1:]}."
        return actions.add_parser(word, help=text, description=said, parents=list(common))

    return add
