"""What a receiver may answer, byte by byte, and what is made of it."""

from __future__ import annotations

import asyncio
import gc
import ssl
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest

from broker.core.identifiers import DEFAULT_TENANT
from broker.core.ld_context import CORE
from broker.core.subscription_documents import parse
from broker.egress import Egress, EgressPolicy
from broker.subscriptions.endpoints.http import HttpEndpoint
from broker.subscriptions.endpoints.target import Target, target_of
from broker.subscriptions.endpoints.tls import SYSTEM, Trust
from tests.support.certificates import certified, needs_openssl
from tests.support.delivery import now
from tests.support.eventually import PATIENCE
from tests.support.hosts import speaking
from tests.support.mosquitto import free_port
from tests.support.receiver import receiver

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def target(uri: str, **endpoint: object) -> Target:
    document = {
        "type": "Subscription",
        "entities": [{"type": "Road"}],
        "notification": {"endpoint": {"uri": uri, **endpoint}},
    }
    return target_of(DEFAULT_TENANT, parse(document, CORE, now()))


@asynccontextmanager
async def endpoint(
    *, seconds: float = PATIENCE, allow_private: bool = True, trust: Trust = SYSTEM
) -> AsyncIterator[HttpEndpoint]:
    async def resolve(host: str, port: int) -> list[str]:
        del host, port
        return ["127.0.0.1"]

    async with (
        Egress(EgressPolicy(allow_private=allow_private), resolve=resolve) as egress,
        HttpEndpoint(egress, now, timeout=seconds, trust=trust) as made,
    ):
        yield made


class Speaker:
    """Says the same to each request, in pieces, and remembers what it was asked on how many."""

    def __init__(self, *pieces: bytes, closes: bool = False) -> None:
        self.pieces = pieces
        self.closes = closes
        self.requests: list[bytes] = []
        self.connections = 0

    async def session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                return
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
            self.requests.append(head + await reader.readexactly(length))
            for piece in self.pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            if self.closes:
                return


@contextmanager
def nothing_left_open() -> Iterator[None]:
    """Fail if a socket or a transport was forgotten without being closed."""
    gc.collect()
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", ResourceWarning)
        yield
        gc.collect()
    assert [str(one.message) for one in found] == []


