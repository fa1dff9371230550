"""Streams for browsers: server-sent events and WebSocket on the same paths (extensions).

What is sent has the form of a notification and carries a sequence. Who comes back with the last
sequence it saw, as Last-Event-ID or `lastEventId`, gets what it missed; where that is not to be had
any more it is told so by an event `gap`, and should ask for the present state. `ready` begins a
stream with the place it begins at, `end` says why it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from hashlib import sha256
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from broker.api import asking, selection
from broker.api.keys import CORS
from broker.api.problems import http_problem
from broker.api.request import Request
from broker.api.routes import Route
from broker.core.errors import BadRequestData
from broker.core.identifiers import Iri
from broker.core.ld_context import LdContext
from broker.core.notification import NotificationForm
from broker.core.query import evaluate
from broker.operations import streams as operations
from broker.operations.broker import Broker, Limits
from broker.store.interface import Channel, Span
from broker.subscriptions import compiled as compiling
from broker.subscriptions.compiled import CompiledSubscription
from broker.subscriptions.selection import index_keys
from broker.subscriptions.streams import StreamEnded

_EVENTS: Final = "text/event-stream"
_RESUME: Final = frozenset({"lastEventId"})
_QUERY: Final = (selection.SELECT - {"csf", "local"}) | {
    "pick", "omit", "lang", "options", "format", "datasetId",
}  # fmt: skip
_MOST_DIGITS: Final = 18
_RETRY_MILLISECONDS: Final = 1000
_LARGEST_MESSAGE: Final = 1024
_encode = msgspec.json.encode


async def stream_subscription(request: Request) -> web.StreamResponse:
    """GET /subscriptions/{subscriptionId}/stream."""
    place = _place(request)
    channel, span = await operations.open_subscription(
        request.broker, request.tenant, request.uri("subscriptionId")
    )
    return await _serve(request, channel, span, place)


async def stream_entities(request: Request) -> web.StreamResponse:
    """GET /stream."""
    place = _place(request)
    ld_context = await request.ld_context()
    params = {name: value for name, value in request.params.items() if name not in _RESUME}
    document = {"params": dict(sorted(params.items())), "context": ld_context.source}
    digest = sha256(_encode(document)).hexdigest()[:32]
    channel = Channel(request.tenant, Iri(f"urn:ngsi-ld:Stream:{digest}"), document)
    compiled = _compiled(channel, params, ld_context, request.broker.limits)
    channel, span = await operations.open_query(request.broker, channel, compiled)
    return await _serve(request, channel, span, place)


async def compile_query(broker: Broker, channel: Channel) -> CompiledSubscription:
    """Compile a channel's document again, after a restart.

    Raises:
        LdContextNotAvailable: its @context could not be had.
        BadRequestData: it is not understood any more.
    """
    document: Mapping[str, Any] = channel.document or {}
    ld_context = await broker.contexts.resolve(document["context"], channel.tenant)
    return _compiled(channel, document["params"], ld_context, broker.limits)


def _compiled(
    channel: Channel, params: Mapping[str, str], ld_context: LdContext, limits: Limits
) -> CompiledSubscription:
    """Compile a query as a subscription to every kind of change."""
    asked = asking.parsed(params, ld_context, limits)
    types, ids = index_keys(asked.query.selectors)
    return CompiledSubscription(
        subscription_id=channel.id,
        active=True,
        expires=None,
        types=types,
        ids=ids,
        watched=None,
        triggers=compiling.EVERY_TRIGGER,
        conditions=(("query", evaluate.compile(asked.query)),),
        form=NotificationForm(ld_context, asked.representation),
        form_key=channel.id,
    )


def _place(request: Request) -> int | None:
    """Return the last sequence a client has seen, None when it begins.

    Raises:
        BadRequestData: it is not one.
    """
    text = request.raw.headers.get("Last-Event-ID") or request.params.get("lastEventId")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        raise BadRequestData(f"Last-Event-ID: expected the id of an event, got {text!r:.80}")
    return int(text)


class _Way(Protocol):
    """How events leave."""

    async def send(self, event: str, data: bytes, sequence: int | None = None) -> None: ...

    async def beat(self) -> None: ...


class _ServerSent:
    """Events in the format of server-sent events."""

    def __init__(self, response: web.StreamResponse) -> None:
        self._response = response

    async def send(self, event: str, data: bytes, sequence: int | None = None) -> None:
        name = b"" if event == "notification" else b"event: %b\n" % event.encode()
        place = b"" if sequence is None else b"id: %d\n" % sequence
        retry = b"retry: %d\n" % _RETRY_MILLISECONDS if event == "ready" else b""
        await self._response.write(b"%b%b%bdata: %b\n\n" % (retry, place, name, data))

    async def beat(self) -> None:
        await self._response.write(b": still here\n\n")


class _Socket:
    """Events as messages of a WebSocket; its own pings are its signs of life."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket

    async def send(self, event: str, data: bytes, sequence: int | None = None) -> None:
        message = {"event": event, "id": sequence, "data": msgspec.Raw(data)}
        await self._socket.send_str(_encode(message).decode())

    async def beat(self) -> None:
        await self._socket.ping()


