"""Codecs by name: those that are built in, and scripts in directories."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.resources.abc import Traversable
from typing import Final

from iot_agents.common.codecs.cayenne import CayenneLpp
from iot_agents.common.codecs.documents import Cbor, Json
from iot_agents.common.codecs.interface import BadCodec, Codec
from iot_agents.common.codecs.sandbox import Sandbox, Script
from iot_agents.common.codecs.script import ScriptCodec

BUILT_IN: Final[Mapping[str, Codec]] = {"cayennelpp": CayenneLpp(), "cbor": Cbor(), "json": Json()}
"""The codecs that need no file."""
LARGEST_SCRIPT: Final = 262_144
"""Bytes a script may have."""
_SCRIPT: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\.js")


class Codecs:
    """The codecs of a deployment."""

    def __init__(
        self, sandbox: Sandbox | None = None, directories: Sequence[Traversable] = ()
    ) -> None:
        """Look for scripts in directories, the first of which counts.

        Args:
            sandbox: where they run; its process begins with the first call.
        """
        self._sandbox = sandbox or Sandbox()
        self._directories = tuple(directories)

    def get(self, name: str, *nearer: Traversable) -> Codec | None:
        """Return the codec of a name, None when there is none.

        Args:
            nearer: directories to look for a script in first.

        Raises:
            BadCodec: the script is no text or too large.
        """
        if name in BUILT_IN:
            return BUILT_IN[name]
        if not _SCRIPT.fullmatch(name):
            return None
        files = (directory.joinpath(name) for directory in (*nearer, *self._directories))
        found = next((file for file in files if file.is_file()), None)
        return None if found is None else ScriptCodec(self._sandbox, _read(name, found))


def _read(name: str, file: Traversable) -> Script:
    try:
        with file.open("rb") as stream:
            source = stream.read(LARGEST_SCRIPT + 1)
        if len(source) > LARGEST_SCRIPT:
            raise BadCodec(f"{name}: larger than {LARGEST_SCRIPT} bytes")
        return Script(name, source.decode("utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadCodec(f"{name}: {error}") from error
