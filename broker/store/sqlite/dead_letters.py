"""Notifications that were given up: what is asked of their table."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from broker.core.identifiers import Iri, Tenant
from broker.store.interface import Delivery, Standing

Key = tuple[Tenant, Iri]

_SLACK: Final = 100
"""One in so many is dropped beyond what is necessary."""

_OF_ONE: Final = "tenant = ? AND subscription = ?"
_CHOSEN: Final = (
    "tenant = ?1 AND subscription = ?2 AND (?3 IS NULL OR id IN (SELECT value FROM json_each(?3)))"
)


def listed(
    connection: sqlite3.Connection,
    tenant: Tenant,
    subscription_id: Iri | None,
    *,
    limit: int,
    offset: int,
) -> list[dict[str, Any]]:
    """Return dead letters as they are served, newest first."""
    where: str = "tenant = ?"
    key: tuple[str, ...] = (tenant,)
    if subscription_id is not None:
        where, key = _OF_ONE, (tenant, subscription_id)
    rows = connection.execute(
        "SELECT id, subscription, order_key, created, failed, reason, body FROM dead_letter"
        f" WHERE {where} ORDER BY seq DESC LIMIT ? OFFSET ?",
        (*key, limit, offset),
    )
    return [
        {
            "id": notification_id,
            "subscriptionId": subscription,
            "entityId": entity_id,
            "createdAt": created,
            "failedAt": failed,
            "reason": reason,
            "notification": msgspec.Raw(body),
        }
        for notification_id, subscription, entity_id, created, failed, reason, body in rows
    ]


def standing(connection: sqlite3.Connection, key: Key, ids: Sequence[Iri]) -> Standing:
    """Return how much of a subscription is in the outbox and in the dead letters."""
    places: dict[Iri, str] = {}
    counts = []
    for table, place in (("outbox", "waiting"), ("dead_letter", "dead")):
        (count,) = connection.execute(
            f"SELECT count(*) FROM {table} WHERE {_OF_ONE}", key
        ).fetchone()
        counts.append(count)
        rows = connection.execute(f"SELECT id FROM {table} WHERE {_CHOSEN}", (*key, _json(ids)))
        places.update((Iri(found), place) for (found,) in rows)
    return Standing(counts[0], counts[1], places)


def taken(cursor: sqlite3.Cursor, key: Key, ids: Sequence[Iri] | None, now: str) -> list[Delivery]:
    """Take dead letters out of their table, oldest first, as deliveries that begin now."""
    rows = cursor.execute(
        f"SELECT id, order_key, body FROM dead_letter WHERE {_CHOSEN} ORDER BY seq",
        (*key, _json(ids)),
    ).fetchall()
    deleted(cursor, key, ids)
    # Their patience begins anew: an old notification would be given up at once.
    return [Delivery(Iri(found), *key, order_key, body, now) for found, order_key, body in rows]


def deleted(cursor: sqlite3.Cursor, key: Key, ids: Sequence[Iri] | None) -> int:
    """Delete dead letters and return how many there were."""
    cursor.execute(f"DELETE FROM dead_letter WHERE {_CHOSEN}", (*key, _json(ids)))
    return cursor.rowcount


def counted(reader: sqlite3.Connection | sqlite3.Cursor) -> int:
    """Return how many dead letters there are."""
    (count,) = reader.execute("SELECT count(*) FROM dead_letter").fetchone()
    return int(count)


def trimmed(cursor: sqlite3.Cursor, most: int) -> dict[Key, int]:
    """Drop the oldest of the subscription that has the most until there are few enough.

    A few more than necessary are dropped, so that not each further one has to look for others.

    Returns:
        How many were dropped of which subscription.
    """
    dropped: dict[Key, int] = {}
    count = counted(cursor)
    if count <= most:
        return dropped
    excess = count - most + most // _SLACK
    while excess > 0:
        tenant, subscription, has = cursor.execute(
            "SELECT tenant, subscription, count(*) FROM dead_letter"
            " GROUP BY tenant, subscription ORDER BY count(*) DESC LIMIT 1"
        ).fetchone()
        # No more of it at once than leaves it half: the next look may find another.
        some = min(excess, max(has // 2, 1))
        cursor.execute(
            "DELETE FROM dead_letter WHERE seq IN"
            f" (SELECT seq FROM dead_letter WHERE {_OF_ONE} ORDER BY seq LIMIT ?)",
            (tenant, subscription, some),
        )
        key = (Tenant(tenant), Iri(subscription))
        dropped[key] = dropped.get(key, 0) + some
        excess -= some
    return dropped


def _json(ids: Sequence[Iri] | None) -> str | None:
    return None if ids is None else msgspec.json.encode(list(ids)).decode()
