"""The process in which scripts run: it reads calls and writes results until its input ends.

It is started by path, knows nothing of the project and has nothing: no environment, no file or
socket that it could open, no memory and no time beyond its limits. Messages are JSON arrays, each
after its length in four bytes:

    in   ["started", ""]                             out  ["ok", null]
    in   ["load", id, source]                        out  ["ok", null] or ["error", text]
    in   ["call", id, functions, input, time]        out  ["ok", result, name] or ["error", text]

`functions` are names, of which the first that the script has is called.
"""

from __future__ import annotations

import json
import os
import re
import resource
import struct
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

import quickjs

_LENGTH = struct.Struct(">I")
_CALLS_PER_CONTEXT = 10_000
_LOADING_SECONDS = 0.5
_LONGEST_RESULT = 65_536
_LONGEST_ERROR = 500
_NOBODY = 65_534
_WHERE = re.compile(r"<input>:(\d+):(\d+)")

# What a script finds: the parts of other runtimes that codecs are written for, and nothing that
# reaches outside. `run` keeps the functions it needs, so that a script can only spoil itself.
_PRELUDE = """
var module = {exports: {}}, exports = module.exports;
var console = {log() {}, info() {}, warn() {}, error() {}, debug() {}};
class Buffer extends Uint8Array {
  static from(value, encoding) {
    if (typeof value !== 'string') return super.from(value);
    if (encoding === 'hex') return super.from((value.match(/../g) || []).map(h => parseInt(h, 16)));
    if (encoding === 'base64') return super.from(atob(value), c => c.charCodeAt(0));
    return super.from(unescape(encodeURIComponent(value)), c => c.charCodeAt(0));
  }
  static alloc(size) { return new Buffer(size); }
  static isBuffer(value) { return value instanceof Buffer; }
  static concat(list) { return Buffer.from([].concat(...list.map(b => Array.from(b)))); }
  slice(from, to) { return Buffer.from(Array.from(this).slice(from, to)); }
  toString(encoding) {
    const bytes = Array.from(this);
    if (encoding === 'hex') return bytes.map(b => b.toString(16).padStart(2, '0')).join('');
    const text = bytes.map(b => String.fromCharCode(b)).join('');
    return encoding === 'base64' ? btoa(text) : decodeURIComponent(escape(text));
  }
}
for (const [name, size] of [['UInt8', 1], ['Int8', 1], ['UInt16', 2], ['Int16', 2], ['UInt32', 4],
                            ['Int32', 4], ['Float', 4], ['Double', 8]]) {
  const kind = {UInt: 'Uint', Float: 'Float32', Double: 'Float64'};
  const view = name.replace(/^(UInt|Float|Double)/, part => kind[part]);
  for (const order of size === 1 ? [''] : ['LE', 'BE']) {
    Buffer.prototype['read' + name + order] = function (at = 0) {
      return new DataView(this.buffer, this.byteOffset)['get' + view](at, order === 'LE');
    };
    Buffer.prototype['write' + name + order] = function (value, at = 0) {
      new DataView(this.buffer, this.byteOffset)['set' + view](at, value, order === 'LE');
      return at + size;
    };
  }
}
(function (parse, stringify, evaluate, DateOf) {
  const find = name => {
    const exported = typeof module === 'object' && module && module.exports;
    if (exported && typeof exported[name] === 'function') return exported[name];
    return evaluate(`typeof ${name} === 'function' ? ${name} : undefined`);
  };
  return (names, text) => {
    const input = parse(text);
    if (typeof input.recvTime === 'number') input.recvTime = new DateOf(input.recvTime);
    for (const name of parse(names)) {
      const found = find(name);
      if (!found) continue;
      const old = {
        Decoder: () => found(input.bytes, input.fPort),
        Decode: () => found(input.fPort, input.bytes, input.variables),
        Encoder: () => found(input.data, input.fPort),
        Encode: () => found(input.fPort, input.data, input.variables),
      }[name];
      const result = stringify(old ? old() : found(input));
      return stringify([name, result === undefined ? null : result]);
    }
    return stringify(['', null]);
  };
})(JSON.parse, JSON.stringify, (0, eval), Date)
"""


