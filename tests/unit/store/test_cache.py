"""The entity cache never serves a state that a later commit replaced."""

from __future__ import annotations

from broker.core.identifiers import DEFAULT_TENANT, ExpandedEntity, Iri
from broker.store.interface import StoredEntity
from broker.store.sqlite.cache import EntityCache, Held, Key


def held(version: int) -> Held:
    return Held(1, StoredEntity(ExpandedEntity({"id": "urn:x:1", "attributes": {}}), version))


def key(number: int = 1) -> Key:
    return DEFAULT_TENANT, Iri(f"urn:x:{number}")


def test_a_published_state_is_served() -> None:
    cache = EntityCache(10)
    committed = held(1)

    cache.publish({key(): committed})

    assert cache.get(key()) is committed


def test_a_row_read_before_a_commit_does_not_replace_what_was_committed() -> None:
    cache = EntityCache(10)
    since = cache.published
    newer = held(2)
    cache.publish({key(): newer})

    kept = cache.fill(key(), held(1), since)

    assert kept is newer
    assert cache.get(key()) is newer


def test_a_row_read_before_a_delete_does_not_bring_the_entity_back() -> None:
    cache = EntityCache(10)
    since = cache.published
    cache.publish({key(): None})

    cache.fill(key(), held(1), since)

    assert cache.get(key()) is None
    assert cache.knows(key())


def test_a_row_is_not_kept_when_its_delete_may_have_been_evicted_meanwhile() -> None:
    cache = EntityCache(2)
    since = cache.published
    cache.publish({key(1): None})
    cache.publish({key(2): held(1), key(3): held(1)})

    cache.fill(key(1), held(1), since)

    assert not cache.knows(key(1))


def test_the_oldest_entries_are_evicted_first() -> None:
    cache = EntityCache(2)

    cache.publish({key(1): held(1), key(2): held(1)})
    cache.publish({key(1): held(2)})
    cache.publish({key(3): held(1)})

    assert [number for number in (1, 2, 3) if cache.knows(key(number))] == [1, 3]