async def cut_off(there: HttpEndpoint, url: str, turns: int) -> bool:
    """Stop sending after some turns of the event loop; tell whether it had ended before."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(there.send(target(url), b"{}"))
        for _ in range(turns):
            await asyncio.sleep(0)
        has_ended = task.done()
        task.cancel()
    return has_ended


async def test_a_request_says_what_is_sent_and_to_whom() -> None:
    speaker = Speaker(OK)
    async with speaking(speaker.session) as url, endpoint() as there:
        pairs = [{"key": "X-Name", "value": "Zürich"}]
        failure = await there.send(target(f"{url}/a%20b?c=d%20e", receiverInfo=pairs), b'{"a":1}')

    assert failure is None
    (request,) = speaker.requests
    head, _, body = request.partition(b"\r\n\r\n")
    line, *headers = head.split(b"\r\n")
    assert line == b"POST /a%20b?c=d%20e HTTP/1.1"
    assert sorted(headers) == sorted(
        [
            b"Host: " + url.removeprefix("http://").encode(),
            b"Content-Type: application/json",
            "X-Name: Zürich".encode(),
            b"User-Agent: rigel",
            b"Content-Length: 7",
        ]
    )
    assert body == b'{"a":1}'


@pytest.mark.parametrize(
    ("pieces", "connections"),
    [
        ([OK], 1),
        ([OK[:9], OK[9:30], OK[30:]], 1),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], 1),
        ([b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n", OK], 1),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"], 1),
        ([b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"], 2),
        ([b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"], 2),
        ([OK + b"HTTP/1.1 500 Later\r\n\r\n"], 2),
    ],
    ids=["whole", "pieces", "no-content", "hints-first", "chunked", "close", "1.0", "one-too-many"],
)
async def test_a_connection_is_used_again_unless_the_answer_speaks_against_it(
    pieces: list[bytes], connections: int
) -> None:
    speaker = Speaker(*pieces)
    async with speaking(speaker.session) as url, endpoint() as there:
        failures = [await there.send(target(url), b"{}") for _ in range(2)]

    assert failures == [None, None]
    assert speaker.connections == connections


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nso far",
        b"HTTP/1.1 200 OK\r\n\r\nuntil the connection ends",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 3_000_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno chunk",
    ],
    ids=["slow", "endless", "huge", "broken"],
)
async def test_a_2xx_counts_whatever_becomes_of_the_body(answer: bytes) -> None:
    speaker = Speaker(answer)
    async with speaking(speaker.session) as url, endpoint(seconds=1.0) as there:
        failures = [await there.send(target(url), b"{}") for _ in range(2)]

    assert failures == [None, None]
    assert speaker.connections == 2


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ([b"SSH-2.0-OpenSSH\r\n"], "not HTTP"),
        ([b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"], ""),
        ([b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2_000_000], "larger than"),
        ([b"HTTP/1.1 200 O"], "closed the connection"),
        ([], "closed the connection"),
    ],
    ids=["other-protocol", "upgrade", "endless-head", "half-a-line", "nothing"],
)
async def test_what_is_no_answer_is_a_failure_to_try_again(
    pieces: list[bytes], reason: str
) -> None:
    speaker = Speaker(*pieces, closes=True)
    async with speaking(speaker.session) as url, endpoint() as there:
        failure = await there.send(target(url), b"{}")

    assert failure is not None
    assert not failure.refused
    assert reason in failure.reason


async def test_a_receiver_that_says_something_unasked_is_called_anew() -> None:
    said = asyncio.Event()
    connections = 0

    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"{}")
        writer.write(OK)
        await writer.drain()
        if connections == 1:
            await asyncio.sleep(0.01)
            writer.write(b"HTTP/1.1 500 Unasked\r\nContent-Length: 0\r\n\r\n")
            await reader.read()  # until the broker hangs up
            said.set()

    async with speaking(session) as url, endpoint() as there:
        first = await there.send(target(url), b"{}")
        await said.wait()
        second = await there.send(target(url), b"{}")

    assert (first, second) == (None, None)
    assert connections == 2


async def test_a_receiver_that_is_not_there_is_a_failure_to_try_again() -> None:
    async with endpoint() as there:
        failure = await there.send(target(f"http://127.0.0.1:{free_port()}/"), b"{}")

    assert failure is not None
    assert not failure.refused


@pytest.mark.parametrize("uri", ["http://127.0.0.1:1/", "http://receiver.example:1/"])
async def test_an_address_that_egress_refuses_is_not_connected_to(uri: str) -> None:
    async with endpoint(allow_private=False) as there:
        failure = await there.send(target(uri), b"{}")

    assert failure is not None
    assert failure.refused
    assert "not allowed" in failure.reason


@needs_openssl
@pytest.mark.parametrize(
    ("host", "is_trusted", "reason"),
    [
        ("receiver.example", True, None),
        ("receiver.example", False, "certificate verify failed"),
        ("other.example", True, "certificate verify failed"),
    ],
)
async def test_a_secure_receiver_must_prove_its_name(
    tmp_path: Path,
    host: str,
    is_trusted: bool,  # noqa: FBT001 - a table's column
    reason: str | None,
) -> None:
    certificate, key = await certified(tmp_path, "receiver.example")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    trust = Trust(certificate if is_trusted else None)
    async with receiver(tls=tls) as server, endpoint(trust=trust) as there:
        failure = await there.send(target(f"https://{host}:{server.port}/"), b"{}")

    assert reason is None if failure is None else reason is not None and reason in failure.reason


@needs_openssl
@pytest.mark.parametrize("is_secure", [False, True], ids=["http", "https"])
async def test_nothing_stays_open_wherever_sending_is_cut_off(
    tmp_path: Path,
    is_secure: bool,  # noqa: FBT001 - a table's column
) -> None:
    certificate, key = await certified(tmp_path, "receiver.example")
    tls = None
    if is_secure:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(certificate, key)
    async with receiver(tls=tls) as server, endpoint(trust=Trust(certificate)) as there:
        url = server.url().replace("127.0.0.1", "receiver.example")
        async with there:  # reads the certificates, which takes many turns
            await there.send(target(url), b"{}")
        turns, has_ended = 0, False
        with nothing_left_open():
            while not has_ended:
                async with there:  # entered anew, so that no connection is kept
                    has_ended = await cut_off(there, url, turns)
                turns += 1

    assert len(server.accepted) > 1


async def test_what_is_answered_after_the_end_is_not_kept() -> None:
    speaker = Speaker(OK)
    with nothing_left_open():
        async with speaking(speaker.session) as url:
            async with endpoint() as there:
                await there.send(target(url), b"{}")
            failures = [await there.send(target(url), b"{}") for _ in range(2)]

    assert failures == [None, None]
    assert speaker.connections == 3


@needs_openssl
@pytest.mark.parametrize("says", [None, b"", b"no TLS"], ids=["silent", "closes", "other-protocol"])
async def test_nothing_stays_open_where_tls_does_not_come_about(says: bytes | None) -> None:
    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        if says is not None:
            writer.write(says)
            return
        with suppress(ConnectionError):
            await reader.read()  # until the broker hangs up

    with nothing_left_open():
        async with speaking(session) as url, endpoint(seconds=0.2) as there:
            failure = await there.send(target(url.replace("http:", "https:")), b"{}")

    assert failure is not None
    assert not failure.refused


def test_a_file_that_holds_no_certificates_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("nothing of the kind")

    with pytest.raises(OSError, match=r"ca\.pem"):
        Trust(path).context(ssl.SSLContext)
