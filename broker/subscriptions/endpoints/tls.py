"""Whom endpoints over https and mqtts are trusted by, and what is shown to those who ask."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

_C = TypeVar("_C", bound=ssl.SSLContext)


@dataclass(frozen=True, slots=True)
class Trust:
    """Files in PEM form.

    Attributes:
        authorities: whose certificates are accepted besides those of the system's authorities.
        certificate: the broker's own certificate with its key.
    """

    authorities: Path | None = None
    certificate: Path | None = None

    def context(self, kind: type[_C]) -> _C:
        """Make a context that checks certificates and names; this reads files.

        Raises:
            OSError: a file cannot be read or is not what it should be; the text names it.
        """
        made = kind(ssl.PROTOCOL_TLS_CLIENT)
        made.load_default_certs()
        path = None
        try:
            if self.authorities is not None:
                path = self.authorities
                made.load_verify_locations(path)
            if self.certificate is not None:
                path = self.certificate
                made.load_cert_chain(path)
        except OSError as error:
            reason = error.strerror or str(error)
            raise OSError(f"{path} holds no usable certificates: {reason}") from error
        return made


SYSTEM: Final = Trust()
"""Trust in the system's authorities alone."""
