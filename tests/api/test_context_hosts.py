"""Remote @contexts: known without a host, safe from hostile ones (promises P33 and P34)."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from broker.contexts import ContextLimits, Contexts
from broker.core.errors import BadRequestData, LdContextNotAvailable, NgsiLdError, Overloaded
from broker.core.identifiers import DEFAULT_TENANT, Tenant
from broker.core.ld_context import CORE, CORE_URL, CORE_URLS
from broker.egress import Egress, EgressPolicy
from broker.store.interface import DocumentStore
from broker.store.sqlite.store import open_store
from broker.subscriptions.matcher import SubscriptionMatcher
from tests.support.clock import Clock
from tests.support.eventually import PATIENCE
from tests.support.hosts import Handler, Host, says, serving, speaking

ALICE = Tenant("alice")
BOB = Tenant("bob")
SMALL = ContextLimits(document_bytes=100_000, timeout=PATIENCE)


def context(value: Any) -> Handler:
    return says(msgspec.json.encode({"@context": value}))


class Full:
    """A store whose queue of writes is full; what it holds can be read."""

    def __init__(self, store: DocumentStore) -> None:
        self._store = store

    async def put(self, tenant: Tenant, kind: str, key: str, document: Mapping[str, Any]) -> None:
        raise Overloaded(f"no room for {tenant} {kind} {key} {len(document)}")

    async def remove(self, tenant: Tenant, kind: str, key: str) -> bool:
        raise Overloaded(f"no room for {tenant} {kind} {key}")

    async def all(self, kind: str) -> list[tuple[Tenant, str, dict[str, Any]]]:
        return await self._store.all(kind)


@asynccontextmanager
async def contexts(
    directory: Path,
    *,
    clock: Clock | None = None,
    private: bool = True,
    full: bool = False,
    **options: Any,
) -> AsyncIterator[Contexts]:
    """Run contexts over a store of their own."""
    clock = clock or Clock()
    async with (
        open_store(directory / "broker.db", SubscriptionMatcher(), lambda _: None, clock) as store,
        Egress(EgressPolicy(allow_private=private)) as egress,
        Contexts(
            Full(store.documents) if full else store.documents,
            egress,
            clock=clock,
            public_url="http://broker.example",
            **options,
        ) as running,
    ):
        yield running


async def settled(running: Contexts) -> None:
    """Wait until what runs in the background is done."""
    for task in tuple(running._documents._tasks):
        await task


async def failure(running: Contexts, source: Any, tenant: Tenant = DEFAULT_TENANT) -> NgsiLdError:
    """Resolve what cannot be resolved."""
    with pytest.raises(NgsiLdError) as raised:
        await running.resolve(source, tenant)
    return raised.value


# Without a network


async def test_the_core_contexts_need_no_host(tmp_path: Path) -> None:
    async with contexts(tmp_path, fetch=False) as running:
        assert await running.resolve(None) is CORE
        for url in CORE_URLS:
            assert await running.resolve(url) is CORE
            assert await running.resolve([url]) is CORE


async def test_what_the_platform_ships_needs_no_host_under_any_of_its_urls(tmp_path: Path) -> None:
    shipped = {"@context": {"Room": {"@id": "urn:Room", "@context": {"size": "urn:room:size"}}}}
    bundled = {"https://a.example/c": shipped, "http://b.example/c": shipped}

    async with contexts(tmp_path, fetch=False, bundled=bundled) as running:
        found = [await running.resolve([url, CORE_URL]) for url in bundled]

    assert [each.for_types(["urn:Room"]).expand("size") for each in found] == ["urn:room:size"] * 2
    assert [each.link for each in found] == list(bundled)


async def test_a_mirror_stands_in_for_hosts(tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / "index.json").write_text(
        '{"https://a.example/c": "a.jsonld", "https://a.example/broken": "b.jsonld",'
        ' "https://a.example/missing": "none.jsonld"}'
    )
    (mirror / "a.jsonld").write_text('{"@context": {"speed": "urn:speed"}}')
    (mirror / "b.jsonld").write_text("{")

    async with contexts(tmp_path, fetch=False, mirror=mirror) as running:
        found = await running.resolve("https://a.example/c")
        broken = await failure(running, "https://a.example/broken")
        missing = await failure(running, "https://a.example/missing")

    assert found.expand("speed") == "urn:speed"
    assert isinstance(broken, LdContextNotAvailable)
    assert isinstance(missing, LdContextNotAvailable)


async def test_a_mirror_holds_files_of_its_own_directory_only(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text('{"https://a.example/c": "../secret.json"}')

    with pytest.raises(ValueError, match=r"\.\./secret\.json"):
        async with contexts(tmp_path, mirror=tmp_path):
            pass


async def test_an_unknown_url_is_not_fetched_where_that_is_off(tmp_path: Path) -> None:
    async with serving({"/c": context({})}) as host, contexts(tmp_path, fetch=False) as running:
        error = await failure(running, f"{host.url}/c")

        assert isinstance(error, LdContextNotAvailable)
        assert host.requests == []


# Fetched once, then kept


async def test_a_document_is_fetched_once_whatever_its_content_type(tmp_path: Path) -> None:
    handler = says('{"@context": {"speed": "urn:speed"}}', headers={"Content-Type": "text/plain"})
    async with serving({"/c": handler}) as host, contexts(tmp_path) as running:
        first = await running.resolve(f"{host.url}/c")
        again = await running.resolve([f"{host.url}/c", CORE_URL])
        other = await running.resolve(f"{host.url}/c", ALICE)

        assert first.expand("speed") == "urn:speed"
        assert again.expand("speed") == "urn:speed"
        assert other is first
        assert host.requests == ["GET /c"]


async def test_a_hundred_requests_at_once_make_one_fetch(tmp_path: Path) -> None:
    started = asyncio.Event()
    proceed = asyncio.Event()

    async def slow(request: web.BaseRequest) -> web.StreamResponse:
        started.set()
        await proceed.wait()
        return await context({"speed": "urn:speed"})(request)

    async with serving({"/c": slow}) as host, contexts(tmp_path) as running:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(running.resolve(f"{host.url}/c")) for _ in range(100)]
            await started.wait()
            proceed.set()

        assert {task.result().expand("speed") for task in tasks} == {"urn:speed"}
        assert host.requests == ["GET /c"]


async def test_who_leaves_early_does_not_spoil_it_for_the_others(tmp_path: Path) -> None:
    started = asyncio.Event()
    proceed = asyncio.Event()

    async def slow(request: web.BaseRequest) -> web.StreamResponse:
        started.set()
        await proceed.wait()
        return await context({"speed": "urn:speed"})(request)

    async with serving({"/c": slow}) as host, contexts(tmp_path) as running:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(running.resolve(f"{host.url}/c"))
            await started.wait()
            second = group.create_task(running.resolve(f"{host.url}/c"))
            first.cancel()
            proceed.set()

        assert second.result().expand("speed") == "urn:speed"
        assert host.requests == ["GET /c"]


async def test_documents_may_name_others_relative_to_where_they_came_from(tmp_path: Path) -> None:
    handlers = {
        "/c": says(status=302, headers={"Location": "/v2/c"}),
        "/v2/c": context(["terms.jsonld", CORE_URL]),
        "/v2/terms.jsonld": context({"speed": "urn:speed"}),
    }
    async with serving(handlers) as host, contexts(tmp_path) as running:
        found = await running.resolve(f"{host.url}/c")

        assert found.expand("speed") == "urn:speed"
        assert host.requests == ["GET /c", "GET /v2/c", "GET /v2/terms.jsonld"]


async def test_a_cached_context_outlives_its_host_and_a_restart(tmp_path: Path) -> None:
    clock = Clock()
    async with serving({"/c": context({"speed": "urn:speed"})}) as host:
        url = f"{host.url}/c"
        async with contexts(tmp_path, clock=clock) as running:
            before = await running.resolve(url)

    clock.pass_seconds(10 * 86_400)
    async with contexts(tmp_path, clock=clock) as running:
        after = await running.resolve(url)
        listed = [running.url(entry) for entry in running.entries(DEFAULT_TENANT)]

    assert after.key == before.key
    assert listed == [CORE_URL, url]


async def test_the_host_is_asked_again_when_the_time_is_over_and_not_before(tmp_path: Path) -> None:
    clock = Clock()
    handler = says('{"@context": {"a": "urn:a"}}', headers={"Cache-Control": "max-age=7200"})
    async with serving({"/c": handler}) as host, contexts(tmp_path, clock=clock) as running:
        asked = []
        for seconds in (0, 7199, 1, 7199, 1):
            clock.pass_seconds(seconds)
            await running.resolve(f"{host.url}/c")
            await settled(running)
            asked.append(len(host.requests))

    assert asked == [1, 1, 2, 2, 3]


async def test_a_changed_document_is_noted_and_the_copy_in_use_stays(tmp_path: Path) -> None:
    clock = Clock()
    async with (
        serving({"/c": context({"speed": "urn:speed"})}) as host,
        contexts(tmp_path, clock=clock) as running,
    ):
        url = f"{host.url}/c"
        before = await running.resolve(url)
        host.handlers["/c"] = context({"speed": "https://evil.example/speed"})

        clock.pass_seconds(100_000)
        await running.resolve(url)
        await settled(running)

        entry = running.entry(DEFAULT_TENANT, url)
        assert entry is not None
        noted = running.document(entry)
        assert await running.resolve(url) is before
        assert len(host.requests) == 2
        assert noted is not None
        assert noted.newer not in (None, noted.digest)

        await running.reload(entry)

        assert (await running.resolve(url)).expand("speed") == "https://evil.example/speed"


async def test_a_host_that_turned_bad_does_not_spoil_the_copy_in_use(tmp_path: Path) -> None:
    clock = Clock()
    async with (
        serving({"/c": context({"speed": "urn:speed"})}) as host,
        contexts(tmp_path, clock=clock) as running,
    ):
        url = f"{host.url}/c"
        before = await running.resolve(url)
        host.handlers["/c"] = says(status=503)

        for _ in range(5):
            clock.pass_seconds(100_000)
            assert await running.resolve(url) is before
            await settled(running)


async def test_a_failed_reload_leaves_everything_as_it_was(tmp_path: Path) -> None:
    async with (
        serving({"/c": context({"speed": "urn:speed"})}) as host,
        contexts(tmp_path) as running,
    ):
        url = f"{host.url}/c"
        before = await running.resolve(url)
        entry = running.entry(DEFAULT_TENANT, url)
        assert entry is not None

        for bad in (says(status=503), says("text"), says("{}")):
            host.handlers["/c"] = bad
            with pytest.raises(LdContextNotAvailable):
                await running.reload(entry)

        assert await running.resolve(url) is before


# Hosts that are not well


@pytest.mark.parametrize(
    ("handler", "error"),
    [
        (says(status=503), LdContextNotAvailable),
        (says(status=404), LdContextNotAvailable),
        (says(status=204), LdContextNotAvailable),
        (says("<html>"), BadRequestData),
        (says(""), BadRequestData),
        (says(b"\xff\xfe"), BadRequestData),
        (says("[1]"), BadRequestData),
        (says('"text"'), BadRequestData),
        (says('{"context": {}}'), BadRequestData),
        (says('{"@context": 7}'), BadRequestData),
        (says('{"@context": {"a": 7}}'), BadRequestData),
        (says("[" * 50_000), BadRequestData),
        (says(status=302, headers={"Location": "/c"}), LdContextNotAvailable),
        (says(status=302, headers={"Location": "file:///etc/passwd"}), LdContextNotAvailable),
        (context("/c"), LdContextNotAvailable),
        (context("/gone"), LdContextNotAvailable),
        (says(b'{"@context": {}}' + b" " * 100_001), LdContextNotAvailable),
        (
            says(gzip.compress(b" " * 5_000_000), headers={"Content-Encoding": "gzip"}),
            LdContextNotAvailable,
        ),
        (context([f"/many/{number}" for number in range(100)]), LdContextNotAvailable),
        (
            context({"Room": {"@id": "urn:Room", "@context": {"value": "urn:evil"}}}),
            BadRequestData,
        ),
    ],
    ids=[
        "503",
        "404",
        "204",
        "html",
        "empty",
        "not text",
        "array",
        "string",
        "no context",
        "number",
        "bad definition",
        "deep",
        "redirect loop",
        "redirect to a file",
        "cyclic",
        "names a missing one",
        "large",
        "bomb",
        "names a hundred",
        "scoped",
    ],
)
async def test_a_bad_host_costs_a_clear_error_and_nothing_else(
    tmp_path: Path, handler: Handler, error: type[NgsiLdError]
) -> None:
    handlers = {"/c": handler, "/good": context({"speed": "urn:speed"})}
    async with serving(handlers) as host, contexts(tmp_path, limits=SMALL) as running:
        raised = await failure(running, f"{host.url}/c")
        good = await running.resolve(f"{host.url}/good")

    assert type(raised) is error
    assert raised.detail.startswith("@context")
    assert good.expand("speed") == "urn:speed"


async def endless(request: web.BaseRequest) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(1600):  # 100 MB
        await response.write(bytes(65_536))
    return response


async def test_a_document_of_a_hundred_megabytes_is_cut(tmp_path: Path) -> None:
    async with serving({"/c": endless}) as host, contexts(tmp_path) as running:
        error = await failure(running, f"{host.url}/c")

    assert isinstance(error, LdContextNotAvailable)
    assert "larger than 1000000 bytes" in error.detail


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    del writer
    await reader.read()


async def test_a_tarpit_delays_nobody_else(tmp_path: Path) -> None:
    async with (
        speaking(silent) as tarpit,
        serving({"/c": context({"speed": "urn:speed"})}) as host,
        contexts(tmp_path, limits=ContextLimits(timeout=2.0)) as running,
        asyncio.TaskGroup() as group,
    ):
        waiting = group.create_task(failure(running, f"{tarpit}/c"))
        good = await running.resolve(f"{host.url}/c")
        was_waiting = not waiting.done()

    assert was_waiting
    assert good.expand("speed") == "urn:speed"
    assert isinstance(waiting.result(), LdContextNotAvailable)


async def test_waiting_for_others_counts_as_well(tmp_path: Path) -> None:
    limits = ContextLimits(fetches=1, timeout=0.1)
    async with (
        speaking(silent) as tarpit,
        contexts(tmp_path, limits=limits) as running,
        asyncio.TaskGroup() as group,
    ):
        first = group.create_task(failure(running, f"{tarpit}/a"))
        second = group.create_task(failure(running, f"{tarpit}/b"))
        await first
        await second

    assert "took more than 0.1 s" in second.result().detail


async def test_a_tarpit_is_remembered_though_nobody_waited_to_the_end(tmp_path: Path) -> None:
    limits = ContextLimits(timeout=0.1)
    async with speaking(silent) as tarpit, contexts(tmp_path, limits=limits) as running:
        first = await failure(running, f"{tarpit}/a")
        await settled(running)
        second = await failure(running, f"{tarpit}/a")
        flights = len(running._documents._flights)

    assert isinstance(first, LdContextNotAvailable)
    assert "did not answer" in second.detail
    assert flights == 0


async def test_a_dead_host_is_not_asked_again_for_a_while(tmp_path: Path) -> None:
    clock = Clock()
    async with (
        serving({"/c": says(status=503)}) as host,
        contexts(tmp_path, clock=clock, limits=ContextLimits(retry=5, max_retry=20)) as running,
    ):
        asked = []
        for seconds in (0, 4, 1, 9, 1, 19, 1, 19, 1):
            clock.pass_seconds(seconds)
            await failure(running, f"{host.url}/c")
            asked.append(len(host.requests))

        host.handlers["/c"] = context({"speed": "urn:speed"})
        clock.pass_seconds(20)
        recovered = await running.resolve(f"{host.url}/c")

    assert asked == [1, 1, 2, 2, 3, 3, 4, 4, 5]
    assert recovered.expand("speed") == "urn:speed"


async def test_private_addresses_are_out_of_reach_unless_allowed(tmp_path: Path) -> None:
    async with serving({"/c": context({})}) as host:
        async with contexts(tmp_path, private=False) as running:
            error = await failure(running, f"{host.url}/c")

        assert isinstance(error, LdContextNotAvailable)
        assert "loopback" in error.detail
        assert host.requests == []


async def test_fetches_at_the_same_time_are_limited(tmp_path: Path) -> None:
    present = 0
    most = 0
    proceed = asyncio.Event()

    async def count(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal present, most
        present += 1
        most = max(most, present)
        await proceed.wait()
        present -= 1
        return await context({})(request)

    paths = [f"/{number}" for number in range(12)]
    async with (
        serving(dict.fromkeys(paths, count)) as host,
        contexts(tmp_path, limits=ContextLimits(fetches=3)) as running,
        asyncio.TaskGroup() as group,
    ):
        for path in paths:
            group.create_task(running.resolve(host.url + path))
        await first_requests(host, 3)
        proceed.set()

    assert most == 3


async def first_requests(host: Host, number: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while len(host.requests) < number:
            await asyncio.to_thread(lambda: None)


async def test_a_store_that_takes_no_writes_does_not_keep_contexts_from_being_used(
    tmp_path: Path,
) -> None:
    clock = Clock()
    async with (
        serving({"/c": context({"speed": "urn:speed"})}) as host,
        contexts(tmp_path, clock=clock, full=True) as running,
    ):
        before = await running.resolve(f"{host.url}/c")
        clock.pass_seconds(100_000)
        again = await running.resolve(f"{host.url}/c")
        await settled(running)

        assert before.expand("speed") == "urn:speed"
        assert again is before
        with pytest.raises(Overloaded):
            await running.add(ALICE, {"@context": {}})
        assert running.entries(ALICE) == running.entries(BOB)


async def test_what_is_shipped_or_mirrored_is_reloaded_without_a_host(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text('{"https://m.example/c": "m.jsonld"}')
    copy = tmp_path / "m.jsonld"
    copy.write_text('{"@context": {"speed": "urn:old"}}')
    bundled = {"https://b.example/c": {"@context": {"speed": "urn:b"}}}

    async with contexts(tmp_path, fetch=False, bundled=bundled, mirror=tmp_path) as running:
        for url in ("https://b.example/c", "https://m.example/c"):
            await running.resolve(url)
        copy.write_text('{"@context": {"speed": "urn:new"}}')
        for entry in running.entries(DEFAULT_TENANT):
            await running.reload(entry)

        assert (await running.resolve("https://b.example/c")).expand("speed") == "urn:b"
        assert (await running.resolve("https://m.example/c")).expand("speed") == "urn:new"


async def test_only_so_many_failures_are_remembered(tmp_path: Path) -> None:
    async with serving({}) as host, contexts(tmp_path, limits=ContextLimits(resolved=3)) as running:
        for number in range(6):
            await failure(running, f"{host.url}/{number}")
        await failure(running, f"{host.url}/5")
        await failure(running, f"{host.url}/0")

        assert len(host.requests) == 7
        assert len(running._documents._failures) == 3


# Memory


async def test_inline_contexts_are_known_by_their_content(tmp_path: Path) -> None:
    async with contexts(tmp_path) as running:
        one = await running.resolve({"speed": "urn:speed", "near": "urn:near"})
        two = await running.resolve({"speed": "urn:speed", "near": "urn:near"}, ALICE)
        other = await running.resolve([{"speed": "urn:other"}])

    assert one is two
    assert one.link is None
    assert other.expand("speed") == "urn:other"


async def test_the_longest_unused_contexts_make_room(tmp_path: Path) -> None:
    limits = ContextLimits(resolved=3)
    async with contexts(tmp_path, limits=limits) as running:
        for number in range(10):
            await running.resolve({"a": f"urn:{number}"})
            await running.resolve({"kept": "urn:kept"})

        assert len(running._resolved) == 3
        assert running._terms == sum(each.ld_context.size for each in running._resolved.values())


async def test_large_contexts_make_room_by_their_terms(tmp_path: Path) -> None:
    limits = ContextLimits(resolved_terms=2000)
    async with contexts(tmp_path, limits=limits) as running:
        for number in range(5):
            await running.resolve({f"t{term}": f"urn:{number}:{term}" for term in range(600)})

        assert len(running._resolved) == 2


async def test_the_cache_of_documents_has_a_limit_on_disk_too(tmp_path: Path) -> None:
    limits = ContextLimits(cached_bytes=3000)
    handlers = {f"/{number}": context({"a": "urn:" + "x" * 1000}) for number in range(5)}
    async with serving(handlers) as host:
        async with contexts(tmp_path, limits=limits) as running:
            for number in range(5):
                await running.resolve(f"{host.url}/{number}")
            kept = list(running._documents._cached)
        async with contexts(tmp_path, limits=limits) as running:
            loaded = list(running._documents._cached)

    assert kept == loaded == [f"{host.url}/3", f"{host.url}/4"]


# Hosted here


async def test_a_hosted_context_is_used_by_its_own_url_without_a_request(tmp_path: Path) -> None:
    async with contexts(tmp_path, fetch=False) as running:
        entry = await running.add(ALICE, {"@context": {"speed": "urn:speed"}, "other": 1})
        wrapped = await running.add(ALICE, {"@context": [running.url(entry), CORE_URL]})

        for host in ("http://broker.example", "http://localhost:9090", "https://10.0.0.1"):
            found = await running.resolve(host + wrapped.path, ALICE)
            assert found.expand("speed") == "urn:speed"

    assert entry.body == b'{"@context":{"speed":"urn:speed"}}'


async def test_a_hosted_context_is_private_to_its_tenant(tmp_path: Path) -> None:
    async with contexts(tmp_path) as running:
        entry = await running.add(ALICE, {"@context": {"speed": "urn:speed"}})

        error = await failure(running, running.url(entry), BOB)

        assert isinstance(error, LdContextNotAvailable)
        assert running.entry(BOB, entry.local_id) is None
        assert running.entry(ALICE, entry.local_id) is entry


async def test_hosted_contexts_survive_a_restart(tmp_path: Path) -> None:
    async with contexts(tmp_path) as running:
        entry = await running.add(ALICE, {"@context": {"b": "urn:b", "a": "urn:b"}})

    async with contexts(tmp_path, fetch=False) as running:
        found = await running.resolve("http://broker.example" + entry.path, ALICE)

    assert found.compact("urn:b") == "b"


async def test_hosted_contexts_have_a_limit(tmp_path: Path) -> None:
    async with contexts(tmp_path, limits=ContextLimits(hosted_bytes=100)) as running:
        entry = await running.add(ALICE, {"@context": {"a": "urn:" + "x" * 50}})

        with pytest.raises(BadRequestData, match="100 bytes"):
            await running.add(BOB, {"@context": {"a": "urn:" + "x" * 50}})

        await running.remove(ALICE, entry)
        await running.add(BOB, {"@context": {"a": "urn:" + "x" * 50}})


async def test_what_has_no_url_gets_one_here(tmp_path: Path) -> None:
    async with contexts(tmp_path, fetch=False) as running:
        inline = await running.resolve([{"speed": "urn:speed"}, {"near": "urn:near"}], ALICE)

        url = await running.link(inline, ALICE)
        again = await running.link(inline, ALICE)
        served = await running.resolve(url, ALICE)

        assert url == again
        assert url.startswith("http://broker.example/ngsi-ld/v1/jsonldContexts/")
        assert served.expand("near") == "urn:near"
        assert await running.link(served, ALICE) == url
        assert [entry.kind for entry in running.entries(ALICE)][1:] == ["ImplicitlyCreated"]
        assert await running.link(CORE, ALICE) == CORE_URL


async def test_a_deleted_context_is_forgotten_with_what_was_resolved_with_it(
    tmp_path: Path,
) -> None:
    async with (
        serving({"/c": context({"speed": "urn:speed"})}) as host,
        contexts(tmp_path) as running,
    ):
        url = f"{host.url}/c"
        for tenant in (ALICE, BOB):
            await running.resolve(url, tenant)

        for tenant, requests in ((ALICE, 1), (BOB, 1), (ALICE, 2)):
            entry = running.entry(tenant, url)
            assert entry is not None
            await running.remove(tenant, entry)
            assert running.entry(tenant, url) is None
            await running.resolve(url, ALICE)
            assert len(host.requests) == requests


async def test_the_contexts_of_other_tenants_are_not_listed(tmp_path: Path) -> None:
    async with serving({"/c": context({})}) as host, contexts(tmp_path) as running:
        await running.resolve(f"{host.url}/c", ALICE)
        await running.add(ALICE, {"@context": {}})

        assert len(running.entries(ALICE)) == 3
        assert [running.url(entry) for entry in running.entries(BOB)] == [CORE_URL]


async def test_uses_are_counted(tmp_path: Path) -> None:
    clock = Clock()
    handlers = {"/c": context("/terms"), "/terms": context({"speed": "urn:speed"})}
    async with serving(handlers) as host, contexts(tmp_path, clock=clock) as running:
        for _ in range(3):
            await running.resolve(f"{host.url}/c")
        used = {entry.url: entry.hits for entry in running.entries(DEFAULT_TENANT)}
        entry = running.entry(DEFAULT_TENANT, f"{host.url}/c")

    assert used == {CORE_URL: 0, f"{host.url}/c": 3, f"{host.url}/terms": 1}
    assert entry is not None
    assert entry.last_usage == clock.now


async def test_it_must_be_entered_before_it_fetches(tmp_path: Path) -> None:
    clock = Clock()
    async with (
        open_store(tmp_path / "broker.db", SubscriptionMatcher(), lambda _: None, clock) as store,
        Egress() as egress,
    ):
        running = Contexts(store.documents, egress, clock=clock)

        with pytest.raises(RuntimeError, match="async with"):
            await running.resolve("https://a.example/c")
