"""Device payloads as declared byte layouts: the `decode:` section of a mapping, compiled.

The section names a codec, or it is a layout.

A layout is a list of frames. The first whose port and length fit is read: `skip` bytes, then the
`fields` one after the other, then `records`, each a tag in hex and its own fields, until the end.

A field is a number of bytes (`type`), or with `times` a list of them. Of the number: `missing`
lists the codes that mean no value, `mask` keeps bits, `bit` makes it a boolean, `add` and `scale`
make the value (`(number + add) * scale`), `enum` a word. `at` moves to a byte of the frame, or of
the record. `when` reads the field only if a bit of an earlier one is set (`{flags: 0}`),
`keep: false` leaves it out of the result, `join` makes a text of a list.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from iot_agents.common.codecs.interface import BadCodec, Codec, PayloadError
from iot_agents.common.mapping import numbers
from iot_agents.common.mapping.document import InvalidField, Path
from smart_data_models.jexl.values import MISSING, to_text


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    size: int
    read: Callable[[bytes], Any]
    convert: Callable[[Any], Any]
    times: int
    join: str | None
    at: int | None
    flag: tuple[str, int] | None
    keep: bool


@dataclass(frozen=True, slots=True)
class _Frame:
    ports: frozenset[int] | None
    lengths: frozenset[int] | None
    skip: int
    fields: tuple[_Field, ...]
    records: Mapping[bytes, tuple[_Field, ...]]
    tag_sizes: tuple[int, ...]
    ignore_rest: bool

    def fits(self, length: int, port: int | None) -> bool:
        return (self.ports is None or port in self.ports) and (
            self.lengths is None or length in self.lengths
        )


class ByteLayout:
    """A compiled byte layout."""

    def __init__(self, frames: tuple[_Frame, ...]) -> None:
        self._frames = frames

    def decode(self, data: bytes, port: int | None = None) -> dict[str, Any]:
        """Return the named values in the bytes that came on a port.

        Raises:
            PayloadError: no frame of the layout fits the port and the bytes.
        """
        for frame in self._frames:
            if frame.fits(len(data), port):
                return _decode(frame, data)
        raise PayloadError(f"no layout for {len(data)} bytes on port {port}")


def _decode(frame: _Frame, data: bytes) -> dict[str, Any]:
    values: dict[str, Any] = {}
    hidden: dict[str, Any] = {}
    position = _read(frame.fields, data, frame.skip, values, hidden)
    while frame.records and position < len(data):
        tag = next((t for n in frame.tag_sizes if (t := data[position : position + n])
                    in frame.records), None)  # fmt: skip
        if tag is None:
            if frame.ignore_rest:
                return values
            raise PayloadError(f"unknown record {data[position : position + 2].hex()}")
        position += len(tag)
        record = frame.records[tag]
        position += _read(record, data[position:], 0, values, hidden)
    if position < len(data) and not frame.ignore_rest:
        raise PayloadError(f"{len(data) - position} bytes more than the layout has")
    return values


def _read(
    fields: tuple[_Field, ...],
    data: bytes,
    position: int,
    values: dict[str, Any],
    hidden: dict[str, Any],
) -> int:
    """Read fields into `values` (and `hidden`, those not kept) and return where they end."""
    for field in fields:
        if field.flag is not None and not _flagged(field.flag, hidden, values):
            continue
        if field.at is not None:
            position = field.at
        items = []
        for _ in range(field.times):
            piece = data[position : position + field.size]
            if len(piece) < field.size:
                raise PayloadError(f"{field.name}: the bytes end before it")
            position += field.size
            items.append(field.convert(field.read(piece)))
        value = items[0] if field.times == 1 else _several(items, field.join)
        if not field.keep:
            hidden[field.name] = value
        elif value is not MISSING:
            values[field.name] = value
    return position


def _flagged(flag: tuple[str, int], hidden: dict[str, Any], values: dict[str, Any]) -> bool:
    name, bit = flag
    return bool(int(hidden.get(name, values.get(name, 0))) >> bit & 1)


def _several(items: list[Any], join: str | None) -> Any:
    if join is not None:
        return join.join(to_text(item) for item in items)
    return [item for item in items if item is not MISSING]


CodecOf = Callable[[str], Codec | None]
"""Returns the codec of a name, None when there is none; raises BadCodec."""


def compile_codec(section: Mapping[str, Any], path: Path, codec_of: CodecOf) -> Codec:
    """Compile a `decode:` section.

    Raises:
        InvalidField: the layout contradicts itself, or the codec cannot be had.
    """
    if "codec" in section:
        return _named(section["codec"], (*path, "codec"), codec_of)
    return ByteLayout(
        tuple(
            _frame(frame, (*path, "frames", index)) for index, frame in enumerate(section["frames"])
        )
    )


def _named(name: str, path: Path, codec_of: CodecOf) -> Codec:
    try:
        codec = codec_of(name)
    except BadCodec as error:
        raise InvalidField(path, str(error)) from error
    if codec is None:
        raise InvalidField(path, f"there is no codec {name!r:.80}")
    return codec


def _frame(frame: Mapping[str, Any], path: Path) -> _Frame:
    fields = _fields(frame.get("fields", {}), (*path, "fields"), ())
    records = {
        _tag(tag, path): _fields(inner, (*path, "records", tag), fields)
        for tag, inner in frame.get("records", {}).items()
    }
    return _Frame(
        ports=_numbers(frame.get("port")),
        lengths=_numbers(frame.get("length")),
        skip=frame.get("skip", 0),
        fields=fields,
        records=records,
        tag_sizes=tuple(sorted({len(tag) for tag in records}, reverse=True)),
        ignore_rest=frame.get("rest") == "ignore",
    )


def _numbers(value: int | list[int] | None) -> frozenset[int] | None:
    if value is None:
        return None
    return frozenset((value,) if isinstance(value, int) else value)


def _tag(text: Any, path: Path) -> bytes:
    try:
        return bytes.fromhex(text)
    except (ValueError, TypeError) as error:
        raise InvalidField((*path, "records", text), "is not a tag in hex, quoted") from error


def _fields(
    fields: Mapping[str, Any], path: Path, earlier: tuple[_Field, ...]
) -> tuple[_Field, ...]:
    known = {field.name for field in earlier}
    compiled = []
    for name, field in fields.items():
        flag = next(iter(field["when"].items())) if "when" in field else None
        if flag is not None and flag[0] not in known:
            raise InvalidField((*path, name, "when"), f"{flag[0]!r} is not an earlier field")
        known.add(name)
        size, read = _TYPES[field["type"]]
        compiled.append(
            _Field(
                name=name,
                size=size,
                read=read,
                convert=_conversion(field),
                times=field.get("times", 1),
                join=field.get("join"),
                at=field.get("at"),
                flag=flag,
                keep=field.get("keep", True),
            )
        )
    return tuple(compiled)


def _conversion(field: Mapping[str, Any]) -> Callable[[Any], Any]:
    absent = frozenset(field.get("missing", ()))
    mask, bit = field.get("mask"), field.get("bit")
    words = {to_text(key): word for key, word in field.get("enum", {}).items()}
    linear = numbers.linear(field.get("scale", 1), field.get("add", 0))
    numeric = linear if "scale" in field or "add" in field else None

    def convert(number: Any) -> Any:
        if number in absent:
            return MISSING
        if mask is not None:
            number &= mask
        if bit is not None:
            return bool(number >> bit & 1)
        if words:
            return words.get(to_text(number), MISSING)
        return number if numeric is None or number is MISSING else numeric(number)

    return convert


def _integer(size: int, order: Any, *, signed: bool) -> tuple[int, Callable[[bytes], Any]]:
    return size, lambda piece: int.from_bytes(piece, order, signed=signed)


def _float(code: str) -> tuple[int, Callable[[bytes], Any]]:
    layout = struct.Struct(code)

    def read(piece: bytes) -> Any:
        (number,) = layout.unpack(piece)
        return number if number - number == 0 else MISSING

    return layout.size, read


_ORDERS: Final = {"be": "big", "le": "little"}
_TYPES: Final[dict[str, tuple[int, Callable[[bytes], Any]]]] = {
    "u8": _integer(1, "big", signed=False),
    "s8": _integer(1, "big", signed=True),
    **{
        f"{sign}{bits}{order}": _integer(bits // 8, _ORDERS[order], signed=sign == "s")
        for sign in "us"
        for bits in (16, 24, 32, 64)
        for order in _ORDERS
    },
    **{f"f32{order}": _float(mark + "f") for order, mark in (("be", ">"), ("le", "<"))},
    **{f"f64{order}": _float(mark + "d") for order, mark in (("be", ">"), ("le", "<"))},
}
TYPE_NAMES: Final = tuple(_TYPES)
