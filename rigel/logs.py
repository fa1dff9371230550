"""Where log lines go and what they look like."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

LEVELS: Final = ("debug", "info", "warning", "error")
# What these say at INFO is about themselves and not about the platform.
_CHATTY: Final = ("amqtt", "transitions", "aiohttp.access")
_LAYOUT: Final = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def set_up(level: str, file: Path | None = None) -> None:
    """Send log lines of this level and above to a file, or to the error output."""
    logging.basicConfig(level=level.upper(), format=_LAYOUT, filename=file, force=True)
    for library in _CHATTY:
        logging.getLogger(library).setLevel(logging.WARNING)