async def _serve(
    request: Request, channel: Channel, span: Span, place: int | None
) -> web.StreamResponse:
    if request.raw.headers.get("Upgrade", "").lower() == "websocket":
        return await _serve_socket(request, channel, span, place)
    response = web.StreamResponse(
        headers={
            "Content-Type": _EVENTS,
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",
        }
    )
    if request.tenant:
        response.headers["NGSILD-Tenant"] = request.tenant
    request.raw.app[CORS].allow(request.raw, response)
    await response.prepare(request.raw)
    if await _run(request, _ServerSent(response), channel, span, place) is None:
        _abort(request.raw)
    return response


async def _serve_socket(
    request: Request, channel: Channel, span: Span, place: int | None
) -> web.StreamResponse:
    refusal = _foreign(request.raw)
    if refusal is not None:
        return refusal
    socket = web.WebSocketResponse(max_msg_size=_LARGEST_MESSAGE)
    await socket.prepare(request.raw)
    async with asyncio.TaskGroup() as group:
        sending = group.create_task(_run(request, _Socket(socket), channel, span, place))
        listening = group.create_task(_until_closed(socket))
        await asyncio.wait({sending, listening}, return_when=asyncio.FIRST_COMPLETED)
        reason = None
        if sending.done():
            reason = sending.result()
            if reason is None:
                _abort(request.raw)
        sending.cancel()
        listening.cancel()
    if reason is not None:
        await socket.close(code=WSCloseCode.GOING_AWAY, message=reason.encode()[:120])
    return socket


def _foreign(raw: web.Request) -> web.Response | None:
    """Refuse a page of another origin: to a WebSocket browsers do not apply the rules of CORS."""
    origin = raw.headers.get("Origin")
    allowed = raw.app[CORS].origins
    if origin is None or "*" in allowed or origin in allowed:
        return None
    if urlsplit(origin).netloc == raw.headers.get("Host"):
        return None
    return http_problem(403, "Forbidden", f"pages of {origin!r:.80} may not open streams here")


async def _until_closed(socket: web.WebSocketResponse) -> None:
    """Read until the client closes; what it says is not listened to."""
    while (await socket.receive()).type not in _CLOSING:
        pass


_CLOSING: Final = frozenset({WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR})


async def _run(
    request: Request, way: _Way, channel: Channel, span: Span, place: int | None
) -> str | None:
    """Send events until the client goes or the stream ends, and return why.

    None means that the client did not take what was sent for too long.
    """
    limits = request.broker.limits
    try:
        async with aclosing(_events(request.broker, channel, span, place)) as events:
            async for event, data, sequence in events:
                async with asyncio.timeout(limits.stream_patience):
                    if event == "beat":
                        await way.beat()
                    else:
                        await way.send(event, data, sequence)
    except TimeoutError:
        return None
    except ConnectionError:
        return "the client is gone"
    return "the stream has ended"


async def _events(
    broker: Broker, channel: Channel, span: Span, place: int | None
) -> AsyncGenerator[tuple[str, bytes, int | None], None]:
    """Yield events: their name, data and sequence."""
    if place is None:
        place = span.last
    elif not span.after <= place <= span.last:
        yield "gap", _encode({"reason": "what followed the last event is gone"}), span.last
        place = span.last
    yield "ready", _encode({"channel": channel.id}), place
    with broker.streams.reading(broker.stream_events, channel, place) as reader:
        while True:
            try:
                found = await reader.next(broker.limits.stream_heartbeat)
            except StreamEnded as ended:
                name = "gap" if ended.has_gap else "end"
                yield name, _encode({"reason": str(ended)}), None
                return
            for event in found:
                yield "notification", event.body, event.sequence
            if not found:
                yield "beat", b"", None


def _abort(raw: web.Request) -> None:
    """Cut a connection whose buffer is full: nothing that is said would arrive."""
    if raw.transport is not None:
        raw.transport.abort()


ROUTES = (
    Route(
        "GET",
        "/subscriptions/{subscriptionId:[^/]*}/stream",
        stream_subscription,
        "streamSubscription",
        _RESUME,
        offers=(_EVENTS,),
        slash=False,
    ),
    Route(
        "GET",
        "/stream",
        stream_entities,
        "streamEntities",
        frozenset(_QUERY | _RESUME),
        offers=(_EVENTS,),
    ),
)
