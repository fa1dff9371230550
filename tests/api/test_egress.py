"""The one door out, against hosts that are hostile, slow or broken (promises P45 and P47)."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from aiohttp import web

from broker.egress import Egress, EgressFailed, EgressPolicy, EgressRefused
from tests.support.hosts import says, serving, speaking

CORPUS: dict[str, list[str]] = yaml.safe_load(
    (Path(__file__).parents[1] / "vectors" / "ssrf_urls.yaml").read_text()
)
INSIDE = {
    "rebind.example": ["127.0.0.1"],
    "private.example": ["10.0.0.7"],
    "mapped.example": ["::ffff:127.0.0.1"],
    "metadata.google.internal": ["169.254.169.254"],
    "intranet": ["192.168.7.7"],
    "router.local": ["fe80::1"],
    "zero.example": ["0.0.0.0"],  # noqa: S104 - an address to be refused
    "127.0.0.1.nip.example": ["127.0.0.1"],
    "mixed-private.example": ["10.0.0.1", "fd00::1", "127.0.0.1"],
    "loopback6.example": ["::1"],
}
LOCAL = EgressPolicy(allow_private=True)


class Names:
    """A resolver that gives the answers it was told, one after the other."""

    def __init__(self, **answers: list[Sequence[str]]) -> None:
        self.answers = {name.replace("_", "."): list(found) for name, found in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        del port
        self.asked.append(host)
        return self.answers[host].pop(0)


async def inside(host: str, port: int) -> Sequence[str]:
    del port
    return INSIDE[host]


# What may be called


def test_the_corpus_has_at_least_two_hundred_urls() -> None:
    assert len({url for urls in CORPUS.values() for url in urls}) >= 200


@pytest.mark.parametrize("url", [url for urls in CORPUS.values() for url in urls])
async def test_no_url_of_the_corpus_can_be_called(url: str) -> None:
    async with Egress(resolve=inside) as egress:
        with pytest.raises(EgressRefused):
            await egress.request("GET", url)


@pytest.mark.parametrize(
    "url",
    [url for group, urls in CORPUS.items() if group != "names that lead inside" for url in urls],
)
def test_what_a_url_alone_gives_away_is_refused_before_anything_is_sent(url: str) -> None:
    assert Egress(resolve=inside).check(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/",
        "https://example.org:8443/a?b#c",
        "http://93.184.216.34/",
        "http://[2606:2800:220:1:248:1893:25c8:1946]/",
        "http://xn--mnchen-3ya.example/",
        "http://münchen.example/",
        "http://127.0.0.1.example/",
        "http://a_b.example./",
    ],
)
def test_public_urls_pass_the_check(url: str) -> None:
    assert Egress(resolve=inside).check(url) is None


@pytest.mark.parametrize("url", CORPUS["metadata and link-local"][:7])
def test_metadata_stays_out_of_reach_where_private_networks_are_allowed(url: str) -> None:
    assert Egress(LOCAL, resolve=inside).check(url)


@pytest.mark.parametrize(
    "address",
    [
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "2001:0:4136:e378:8000:63bf:5601:5601",
        "::a9fe:a9fe",
    ],
)
def test_metadata_cannot_be_wrapped_where_private_networks_are_allowed(address: str) -> None:
    assert "link-local" in (Egress(LOCAL, resolve=inside).check(f"http://[{address}]/") or "")


def test_the_reason_says_what_is_wrong() -> None:
    egress = Egress(resolve=inside)

    assert egress.check("ftp://example.org/") == "scheme 'ftp' is not one of http, https"
    assert egress.check("http://10.0.0.1/") == "10.0.0.1 is private"
    assert egress.check("http://[::1]/") == "::1 is loopback"
    assert egress.check("http://169.254.169.254/") == "169.254.169.254 is link-local"


@pytest.mark.parametrize(
    ("policy", "allowed", "refused"),
    [
        (LOCAL, "http://127.0.0.1/", "http://169.254.169.254/"),
        (LOCAL, "http://localhost/", "http://0.0.0.0/"),
        (LOCAL, "http://[fd00::1]/", "http://[ff02::1]/"),
        (EgressPolicy(allowed=("10.2.0.0/16",)), "http://10.2.3.4/", "http://10.3.0.1/"),
        (EgressPolicy(allowed=("10.2.3.4",)), "http://10.2.3.4/", "http://10.2.3.5/"),
        (EgressPolicy(allowed=("Localhost",)), "http://localhost./", "http://127.0.0.1/"),
        (EgressPolicy(allowed=("169.254.169.254",)), "http://169.254.169.254/", "http://10.0.0.1/"),
        (EgressPolicy(schemes=frozenset(["https"])), "https://a.example/", "http://a.example/"),
        (
            EgressPolicy(schemes=frozenset(["mqtt"])),
            "mqtt://user:secret@a.example:1883/topic",
            "mqtt://user:secret@127.0.0.1/topic",
        ),
    ],
)
def test_the_policy_decides(policy: EgressPolicy, allowed: str, refused: str) -> None:
    egress = Egress(policy, resolve=inside)

    assert egress.check(allowed) is None
    assert egress.check(refused) is not None


async def test_no_request_is_sent_to_what_is_not_http() -> None:
    async with Egress(EgressPolicy(schemes=frozenset(["mqtt"])), resolve=inside) as egress:
        with pytest.raises(EgressRefused, match="not HTTP"):
            await egress.request("GET", "mqtt://a.example/topic")


async def test_clients_of_other_protocols_get_checked_addresses() -> None:
    names = Names(mqtt_example=[["10.0.0.1", "93.184.216.34"]], bad_example=[["127.0.0.1"]])
    egress = Egress(resolve=names)

    assert await egress.addresses("mqtt.example", 1883) == ["93.184.216.34"]
    assert await egress.addresses("93.184.216.34", 1883) == ["93.184.216.34"]
    for host in ("bad.example", "127.0.0.1", "0x7f.1"):
        with pytest.raises(EgressRefused):
            await egress.addresses(host, 1883)


# Names that change what they mean


async def test_a_name_that_was_public_and_now_leads_inside_is_refused() -> None:
    names = Names(rebind_example=[["93.184.216.34"], ["127.0.0.1"]])
    async with serving({"/": says("secret")}) as host, Egress(resolve=names) as egress:
        assert await egress.addresses("rebind.example", 80) == ["93.184.216.34"]

        with pytest.raises(EgressRefused, match=r"127\.0\.0\.1, which is loopback"):
            await egress.request("GET", f"http://rebind.example:{host.port}/")

        assert host.requests == []


async def test_the_address_that_was_checked_is_the_one_that_is_called() -> None:
    names = Names(pinned_example=[["127.0.0.1"]])
    policy = EgressPolicy(allowed=("pinned.example",))
    async with serving({"/": says("here")}) as host, Egress(policy, resolve=names) as egress:
        answer = await egress.request("GET", f"http://pinned.example:{host.port}/")

        assert answer.body == b"here"
        assert names.asked == ["pinned.example"]


async def test_a_name_without_addresses_has_failed() -> None:
    async with Egress(resolve=Names(empty_example=[[]])) as egress:
        with pytest.raises(EgressFailed, match="no address"):
            await egress.request("GET", "http://empty.example/")


async def test_the_systems_resolver_is_asked_by_default() -> None:
    async with serving({"/": says("here")}) as host, Egress(LOCAL) as egress:
        answer = await egress.request("GET", f"http://localhost:{host.port}/")

        assert answer.status == 200


# Redirects


async def test_a_redirect_is_followed_and_the_answer_says_where_it_came_from() -> None:
    handlers = {"/a": says(status=302, headers={"Location": "/b"}), "/b": says("there")}
    async with serving(handlers) as host, Egress(LOCAL) as egress:
        answer = await egress.request("GET", f"{host.url}/a")

        assert (answer.status, answer.body, answer.url) == (200, b"there", f"{host.url}/b")


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.2/",
        "http://169.254.169.254/latest/",
        "http://localhost/",
        "file:///etc/passwd",
        "//[::1]/",
        "http://user:password@127.0.0.1/",
        "http://[",
        "http://0x7f.1/",
    ],
)
async def test_a_redirect_that_leads_inside_is_refused(location: str) -> None:
    handlers = {"/": says(status=307, headers={"Location": location})}
    policy = EgressPolicy(allowed=("127.0.0.1",))
    async with serving(handlers) as host, Egress(policy) as egress:
        with pytest.raises(EgressRefused):
            await egress.request("GET", f"{host.url}/")


async def test_redirects_in_a_loop_end() -> None:
    handlers = {"/": says(status=302, headers={"Location": "/"})}
    async with serving(handlers) as host, Egress(LOCAL) as egress:
        with pytest.raises(EgressRefused, match="more than 3 redirects"):
            await egress.request("GET", f"{host.url}/")

        assert len(host.requests) == 4


async def test_what_is_posted_is_not_sent_on() -> None:
    handlers = {"/": says(status=307, headers={"Location": "/other"}), "/other": says()}
    async with serving(handlers) as host, Egress(LOCAL) as egress:
        answer = await egress.request("POST", f"{host.url}/", body=b"{}")

        assert answer.status == 307
        assert host.requests == ["POST /"]


async def test_secrets_stay_with_the_host_they_are_for() -> None:
    seen: list[str | None] = []

    async def remember(request: web.BaseRequest) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.Response()

    async with serving({"/": remember}) as other:
        location = {"Location": f"{other.url}/"}
        async with serving({"/": says(status=302, headers=location)}) as host, Egress(LOCAL) as out:
            await out.request("GET", f"{host.url}/", headers={"Authorization": "Bearer secret"})

    assert seen == [None]


# Size


async def endless(request: web.BaseRequest) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    chunk = bytes(65_536)
    for _ in range(1600):  # 100 MB
        await response.write(chunk)
    return response


async def test_a_stream_is_cut_at_the_limit() -> None:
    async with serving({"/": endless}) as host, Egress(LOCAL) as egress:
        with pytest.raises(EgressFailed, match="larger than 1000000 bytes"):
            await egress.request("GET", f"{host.url}/", max_bytes=1_000_000)


def bomb(encoding: str) -> bytes:
    """Return 100 MB of zeros, packed."""
    wbits = {"gzip": 31, "deflate": 15, "raw": -15}[encoding]
    packer = zlib.compressobj(9, wbits=wbits)
    chunk = bytes(1_000_000)
    return b"".join([*(packer.compress(chunk) for _ in range(100)), packer.flush()])


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "raw"])
async def test_a_bomb_is_stopped_before_it_fills_the_memory(encoding: str) -> None:
    name = "gzip" if encoding == "gzip" else "deflate"
    handler = says(bomb(encoding), headers={"Content-Encoding": name})
    async with serving({"/": handler}) as host, Egress(LOCAL) as egress:
        tracemalloc.start()
        try:
            with pytest.raises(EgressFailed, match="larger than 1000000 bytes"):
                await egress.request("GET", f"{host.url}/", max_bytes=1_000_000)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert peak < 10_000_000


async def test_a_packed_answer_larger_than_the_limit_is_cut_though_it_unpacks_to_nothing() -> None:
    empty_blocks = b"\x00\x00\x00\xff\xff" * 100_000
    handler = says(empty_blocks, headers={"Content-Encoding": "deflate"})
    async with serving({"/": handler}) as host, Egress(LOCAL) as egress:
        with pytest.raises(EgressFailed, match="larger than 100000 bytes"):
            await egress.request("GET", f"{host.url}/", max_bytes=100_000)


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(b'{"a": 1}' * 500)),
        ("X-GZIP", gzip.compress(b'{"a": 1}' * 500)),
        ("deflate", zlib.compress(b'{"a": 1}' * 500)),
        ("deflate", zlib.compress(b'{"a": 1}' * 500)[2:-4]),
        ("identity", b'{"a": 1}' * 500),
    ],
    ids=["gzip", "x-gzip", "deflate", "raw deflate", "identity"],
)
async def test_packed_answers_are_unpacked(encoding: str, packed: bytes) -> None:
    handler = says(packed, headers={"Content-Encoding": encoding})
    async with serving({"/": handler}) as host, Egress(LOCAL) as egress:
        answer = await egress.request("GET", f"{host.url}/")

        assert answer.body == b'{"a": 1}' * 500


@pytest.mark.parametrize(
    ("encoding", "body", "reason"),
    [
        ("br", b"x", "encoding that was not asked for"),
        ("gzip, gzip", b"x", "encoding that was not asked for"),
        ("gzip", b"not gzip", "incorrect header"),
        ("gzip", gzip.compress(b"text")[:-6], "cut short"),
    ],
)
async def test_broken_encodings_have_failed(encoding: str, body: bytes, reason: str) -> None:
    handler = says(body, headers={"Content-Encoding": encoding})
    async with serving({"/": handler}) as host, Egress(LOCAL) as egress:
        with pytest.raises(EgressFailed, match=reason):
            await egress.request("GET", f"{host.url}/")


# Time and broken hosts


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    del writer
    await reader.read()


async def dribbling(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    for _ in range(10_000):
        writer.write(b"x")
        await writer.drain()
        await reader.readline()
    await reader.read()


async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()
    writer.write(b"220 mail.example ready\r\n")
    await writer.drain()


async def gone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()
    writer.transport.abort()


async def endless_header(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()
    writer.write(b"HTTP/1.1 200 OK\r\n")
    for _ in range(1000):
        writer.write(b"X-Long: " + b"x" * 8000 + b"\r\n")
        await writer.drain()
    await reader.read()


@pytest.mark.parametrize("session", [silent, dribbling])
async def test_a_tarpit_costs_the_time_limit_and_no_more(session: object) -> None:
    async with speaking(session) as url, Egress(LOCAL) as egress:  # type: ignore[arg-type]
        with pytest.raises(EgressFailed, match=r"did not answer within 0\.05 s"):
            await egress.request("GET", url, timeout=0.05)


@pytest.mark.parametrize("session", [rude, gone])
async def test_a_host_that_does_not_speak_http_has_failed(session: object) -> None:
    async with speaking(session) as url, Egress(LOCAL) as egress:  # type: ignore[arg-type]
        with pytest.raises(EgressFailed):
            await egress.request("GET", url)


async def test_a_header_without_end_has_failed() -> None:
    async with (
        speaking(endless_header) as url,
        Egress(EgressPolicy(allow_private=True, timeout=0.5)) as egress,
    ):
        with pytest.raises(EgressFailed):
            await egress.request("GET", url)


async def test_a_closed_port_has_failed() -> None:
    async with serving({}) as host:
        url = host.url

    async with Egress(LOCAL) as egress:
        with pytest.raises(EgressFailed, match=r"127\.0\.0\.1"):
            await egress.request("GET", url)


async def test_a_name_server_that_is_silent_costs_the_time_limit() -> None:
    async def never(host: str, port: int) -> Sequence[str]:
        del host, port
        await asyncio.Event().wait()
        return []

    async with Egress(resolve=never) as egress:
        with pytest.raises(EgressFailed, match="did not answer within"):
            await egress.request("GET", "http://slow.example/", timeout=0.05)


# What is sent


async def test_a_body_goes_out_whole_with_its_length_and_the_given_headers() -> None:
    seen: list[tuple[bytes, dict[str, str]]] = []

    async def remember(request: web.BaseRequest) -> web.Response:
        seen.append((await request.read(), dict(request.headers)))
        return web.Response(status=204)

    async with serving({"/notify": remember}) as host, Egress(LOCAL) as egress:
        answer = await egress.request(
            "POST",
            f"{host.url}/notify?a=%20b",
            headers={"Content-Type": "application/json", "Via": "1.1 here"},
            body=b'{"a": 1}',
        )

    (body, headers), *_ = seen
    assert answer.status == 204
    assert body == b'{"a": 1}'
    assert headers["Content-Length"] == "8"
    assert headers["Content-Type"] == "application/json"
    assert headers["Via"] == "1.1 here"
    assert headers["User-Agent"] == "rigel"
    assert "Transfer-Encoding" not in headers


async def test_connections_are_used_again() -> None:
    async with serving({"/": says("x" * 1000)}) as host, Egress(LOCAL) as egress:
        for _ in range(20):
            await egress.request("POST", f"{host.url}/", body=b"{}")

        assert host.connections == 1


async def test_cookies_are_not_kept() -> None:
    seen: list[str | None] = []

    async def bake(request: web.BaseRequest) -> web.Response:
        seen.append(request.headers.get("Cookie"))
        return web.Response(headers={"Set-Cookie": "a=b"})

    async with serving({"/": bake}) as host, Egress(LOCAL) as egress:
        await egress.request("GET", f"{host.url}/")
        await egress.request("GET", f"{host.url}/")

    assert seen == [None, None]


async def test_answers_with_an_error_status_are_answers() -> None:
    handlers = {"/": says("busy", 503, {"Retry-After": "7"})}
    async with serving(handlers) as host, Egress(LOCAL) as egress:
        answer = await egress.request("GET", f"{host.url}/")

    assert answer.status == 503
    assert answer.headers["retry-after"] == "7"


async def test_it_must_be_entered_first() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await Egress(LOCAL).request("GET", "http://127.0.0.1/")