class _Scripts:
    """The scripts that were loaded, each with a context of its own."""

    def __init__(self, memory: int, stack: int) -> None:
        self._memory = memory
        self._stack = stack
        self._sources: dict[str, str] = {}
        self._contexts: dict[str, tuple[Any, Any, int]] = {}

    def load(self, identity: str, source: str) -> list[Any]:
        self._contexts.pop(identity, None)
        self._sources[identity] = source
        self._context(identity)
        return ["ok", None]

    def call(self, identity: str, functions: list[str], given: str, seconds: float) -> list[Any]:
        context, run = self._context(identity)
        context.set_time_limit(seconds)
        answer = run(json.dumps(functions), given)
        name, result = json.loads(answer)
        if not name:
            return ["error", f"the script has no function {' or '.join(functions)}"]
        if result is not None and len(result) > _LONGEST_RESULT:
            return ["error", f"{name}: the result is longer than {_LONGEST_RESULT} characters"]
        return ["ok", result, name]

    def forget(self, identity: str) -> None:
        """Let the next call begin with a fresh context; the old one may be half broken."""
        self._contexts.pop(identity, None)

    def _context(self, identity: str) -> tuple[Any, Any]:
        context, run, left = self._contexts.get(identity, (None, None, 0))
        if not left:
            context = quickjs.Context()
            context.set_memory_limit(self._memory)
            context.set_max_stack_size(self._stack)
            context.set_time_limit(_LOADING_SECONDS)
            run, left = context.eval(_PRELUDE), _CALLS_PER_CONTEXT
            context.eval(self._sources[identity])
        self._contexts[identity] = context, run, left - 1
        return context, run


_DO: dict[str, Callable[..., list[Any]]] = {
    "started": lambda *_: ["ok", None],
    "load": _Scripts.load,
    "call": _Scripts.call,
}


def _serve(scripts: _Scripts, source: BinaryIO, sink: BinaryIO, most_cpu: int) -> None:
    while len(head := source.read(_LENGTH.size)) == _LENGTH.size:
        kind, identity, *rest = json.loads(source.read(_LENGTH.unpack(head)[0]))
        _allow_cpu(most_cpu)
        try:
            answer = _DO[kind](scripts, identity, *rest)
        except quickjs.JSException as error:
            scripts.forget(identity)
            answer = ["error", _told(str(error))]
        except Exception as error:  # noqa: BLE001 - whatever a script does, the next one shall run
            scripts.forget(identity)
            answer = ["error", f"{type(error).__name__}: {error!s:.{_LONGEST_ERROR}}"]
        body = json.dumps(answer).encode()
        sink.write(_LENGTH.pack(len(body)) + body)
        sink.flush()


def _told(error: str) -> str:
    """Return an exception's text, cut, with the line and column where it came from."""
    first, _, trace = error.partition("\n")
    where = _WHERE.search(trace)
    return first[:_LONGEST_ERROR] + (f" (line {where[1]}, column {where[2]})" if where else "")


def _allow_cpu(seconds: int) -> None:
    """Have the kernel end this process when a call computes longer than that."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(usage.ru_utime + usage.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


def _confine(address_space: int) -> None:
    """Give up every right that running scripts does not need."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)
    resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    # What is open stays open: input and output. Nothing can be opened any more.
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))


def _main(memory: int, stack: int, address_space: int, most_cpu: int) -> None:
    _confine(address_space)
    scripts = _Scripts(memory, stack)
    _serve(scripts, sys.stdin.buffer, sys.stdout.buffer, most_cpu)


if __name__ == "__main__":
    _main(*map(int, sys.argv[1:]))
