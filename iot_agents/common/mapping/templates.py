"""Texts with parts from the payload: `urn:ngsi-ld:Device:{deviceInfo.devEui}`.

What stands in braces is an expression. In an id or a link its text is made safe for URLs:
characters outside `A-Za-z0-9._:-` become `_`. A template that is nothing but one pair of braces
takes its text as it is; in an id or a link that must then be a URI.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from broker.core.identifiers import is_uri
from iot_agents.common.mapping.paths import InvalidPath, compile_path
from smart_data_models.jexl.expressions import compile_expression
from smart_data_models.jexl.syntax import InvalidExpression
from smart_data_models.jexl.values import MISSING, ExpressionError, Getter, Scope, to_text

_PART: Final = re.compile(r"\{((?:[^{}'\"]|'[^']*'|\"[^\"]*\")*)\}")
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._:\-]")
_PLAIN_PATH: Final = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)


def compile_text(template: str) -> Getter:
    """Compile a template to a getter of text, MISSING when one of its parts is.

    Raises:
        InvalidExpression: what stands in braces is not an expression.
    """
    literals, getters = _parts(template)
    return _joined(literals, getters, to_text)


def compile_uri(template: str) -> Getter:
    """Compile a template to a getter of a URI, MISSING when one of its parts is.

    Raises:
        InvalidExpression: what stands in braces is not an expression, or no URI can come of it.
    """
    literals, getters = _parts(template)
    if len(getters) == 1 and not any(literals):
        return _whole(getters[0])
    if not is_uri(template if not getters else literals[0] + "x"):
        raise InvalidExpression(f"{template!r:.80} does not begin like a URI")
    return _joined(literals, getters, url_safe)


def url_safe(value: Any) -> str:
    """Return a value as text that may stand in the id of an entity."""
    return _UNSAFE.sub("_", value if isinstance(value, str) else to_text(value))


def _parts(template: str) -> tuple[list[str], list[Getter]]:
    pieces = _PART.split(template)
    literals, expressions = pieces[::2], pieces[1::2]
    if any("{" in literal or "}" in literal for literal in literals):
        raise InvalidExpression(f"{template!r:.80} has an open or stray brace")
    return literals, [_getter(expression) for expression in expressions]


def _getter(expression: str) -> Getter:
    if _PLAIN_PATH.fullmatch(expression):
        try:
            return compile_path(expression)
        except InvalidPath as error:
            raise InvalidExpression(str(error)) from error
    return compile_expression(expression)


def _whole(get: Getter) -> Getter:
    def uri(scope: Scope) -> Any:
        value = get(scope)
        if value is MISSING or value is None:
            return MISSING
        if not is_uri(value):
            raise ExpressionError(f"expected a URI, got {value!r:.80}")
        return value

    return uri


def _joined(literals: list[str], getters: list[Getter], write: Callable[[Any], str]) -> Getter:
    first = literals[0]
    if not getters:
        return lambda _: first
    if len(getters) == 1:
        get, last = getters[0], literals[1]

        def one(scope: Scope) -> Any:
            value = get(scope)
            return MISSING if value is MISSING or value is None else first + write(value) + last

        return one
    rest = list(zip(getters, literals[1:], strict=True))

    def many(scope: Scope) -> Any:
        text = first
        for each, literal in rest:
            value = each(scope)
            if value is MISSING or value is None:
                return MISSING
            text += write(value) + literal
        return text

    return many
