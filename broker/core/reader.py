"""Read one request's documents: expand names, find nulls, recognise DateTimes (clause 5.5.4)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from broker.core import vocabulary
from broker.core.errors import BadRequestData
from broker.core.identifiers import NGSI_LD_NULL, Iri
from broker.core.timestamps import check_timestamp

if TYPE_CHECKING:
    from broker.core.ld_context import LdContext

_SHAPE = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]{1,9})?Z")

DELETED: Final[Any] = None
"""What a null is read as."""


class Reader:
    """Reads the documents of one request.

    Attributes:
        expand: turns a short name into an IRI.
        whole: the document is complete: values are there and nothing is null (5.5.4). Otherwise
            it is a fragment, in which a null stands for a deletion and is read as None.
        nested_null: where a null stands inside a value, which only a merge takes (5.5.12).
    """

    __slots__ = ("expand", "nested_null", "whole")

    def __init__(self, ld_context: LdContext, *, whole: bool) -> None:
        self.expand = ld_context.expand
        self.whole = whole
        self.nested_null: str | None = None

    def null(self, where: str) -> Any:
        """Return what an NGSI-LD Null is read as: a deletion.

        Raises:
            BadRequestData: the document is a whole one.
        """
        if self.whole:
            raise BadRequestData(f"{where}: {NGSI_LD_NULL} is for deletions in fragments only")
        return DELETED

    def name(self, name: Any, where: str) -> Iri:
        """Expand the name of a type, of an attribute or of a datatype.

        Raises:
            BadRequestData: it is no name of clause 4.6.2, or it has no IRI.
        """
        error = _name_error(name) if isinstance(name, str) else "is no text"
        if error is not None:
            raise BadRequestData(f"{where}: {name!r:.120} {error}")
        try:
            return self.expand(name)
        except BadRequestData as problem:
            raise BadRequestData(f"{where}: {problem.detail}") from problem

    def term(self, term: str, where: str) -> Iri:
        """Expand any text in the vocabulary of the @context.

        Raises:
            BadRequestData: the text has no IRI.
        """
        try:
            return self.expand(term)
        except BadRequestData as error:
            raise BadRequestData(f"{where}: {error.detail}") from error

    def scan(self, value: Any, where: str, depth: int = 0, *, deletes: bool = True) -> None:
        """Look for nulls in an array or object, and for nesting that is too deep.

        Args:
            deletes: a null may delete a key here; nothing can be deleted inside an array.

        Raises:
            BadRequestData: there is a null where nothing can be deleted, or the value is nested
                too deep.
        """
        if depth > vocabulary.MAX_VALUE_DEPTH:
            raise BadRequestData(f"{where:.200}: nested deeper than {vocabulary.MAX_VALUE_DEPTH}")
        if type(value) is dict:
            self._scan_object(value, where, depth, deletes=deletes)
            return
        for place, item in enumerate(value):
            kind = type(item)
            if kind is dict or kind is list:
                self.scan(item, f"{where}[{place}]", depth + 1, deletes=False)
            elif item == NGSI_LD_NULL:
                raise BadRequestData(f"{where}[{place}]: {NGSI_LD_NULL} deletes nothing here")

    def _scan_object(
        self, value: Mapping[str, Any], where: str, depth: int, *, deletes: bool
    ) -> None:
        for key, item in value.items():
            kind = type(item)
            if kind is dict or kind is list:
                self.scan(item, f"{where}.{key}", depth + 1, deletes=deletes)
            elif item == NGSI_LD_NULL:
                if not deletes:
                    raise BadRequestData(f"{where}.{key}: {NGSI_LD_NULL} deletes nothing here")
                self.null(f"{where}.{key}")
                self.nested_null = f"{where}.{key}"


@lru_cache(maxsize=4096)
def _name_error(name: str) -> str | None:
    return vocabulary.name_error(name)


def is_date_time(text: str) -> bool:
    """Tell quickly that a text is a DateTime of clause 4.6.3; False leaves it open."""
    if _SHAPE.fullmatch(text) is None:
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def date_time(value: Any, where: str) -> str:
    """Return a DateTime as it came.

    Raises:
        BadRequestData: it is none.
    """
    if type(value) is str and is_date_time(value):
        return value
    return check_timestamp(value, where)
