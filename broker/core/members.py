"""Read the members of attribute instances: which there are per kind, and what they may hold.

`TABLES` says for each kind of attribute (clauses 4.5.2, 4.5.3, 4.5.18, 4.5.20–4.5.24) what is done
with each core member; what is in no table is the name of a sub-attribute.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple

from broker.core import vocabulary
from broker.core.errors import BadRequestData
from broker.core.geometry import check_geometry
from broker.core.identifiers import NGSI_LD_NULL, check_uri
from broker.core.reader import Reader, date_time, is_date_time
from broker.core.timestamps import check_timestamp

_LANGUAGE = re.compile(r"@none|[A-Za-z0-9]{1,8}(-[A-Za-z0-9]{1,8})*")
_LANG_STRING = "http://www.w3.org/1999/02/22-rdf-syntax-ns#langString"
_LANGUAGE_NULL = {"@none": NGSI_LD_NULL}


ReadMember = Callable[[Reader, Any, str], Any]
"""Checks a member of the instance at the path given, and returns it as it is kept; None deletes."""


class Table(NamedTuple):
    """How an instance of one kind is read.

    Attributes:
        kind: the kind's name; empty for a fragment without a type.
        value: the member that holds the value.
        members: what to do with each core member; False means nothing.
        allowed: the members that a client may give, beside type and datasetId.
    """

    kind: str
    value: str
    members: Mapping[str, ReadMember | Literal[False]]
    allowed: frozenset[str]


def _objects(reader: Reader, value: Any, where: str) -> Any:
    if type(value) is list:
        if value == [NGSI_LD_NULL]:
            return reader.null(f"{where}.object")
        _check_count(value, f"{where}.object")
        return [_target(uri, f"{where}.object[{n}]") for n, uri in enumerate(value)]
    if value == NGSI_LD_NULL:
        return reader.null(f"{where}.object")
    return check_uri(value, f"{where}.object")


def _target(value: Any, where: str) -> str:
    if value == NGSI_LD_NULL:
        raise BadRequestData(f"{where}: {NGSI_LD_NULL} deletes nothing here")
    return check_uri(value, where)


def _check_count(values: list[Any], where: str) -> None:
    if not 0 < len(values) <= vocabulary.MAX_OBJECTS:
        raise BadRequestData(
            f"{where}: expected 1 to {vocabulary.MAX_OBJECTS} URIs, got {len(values)}"
        )


def _object_list(reader: Reader, value: Any, where: str) -> Any:
    where = f"{where}.objectList"
    if type(value) is not list:
        raise BadRequestData(f"{where}: expected an array of objects, got {value!r:.80}")
    if value in ([NGSI_LD_NULL], [{"object": NGSI_LD_NULL}]):
        return reader.null(where)
    if len(value) > vocabulary.MAX_OBJECTS:
        _check_count(value, where)
    return [_list_item(item, f"{where}[{place}]") for place, item in enumerate(value)]


def _list_item(item: Any, where: str) -> str:
    if type(item) is dict and len(item) == 1 and "object" in item:
        return _target(item["object"], f"{where}.object")
    return _target(item, where)


def _value(reader: Reader, value: Any, where: str) -> Any:
    kind = type(value)
    if kind is dict or kind is list:
        reader.scan(value, f"{where}.value")
    elif value is None:
        raise BadRequestData(f"{where}.value: expected a value, got null")
    elif value == NGSI_LD_NULL:
        return reader.null(f"{where}.value")
    return value


def _geometry(reader: Reader, value: Any, where: str) -> Any:
    if value == NGSI_LD_NULL:
        return reader.null(f"{where}.value")
    return check_geometry(value, f"{where}.value")


def _language_map(reader: Reader, value: Any, where: str) -> Any:
    where = f"{where}.languageMap"
    if value in (_LANGUAGE_NULL, NGSI_LD_NULL):
        return reader.null(where)
    if type(value) is not dict or (reader.whole and not value):
        raise BadRequestData(f"{where}: expected an object of languages, got {value!r:.80}")
    for tag, text in value.items():
        if not _LANGUAGE.fullmatch(tag) or len(tag) > vocabulary.MAX_TEXT_LENGTH:
            raise BadRequestData(f"{where}: expected a language tag or @none, got {tag!r:.80}")
        if text == NGSI_LD_NULL:
            reader.null(f"{where}.{tag}")
            reader.nested_null = f"{where}.{tag}"
        elif not is_text(text):
            raise BadRequestData(
                f"{where}.{tag}: expected a text or an array of texts, got {text!r:.80}"
            )
    return value


def is_text(value: Any) -> bool:
    """Tell whether a value is a text or an array of texts, none of them null."""
    if isinstance(value, str):
        return True
    return type(value) is list and all(
        isinstance(item, str) and item != NGSI_LD_NULL for item in value
    )


def _vocab(reader: Reader, value: Any, where: str) -> Any:
    where = f"{where}.vocab"
    if value in (NGSI_LD_NULL, [NGSI_LD_NULL]):
        return reader.null(where)
    if not value or not is_text(value):
        raise BadRequestData(f"{where}: expected a text or an array of texts, got {value!r:.80}")
    if isinstance(value, str):
        return reader.term(value, where)
    return [reader.term(term, f"{where}[{place}]") for place, term in enumerate(value)]


def _json(reader: Reader, value: Any, where: str) -> Any:
    where = f"{where}.json"
    if value in (NGSI_LD_NULL, [NGSI_LD_NULL]):
        return reader.null(where)
    is_objects = type(value) is list and all(type(item) is dict for item in value)
    if not is_objects and type(value) is not dict:
        raise BadRequestData(f"{where}: expected an object or an array of them, got {value!r:.80}")
    reader.scan(value, where)
    return value


def _value_list(reader: Reader, value: Any, where: str) -> Any:
    where = f"{where}.valueList"
    if type(value) is not list:
        raise BadRequestData(f"{where}: expected an array, got {value!r:.80}")
    if value == [NGSI_LD_NULL]:
        return reader.null(where)
    reader.scan(value, where)
    return value


def _observed_at(reader: Reader, value: Any, where: str) -> Any:
    if value == NGSI_LD_NULL:
        return reader.null(f"{where}.observedAt")
    if type(value) is str and is_date_time(value):
        return value
    return check_timestamp(value, f"{where}.observedAt")


def _expires_at(reader: Reader, value: Any, where: str) -> Any:
    if value == NGSI_LD_NULL:
        return reader.null(f"{where}.expiresAt")
    return date_time(value, f"{where}.expiresAt")


def _unit_code(reader: Reader, value: Any, where: str) -> Any:
    if value == NGSI_LD_NULL:
        return reader.null(f"{where}.unitCode")
    if not isinstance(value, str) or not 0 < len(value) <= vocabulary.MAX_TEXT_LENGTH:
        raise BadRequestData(f"{where}.unitCode: expected a unit code, got {value!r:.80}")
    return value


def _value_type(reader: Reader, value: Any, where: str) -> Any:
    if value == NGSI_LD_NULL:
        return reader.null(f"{where}.valueType")
    return reader.name(value, f"{where}.valueType")


def _lang_string(reader: Reader, value: Any, where: str) -> Any:
    iri = _value_type(reader, value, where)
    if iri not in (None, _LANG_STRING):
        raise BadRequestData(f"{where}.valueType: expected langString, got {value!r:.80}")
    return iri


def _object_type(reader: Reader, value: Any, where: str) -> Any:
    where = f"{where}.objectType"
    if value == NGSI_LD_NULL:
        return reader.null(where)
    if type(value) is not list:
        return reader.name(value, where)
    if not 0 < len(value) <= vocabulary.MAX_TYPES:
        raise BadRequestData(f"{where}: expected 1 to {vocabulary.MAX_TYPES} types")
    return [reader.name(name, f"{where}[{place}]") for place, name in enumerate(value)]


def _proof_value(reader: Reader, value: Any, where: str) -> Any:
    if type(value) is not dict:
        if value == NGSI_LD_NULL:
            return reader.null(f"{where}.value")
        raise BadRequestData(f"{where}.value: expected a proof object, got {value!r:.80}")
    reader.scan(value, f"{where}.value")
    return value


def _entity_id_sealed(_: Reader, value: Any, where: str) -> str:
    return check_uri(value, f"{where}.entityIdSealed")


def _entity_type_sealed(reader: Reader, value: Any, where: str) -> str:
    return reader.name(value, f"{where}.entityTypeSealed")


def _prohibited(member: str, kind: str) -> ReadMember:
    message = f"{member}: has no place in {f'a {kind}' if kind else 'an attribute without value'}"

    def refuse(_: Reader, _value: Any, where: str) -> None:
        raise BadRequestData(f"{where}.{message}")

    return refuse


def _table(kind: str, value: str, /, **members: ReadMember | Literal[False]) -> Table:
    known: dict[str, ReadMember | Literal[False]] = {
        "type": False,
        "@type": False,
        "datasetId": False,
        "instanceId": False,
        "observedAt": _observed_at,
        "expiresAt": _expires_at,
        **dict.fromkeys(vocabulary.READ_ONLY_MEMBERS, False),
        **members,
    }
    refused = {
        member: _prohibited(member, kind)
        for member in (
            *vocabulary.RESERVED_NAMES,
            *vocabulary.VALUE_KINDS,
            "scope",
            "@context",
        )
        if member not in known
    }
    allowed = frozenset(member for member, read in known.items() if read)
    return Table(kind, value, {**refused, **known}, allowed)


# `entity` and `entityList` are what an inline join shows (4.5.23.2), and ignored on the way back.
TABLES: Final[Mapping[str, Table]] = {
    table.kind: table
    for table in (
        _table("Property", "value", value=_value, unitCode=_unit_code, valueType=_value_type),
        _table("GeoProperty", "value", value=_geometry, unitCode=_unit_code, valueType=_value_type),
        _table("Relationship", "object", object=_objects, objectType=_object_type, entity=False),
        _table(
            "LanguageProperty", "languageMap", languageMap=_language_map, valueType=_lang_string
        ),
        _table("VocabProperty", "vocab", vocab=_vocab, valueType=_value_type),
        _table("JsonProperty", "json", json=_json, valueType=_value_type),
        _table(
            "ListProperty",
            "valueList",
            valueList=_value_list,
            unitCode=_unit_code,
            valueType=_value_type,
        ),
        _table(
            "ListRelationship",
            "objectList",
            objectList=_object_list,
            objectType=_object_type,
            entityList=False,
        ),
    )
}

PROOF_TABLE: Final = _table(
    "Property",
    "value",
    value=_proof_value,
    entityIdSealed=_entity_id_sealed,
    entityTypeSealed=_entity_type_sealed,
)
"""How `ngsildproof` is read (clauses 4.5.2.2, C.11)."""

UNTYPED_TABLE: Final = _table(
    "", "value", unitCode=_unit_code, valueType=_value_type, objectType=_object_type
)
"""How a fragment is read that has neither a type nor a value: it leaves both as they are."""
