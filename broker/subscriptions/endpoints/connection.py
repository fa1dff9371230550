"""One HTTP/1.1 connection to a receiver, one request at a time: no more than notifications need.

Of an answer the status and Retry-After are kept; its body is read, within a limit, and thrown away.
Redirects are answers like others, as nothing here follows them.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

import httptools

_MOST_BYTES: Final = 1024 * 1024
"""The largest answer that is read to its end; behind a larger one the connection is closed."""

_FINAL: Final = 200
"""Where answers begin that nothing follows."""


class Connection(asyncio.Protocol):
    """A connection that may serve for one request after another.

    Attributes:
        status: of the present answer; 0 until its headers are there.
        retry_after: its header of this name.
        since: the moment of the loop's clock at which it became idle.
    """

    def __init__(self) -> None:
        self.status = 0
        self.retry_after = ""
        self.since = 0.0
        self._transport: asyncio.Transport | None = None
        self._parser: Any = None
        self._left = 0
        self._end: asyncio.Future[None] | None = None
        self._may_be_used = False

    @property
    def is_usable(self) -> bool:
        """Whether another request may be sent over it."""
        transport = self._transport
        return self._may_be_used and transport is not None and not transport.is_closing()

    async def post(self, request: bytes, deadline: float) -> None:
        """Send a request and wait for the end of its answer.

        Args:
            deadline: a moment of the loop's clock.

        Raises:
            TimeoutError: the headers were not there in time.
            OSError: the connection ended before there were headers, or what came is not HTTP.
        """
        if self._transport is None:
            raise ConnectionResetError("the connection is closed")
        self.status, self.retry_after, self._left = 0, "", _MOST_BYTES
        self._may_be_used = False
        self._parser = httptools.HttpResponseParser(self)
        loop = asyncio.get_running_loop()
        end = self._end = loop.create_future()
        # Cheaper than asyncio.timeout, and there is one for each notification.
        timer = loop.call_at(deadline, self._finish, TimeoutError())
        self._transport.write(request)
        try:
            await end
        finally:
            timer.cancel()

    def close(self) -> None:
        """Close it at once, whatever is under way."""
        self._may_be_used = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes.
        self._transport = cast("asyncio.Transport", transport)
        self._may_be_used = True

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._finish(exc or ConnectionResetError("the receiver closed the connection"))

    def data_received(self, data: bytes) -> None:
        if self._has_ended:  # nothing was asked
            self.close()
            return
        self._left -= len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.close()
            self._finish(ConnectionError(f"the answer is not HTTP: {error!s:.100}"))
        if self._left < 0:
            self.close()
            self._finish(ConnectionError(f"the answer is larger than {_MOST_BYTES} bytes"))

    def on_message_begin(self) -> None:
        """Refuse an answer behind the one that was asked for."""
        if self._has_ended:
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep what counts."""
        if name.lower() == b"retry-after" and not self._has_ended:
            self.retry_after = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Take the status, unless more is to come (1xx)."""
        status: int = self._parser.get_status_code()
        if status >= _FINAL and not self._has_ended:
            self.status = status

    def on_message_complete(self) -> None:
        """End, unless this was an interim answer."""
        if self.status and not self._has_ended:
            self._may_be_used = self._parser.should_keep_alive()
            self._finish(None)

    @property
    def _has_ended(self) -> bool:
        return self._end is None or self._end.done()

    def _finish(self, error: Exception | None) -> None:
        if self._end is None or self._end.done():
            return
        if error is None or self.status:  # it was answered, though not to the end
            self._end.set_result(None)
        else:
            self._end.set_exception(error)
