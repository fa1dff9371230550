"""Vendor scripts: the shapes they come in, and what the sandbox does with hostile ones."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from iot_agents.common.codecs.catalogue import LARGEST_SCRIPT, Codecs
from iot_agents.common.codecs.holds import Holds
from iot_agents.common.codecs.interface import BadCodec, PayloadError, TooSlow
from iot_agents.common.codecs.sandbox import Sandbox, SandboxLimits, Script
from iot_agents.common.codecs.script import ScriptCodec

FRAME = bytes((1, 2))
NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)
GOOD = "function decodeUplink(input) { return {data: {t: input.bytes[0]}}; }"


PATIENT = SandboxLimits(patience=60)
"""A script is stopped for what it computes, not for how long a busy machine lets it wait."""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with closing(Sandbox(PATIENT)) as opened:
        yield opened


def codec(sandbox: Sandbox, source: str) -> ScriptCodec:
    return ScriptCodec(sandbox, Script("acme.js", source))


@pytest.mark.parametrize(
    "source",
    [
        "function decodeUplink(i) { return {data: {n: i.bytes[1], port: i.fPort}}; }",
        "const decodeUplink = ({bytes, fPort}) => ({data: {n: bytes[1], port: fPort}});",
        "module.exports = {decodeUplink: i => ({data: {n: i.bytes[1], port: i.fPort}})};",
        "exports.decodeUplink = i => ({data: {n: i.bytes[1], port: i.fPort}, warnings: ['w']});",
        "function Decode(fPort, bytes, variables) { return {n: bytes[1], port: fPort}; }",
        "function Decoder(bytes, port) { return {n: bytes[1], port: port}; }",
        "decodeUplink = i => ({data: {n: Buffer.from(i.bytes).readUInt8(1), port: i.fPort}});",
    ],
    ids=["TS013", "arrow", "module", "exports", "Decode", "Decoder", "Buffer"],
)
def test_every_shape_of_script_decodes(sandbox: Sandbox, source: str) -> None:
    assert codec(sandbox, source).decode(FRAME, 7) == {"n": 2, "port": 7}


async def test_a_script_sees_the_time_and_the_devices_variables() -> None:
    source = """function decodeUplink({recvTime, variables}) {
      return {data: {at: recvTime.toISOString(), depth: variables.depth, gone: null}};
    }"""

    with closing(Sandbox(PATIENT)) as sandbox:
        values = await codec(sandbox, source).decode_received(FRAME, 1, NOW, {"depth": 30})

    assert values == {"at": "2026-03-01T08:00:00.000Z", "depth": 30}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("Buffer.from(b).toString('hex')", "0102030405060708"),
        ("Buffer.from('0102', 'hex').readUInt16BE(0)", 258),
        ("Buffer.from(b).readUInt16LE(0)", 513),
        ("Buffer.from(b).readInt32BE(2)", 50595078),
        ("Buffer.from(b).slice(2, 4).readUInt16BE()", 772),
        ("Buffer.from('AQI=', 'base64').length", 2),
        ("Buffer.from('ü').toString('hex')", "c3bc"),
        ("Buffer.from([195, 188]).toString()", "ü"),
        ("Buffer.from([66, 72, 0, 0]).readFloatBE(0)", 50),
        ("Buffer.concat([Buffer.from([1]), Buffer.from([2])]).length", 2),
        ("(console.log('x'), 1)", 1),
    ],
)
def test_what_other_runtimes_have_is_there(sandbox: Sandbox, expression: str, value: Any) -> None:
    source = f"function decodeUplink({{bytes: b}}) {{ return {{data: {{v: {expression}}}}}; }}"

    assert codec(sandbox, source).decode(bytes(range(1, 9)), 1) == {"v": value}


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("function decodeUplink() { throw new Error('bad frame'); }", r"bad frame \(line 1, col"),
        ("function decodeUplink() { throw 5; }", "acme.js: 5"),
        (
            "function decodeUplink() { return {errors: ['unknown fPort', 'x']}; }",
            "unknown fPort; x",
        ),
        ("function decodeUplink() { return {data: [1]}; }", "data is no object, but list"),
        ("function decodeUplink() { return {}; }", "data is no object"),
        ("function decodeUplink() { return 7; }", "returned no object"),
        ("function decodeUplink() {}", "returned no object"),
        ("function decodeUplink(", "SyntaxError"),
        ("var decodeUplink = 1;", "no function decodeUplink or Decode or Decoder"),
        ("import * as os from 'os'; " + GOOD, "SyntaxError"),
        ("require('fs'); " + GOOD, "require is not defined"),
        ("function decodeUplink(i) { return decodeUplink(i); }", "call stack"),
        ("function decodeUplink() { for (var a = [];;) a.push([1, 2, 3]); }", "out of memory"),
        ("function decodeUplink() { return {data: {b: new ArrayBuffer(1e9)}}; }", "out of memory"),
        ("function decodeUplink() { return {data: {t: 'x'.repeat(1e6)}}; }", "longer than 65536"),
        (
            "decodeUplink = () => { for (var a = {}, i = 99; i--;) a = {a}; return {data: a}; };",
            "nested deeper",
        ),
        ("function decodeUplink() { const a = {}; a.a = a; return {data: a}; }", "circular"),
        ("function decodeUplink() { return {data: {n: 10n}}; }", "BigInt"),
    ],
)
def test_a_script_that_fails_says_why_and_costs_one_call(
    sandbox: Sandbox, source: str, reason: str
) -> None:
    with pytest.raises(PayloadError, match=reason):
        codec(sandbox, source).decode(FRAME, 1)

    assert codec(sandbox, GOOD).decode(FRAME, 1) == {"t": 1}


@pytest.mark.parametrize(
    "source",
    [
        "function decodeUplink() { while (true); }",
        "while (true);",
        "function decodeUplink() { return {data: {get t() { while (true); }}}; }",
        "function decodeUplink() { return {data: {t: /(a+)+b/.test('a'.repeat(50))}}; }",
    ],
    ids=["call", "loading", "getter", "regular expression"],
)
def test_a_script_that_loops_is_stopped(sandbox: Sandbox, source: str) -> None:
    with pytest.raises(TooSlow, match="too long"):
        codec(sandbox, source).decode(FRAME, 1)

    assert codec(sandbox, GOOD).decode(FRAME, 1) == {"t": 1}


# The engine does not look at the time inside its own sorting.
SORTING = """function decodeUplink() {
  const a = Array.from({length: 3e5}, (_, i) => (i * 7919) % 100003);
  for (;;) a.sort();
}"""
IMPATIENT = SandboxLimits(seconds=60, patience=2, memory=64 << 20)


def test_a_process_that_does_not_answer_is_ended_and_started_again() -> None:
    with closing(Sandbox(IMPATIENT)) as sandbox:
        good = codec(sandbox, GOOD)
        good.decode(FRAME, 1)

        with pytest.raises(TooSlow, match="did not come to an end"):
            codec(sandbox, SORTING).decode(FRAME, 1)

        assert good.decode(FRAME, 1) == {"t": 1}
        assert sandbox.restarts == 1


async def test_while_a_script_runs_the_event_loop_goes_on_and_calls_keep_their_order() -> None:
    order: list[str] = []

    async def run(name: str, source: str) -> None:
        try:
            await codec(box, source).decode_received(FRAME, 1, NOW, {})
        except PayloadError:
            name += " failed"
        order.append(name)

    with closing(Sandbox(IMPATIENT)) as box:
        async with asyncio.TaskGroup() as group:
            for name, source in (("first", GOOD), ("sorting", SORTING), ("last", GOOD)):
                group.create_task(run(name, source))
            order.append("loop")

    assert order == ["loop", "first", "sorting failed", "last"]
    assert box.restarts == 1


async def test_a_call_that_is_given_up_does_not_answer_the_next_one() -> None:
    with closing(Sandbox(SandboxLimits(seconds=60, patience=60))) as sandbox:
        loop = codec(sandbox, "function decodeUplink() { while (true); }")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await loop.decode_received(FRAME, 1, NOW, {})

        values = await codec(sandbox, GOOD).decode_received(FRAME, 1, NOW, {})

    assert values == {"t": 1}


def test_a_script_finds_no_way_out_and_cannot_spoil_the_next_one(sandbox: Sandbox) -> None:
    source = """JSON.stringify = JSON.parse = eval = Date = null;
    Object.prototype.data = 1; Array.prototype.map = null;
    function decodeUplink() {
      const names = Object.getOwnPropertyNames(globalThis);
      const wanted = /^(std|os|require|process|fetch|bjson|Worker)$/;
      return {data: {found: names.filter(name => wanted.test(name))}};
    }"""

    assert codec(sandbox, source).decode(FRAME, 1) == {"found": []}
    assert codec(sandbox, GOOD).decode(FRAME, 1) == {"t": 1}


@pytest.mark.parametrize(
    ("source", "sent"),
    [
        (
            "function encodeDownlink({data}) { return {bytes: [data.open ? 1 : 0], fPort: 9}; }",
            (b"\x01", 9),
        ),
        ("function encodeDownlink({data}) { return {bytes: [255]}; }", (b"\xff", 5)),
        (
            "function Encode(fPort, data, variables) { return [fPort, data.open ? 1 : 0]; }",
            (b"\x05\x01", 5),
        ),
        ("function Encoder(data, port) { return [7]; }", (b"\x07", 5)),
    ],
    ids=["TS013", "without a port", "Encode", "Encoder"],
)
async def test_a_script_encodes_downlinks(source: str, sent: tuple[bytes, int | None]) -> None:
    with closing(Sandbox(PATIENT)) as sandbox:
        assert await codec(sandbox, source).encode({"open": True}, 5, {}) == sent


@pytest.mark.parametrize(
    ("returned", "reason"),
    [
        ("{bytes: [256]}", "no list of bytes"),
        ("{bytes: [1.5]}", "no list of bytes"),
        ("{bytes: 'AQ=='}", "no list of bytes"),
        ("{}", "no list of bytes"),
        ("{bytes: new Array(300).fill(0)}", "300 bytes, too many"),
        ("{bytes: [1], fPort: 0}", "is no port"),
        ("{bytes: [1], errors: ['no such valve']}", "no such valve"),
        ("null", "returned no object"),
    ],
)
async def test_a_downlink_that_cannot_be_sent_says_why(returned: str, reason: str) -> None:
    source = f"function encodeDownlink() {{ return {returned}; }}"

    with closing(Sandbox(PATIENT)) as sandbox, pytest.raises(PayloadError, match=reason):
        await codec(sandbox, source).encode({}, 5, {})


def test_scripts_are_found_in_the_nearest_directory(tmp_path: Path) -> None:
    near, far = tmp_path / "near", tmp_path / "far"
    for directory, value in ((near, 1), (far, 2)):
        directory.mkdir()
        source = f"function decodeUplink() {{ return {{data: {{v: {value}}}}}; }}"
        (directory / "acme.js").write_text(source, encoding="utf-8")
    with closing(Sandbox(PATIENT)) as sandbox:
        codecs = Codecs(sandbox, [far])

        values = [
            found.decode(FRAME) for n in ((near,), ()) if (found := codecs.get("acme.js", *n))
        ]

    assert values == [{"v": 1}, {"v": 2}]


@pytest.mark.parametrize("name", ["../acme.js", "/etc/acme.js", "acme", "acme.js.txt", ".js", ""])
def test_no_name_leads_out_of_the_directories(tmp_path: Path, name: str) -> None:
    (tmp_path / "acme.js").write_text(GOOD, encoding="utf-8")
    inner = tmp_path / "inner"
    inner.mkdir()

    assert Codecs(None, [inner]).get(name) is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b" " * (LARGEST_SCRIPT + 1), "larger than"), (b"\xff\xfe\xfd", "utf-8")],
)
def test_a_file_that_is_no_script_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "acme.js").write_bytes(content)

    with pytest.raises(BadCodec, match=reason):
        Codecs(None, [tmp_path]).get("acme.js")


def test_what_fails_again_and_again_is_held_and_then_tried_once() -> None:
    now = 0.0
    holds = Holds(lambda: now, 3)
    for _ in range(2):
        holds.failed("slow")
    before = holds.held("slow")
    holds.failed("slow")
    held = holds.held("slow"), holds.held("other")
    now = 61.0
    tried = holds.held("slow")
    holds.failed("slow")
    again = holds.held("slow")
    holds.worked("slow")

    assert (before, held, tried, again) == (False, (True, False), False, True)
    assert not holds.held("slow")
