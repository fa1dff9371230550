"""A role: what it listens to, and the engine behind it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from subscribers.common.intake import Build

Report = Callable[[sqlite3.Connection, Mapping[str, str]], Any]
"""Reads from the file what a GET is answered with, None for a 404; given the path's names."""


@dataclass(frozen=True, slots=True)
class Binding:
    """One subscription a role needs.

    Attributes:
        name: unique in the role.
        description: what an operator reads in the subscription.
        entity_type: whose changes are wanted.
        attributes: which are watched and told; none given is all.
        measured: those of them whose observations matter one by one.
    """

    name: str
    description: str
    entity_type: str
    attributes: tuple[str, ...] = ()
    measured: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Role:
    """What the server needs to run a role.

    Attributes:
        name: also of its file and its paths.
        migrations: the scripts of its file.
        reports: what can be read of it over HTTP, by path.
    """

    name: str
    bindings: Sequence[Binding]
    build: Build
    migrations: Sequence[str]
    reports: Mapping[str, Report]
