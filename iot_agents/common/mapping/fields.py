"""The words of a mapping's fields, compiled to getters.

A field says where its value comes from with exactly one of the source words, and what is then done
with it by a conversion: `enum` (with `else`), then `time`, `scale` or `number`. Where another field
is expected, plain text is short for `from:`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from iot_agents.common.mapping import arrays, enums, instances, numbers, templates
from iot_agents.common.mapping.document import InvalidField, Path
from iot_agents.common.mapping.paths import InvalidPath, compile_path
from smart_data_models.jexl import times
from smart_data_models.jexl.expressions import compile_expression
from smart_data_models.jexl.syntax import InvalidExpression
from smart_data_models.jexl.values import MISSING, ExpressionError, Getter, Scope, truthy

Tables = Callable[[str], Mapping[Any, Any] | None]
"""Finds a table of words by its name."""

SCALES: Final = {"text": times.SECONDS, "seconds": times.SECONDS, "milliseconds": 1000}


class Fields:
    """Compiles fields; errors say where in the mapping they are."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._sources: dict[str, Callable[[Any, Path], Getter]] = {
            "from": self._from,
            "expr": self.expression,
            "value": lambda value, _: lambda _: value,
            "text": self._text,
            "link": self._link,
            "point": self._point,
            "object": self._object,
            "choose": self._choose,
            **{word: self._fold(word) for word in arrays.FOLDS},
        }

    def source_of(self, field: Mapping[str, Any], path: Path) -> str:
        """Return the word that says where the value comes from.

        Raises:
            InvalidField: there is none, or more than one.
        """
        words = [word for word in field if word in self._sources]
        if len(words) != 1:
            found = " and ".join(words) or "none"
            raise InvalidField(path, f"expected one of {', '.join(self._sources)}; found {found}")
        return words[0]

    def getter(self, field: Mapping[str, Any] | str, path: Path) -> Getter:
        """Compile a field with its conversions."""
        if isinstance(field, str):
            return self._from(field, path)
        word = self.source_of(field, path)
        get = self._sources[word](field[word], (*path, word))
        return self._converted(get, field, path)

    def expression(self, text: str, path: Path) -> Getter:
        """Compile a JEXL expression."""
        try:
            return compile_expression(text)
        except InvalidExpression as error:
            raise InvalidField(path, str(error)) from error

    def uri(self, template: str, path: Path) -> Getter:
        """Compile a template of a URI."""
        try:
            return templates.compile_uri(template)
        except InvalidExpression as error:
            raise InvalidField(path, str(error)) from error

    def moment(self, field: Mapping[str, Any] | str, path: Path) -> Getter:
        """Compile a field that must give a moment, to a getter of UTC text."""
        if isinstance(field, str):
            field = {"from": field}
        get = self.getter({"time": "text", **field}, path)

        def moment(scope: Scope) -> Any:
            value = get(scope)
            if value is MISSING:
                raise ExpressionError("the payload has no time")
            return value

        return moment

    def _converted(self, get: Getter, field: Mapping[str, Any], path: Path) -> Getter:
        if "enum" in field:
            table = self._table(field["enum"], (*path, "enum"))
            get = enums.translated(get, table, field.get("else", MISSING))
        elif "else" in field:
            raise InvalidField((*path, "else"), "has no enum to go with")
        if "time" in field:
            return _moments(get, SCALES[field["time"]])
        if "scale" in field:
            return numbers.scaled(get, field["scale"])
        return numbers.as_number(get) if field.get("number") else get

    def _table(self, table: Mapping[Any, Any] | str, path: Path) -> Mapping[Any, Any]:
        if not isinstance(table, str):
            return table
        found = self._tables(table)
        if found is None:
            raise InvalidField(path, f"there is no table {table!r}")
        return found

    def _from(self, source: str | list[str], path: Path) -> Getter:
        try:
            if isinstance(source, str):
                return compile_path(source)
            return _first_present([compile_path(each) for each in source])
        except InvalidPath as error:
            raise InvalidField(path, str(error)) from error

    def _text(self, template: str, path: Path) -> Getter:
        try:
            return templates.compile_text(template)
        except InvalidExpression as error:
            raise InvalidField(path, str(error)) from error

    def _link(self, template: str | list[str], path: Path) -> Getter:
        if isinstance(template, str):
            return self.uri(template, path)
        links = [self.uri(each, (*path, index)) for index, each in enumerate(template)]

        def several(scope: Scope) -> Any:
            found = [uri for link in links if (uri := link(scope)) is not MISSING]
            return found or MISSING

        return several

    def _point(self, point: list[Any], path: Path) -> Getter:
        longitude, latitude = (
            numbers.as_number(self.getter(part, (*path, index))) for index, part in enumerate(point)
        )

        def geometry(scope: Scope) -> Any:
            east, north = longitude(scope), latitude(scope)
            if east is MISSING or north is MISSING:
                return MISSING
            if not (-180 <= east <= 180 and -90 <= north <= 90):  # noqa: PLR2004 - the globe
                instances.check_positions([east, north])
            return {"type": "Point", "coordinates": [east, north]}

        return geometry

    def _object(self, members: Mapping[str, Any], path: Path) -> Getter:
        getters = [(name, self.getter(part, (*path, name))) for name, part in members.items()]

        def built(scope: Scope) -> Any:
            values = {
                name: value
                for name, get in getters
                if (value := get(scope)) is not MISSING and value is not None
            }
            return values or MISSING

        return built

    def _choose(self, cases: list[Mapping[str, Any]], path: Path) -> Getter:
        compiled: list[tuple[Getter | None, Getter]] = []
        for index, case in enumerate(cases):
            inner = (*path, index)
            when = self.expression(case["when"], (*inner, "when")) if "when" in case else None
            compiled.append((when, self.getter(case, inner)))

        def chosen(scope: Scope) -> Any:
            for when, get in compiled:
                test = True if when is None else when(scope)
                if test is MISSING:
                    return MISSING
                if truthy(test):
                    return get(scope)
            return MISSING

        return chosen

    def _fold(self, word: str) -> Callable[[Any, Path], Getter]:
        fold = arrays.FOLDS[word]

        def compiled(items: Mapping[str, Any] | str, path: Path) -> Getter:
            if isinstance(items, str):
                items = {"of": items}
            where, take = items.get("where"), items.get("take")
            return arrays.folded(
                arrays.Items(
                    self._from(items["of"], (*path, "of")),
                    None if where is None else self.expression(where, (*path, "where")),
                    None if take is None else self.getter(take, (*path, "take")),
                ),
                fold,
            )

        return compiled


def _first_present(getters: list[Getter]) -> Getter:
    def first(scope: Scope) -> Any:
        for get in getters:
            value = get(scope)
            if value is not MISSING and value is not None:
                return value
        return MISSING

    return first


def _moments(get: Getter, scale: int) -> Getter:
    def moment(scope: Scope) -> Any:
        value = get(scope)
        if value is MISSING or value is None:
            return MISSING
        try:
            return times.utc_text(value, scale)
        except ValueError as error:
            raise ExpressionError(f"expected a date-time, got {value!r:.60}") from error

    return moment
