"""A mapping's document, already known to have the right shape, compiled to closures."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable
from collections.abc import Mapping as Dict
from typing import Any, Final

from iot_agents.common.mapping import instances
from iot_agents.common.mapping.codec import CodecOf, compile_codec
from iot_agents.common.mapping.document import InvalidField, Path, written
from iot_agents.common.mapping.fields import Fields
from iot_agents.common.mapping.hints import Hints
from iot_agents.common.mapping.model import (
    AttributeRule,
    Decoding,
    EntityRule,
    LetRule,
    Mapping,
    Source,
)
from iot_agents.common.mapping.paths import InvalidPath, compile_path
from smart_data_models.jexl.values import Getter

_KIND_BY_SOURCE: Final = {"link": "Relationship", "point": "GeoProperty"}


class Compilation:
    """Compiles one document and collects what is wrong with it."""

    def __init__(self, fields: Fields, hints: Hints, codec_of: CodecOf) -> None:
        self._codec_of = codec_of
        self._fields = fields
        self._hints = hints
        self.problems: list[InvalidField] = []

    def mapping(self, document: Dict[str, Any], *, path: str) -> Mapping | None:
        """Compile the document; None when `problems` says why not."""
        lets = self._collected(self._let, document.get("let", {}).items())
        entities = self._collected(self._entity, enumerate(document["entities"]))
        decoding = self._one(self._decoding, document.get("decode"))
        when = self._one(
            lambda text: self._fields.expression(text, ("when",)), document.get("when")
        )
        if self.problems:
            return None
        return Mapping(
            name=document["mapping"],
            title=document.get("title", ""),
            source=_source(document["source"]),
            specificity=_specificity(document),
            when=when,
            decoding=decoding,
            lets=tuple(lets),
            entities=tuple(entities),
            examples=tuple(document["examples"]),
            path=path,
        )

    def _collected(self, compile_one: Callable[[Any, Any], Any], items: Any) -> list[Any]:
        compiled = []
        for key, item in items:
            try:
                compiled.append(compile_one(key, item))
            except InvalidField as problem:
                self.problems.append(problem)
        return compiled

    def _one(self, compile_one: Callable[[Any], Any], item: Any) -> Any:
        try:
            return None if item is None else compile_one(item)
        except InvalidField as problem:
            self.problems.append(problem)
            return None

    def _when(self, text: str) -> Getter:
        return self._fields.expression(text, ("when",))

    def _let(self, name: str, field: Dict[str, Any]) -> LetRule:
        path: Path = ("let", name)
        return LetRule(name, written(path), self._fields.getter(field, path))

    def _decoding(self, section: Dict[str, Any]) -> Decoding:
        path: Path = ("decode",)
        return Decoding(
            codec=compile_codec(section, path, self._codec_of),
            data=_path(section.get("bytes", "data"), (*path, "bytes")),
            port=_path(section.get("port", "fPort"), (*path, "port")),
            encoding=section.get("encoding", "base64"),
            into=section.get("into", "decoded"),
        )

    def _entity(self, index: int, entity: Dict[str, Any]) -> EntityRule:
        path: Path = ("entities", index)
        attributes = self._collected(
            lambda name, field: self._attribute(entity, name, field, (*path, "attributes", name)),
            entity["attributes"].items(),
        )
        at, when, each = entity.get("at"), entity.get("when"), entity.get("each")
        return EntityRule(
            field=written(path),
            type=entity["type"],
            identify=self._fields.uri(entity["id"], (*path, "id")),
            attributes=tuple(attributes),
            observed_at=None if at is None else self._fields.moment(at, (*path, "at")),
            when=None if when is None else self._fields.expression(when, (*path, "when")),
            each=None if each is None else _path(each, (*path, "each")),
            item_name=entity.get("as", "item"),
        )

    def _attribute(
        self, entity: Dict[str, Any], name: str, field: Dict[str, Any], path: Path
    ) -> AttributeRule:
        word = self._fields.source_of(field, path)
        hint = self._hints(entity["type"], name)
        kind = field.get("kind") or _KIND_BY_SOURCE.get(word) or hint.kind
        observed = field.get("observed", entity.get("observed", False))
        if observed and "at" not in entity and "at" not in field:
            raise InvalidField(path, "is observed, but neither it nor its entity has `at`")
        own_at, when = field.get("at"), field.get("when")
        unit = field.get("unit", "")
        told = "{" in unit
        return AttributeRule(
            name=name,
            field=written(path),
            value=self._fields.getter(hint.conversions(field, word), path),
            instance=instances.builder(
                kind, None if told else unit or None, trusted=word in _KIND_BY_SOURCE
            ),
            unit=self._fields.getter({"text": unit}, (*path, "unit")) if told else None,
            observed=observed,
            observed_at=None if own_at is None else self._fields.moment(own_at, (*path, "at")),
            when=None if when is None else self._fields.expression(when, (*path, "when")),
        )


def _path(text: str, path: Path) -> Getter:
    try:
        return compile_path(text)
    except InvalidPath as error:
        raise InvalidField(path, str(error)) from error


def _source(source: Dict[str, Any]) -> Callable[[Source], bool]:
    protocol, formats = source["protocol"], source.get("format")
    topic = _topic_pattern(source["topic"]) if "topic" in source else None
    profiles = _profile_pattern(source["profile"]) if "profile" in source else None

    def matches(origin: Source) -> bool:
        return (
            origin.protocol == protocol
            and (formats is None or origin.format == formats)
            and (topic is None or topic.fullmatch(origin.topic) is not None)
            and (profiles is None or profiles.fullmatch(origin.profile) is not None)
        )

    return matches


def _topic_pattern(topic: str) -> re.Pattern[str]:
    levels = {"+": "[^/]*", "#": ".*"}
    parts = [levels.get(level, re.escape(level)) for level in topic.split("/")]
    return re.compile("/".join(parts).replace("/.*", "(?:/.*)?"), re.DOTALL)


def _profile_pattern(profiles: str | list[str]) -> re.Pattern[str]:
    names = [profiles] if isinstance(profiles, str) else profiles
    return re.compile("|".join(fnmatch.translate(name) for name in names), re.IGNORECASE)


def _specificity(document: Dict[str, Any]) -> int:
    source = document["source"]
    weights = {"profile": 4, "topic": 2, "format": 1}
    return sum(w for key, w in weights.items() if key in source) + 2 * ("when" in document)
