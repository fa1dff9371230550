"""Operations on many entities, each for itself (clauses 5.6.7–5.6.10, 5.6.20)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from broker.core import entity as documents
from broker.core.errors import BadRequestData, NgsiLdError
from broker.core.fragments import Applied
from broker.core.identifiers import Fragment, Iri, Tenant, check_uri
from broker.core.ld_context import LdContext
from broker.operations.broker import Broker
from broker.operations.changes import (
    appending,
    creating,
    deleting,
    existing,
    merging,
    upserting,
)
from broker.store.interface import Change


class Item(NamedTuple):
    """One entity of a batch.

    Attributes:
        entity_id: what it calls itself, for the report; empty if it does not say.
        content: the document with its @context, or why it cannot be read.
    """

    entity_id: str
    content: tuple[dict[str, Any], LdContext] | NgsiLdError


@dataclass(slots=True)
class BatchResult:
    """What a batch did (clause 5.2.16).

    Attributes:
        created: ids of entities that were not there before.
        updated: ids of entities that were.
        errors: id and error of each entity that was refused, in the order of the batch.
    """

    created: list[Iri] = field(default_factory=list)
    updated: list[Iri] = field(default_factory=list)
    errors: list[tuple[str, NgsiLdError]] = field(default_factory=list)


async def create_batch(broker: Broker, tenant: Tenant, items: Sequence[Item]) -> BatchResult:
    """Create entities (clause 5.6.7)."""
    now = broker.now()
    return await _run(
        broker,
        tenant,
        items,
        _whole,
        lambda _, fragment: creating(fragment, now),
        creates=True,
    )


async def upsert_batch(
    broker: Broker,
    tenant: Tenant,
    items: Sequence[Item],
    *,
    update: bool,
    keep_newer: bool = False,
) -> BatchResult:
    """Create entities, or replace or update those that are there (clause 5.6.8).

    Args:
        keep_newer: see `changes.Narrowing`; likewise below.
    """
    now = broker.now()
    return await _run(
        broker,
        tenant,
        items,
        _whole,
        lambda _, fragment: upserting(fragment, now, update=update),
        creates=True,
        keep_newer=keep_newer,
    )


async def update_batch(
    broker: Broker,
    tenant: Tenant,
    items: Sequence[Item],
    *,
    overwrite: bool,
    keep_newer: bool = False,
) -> BatchResult:
    """Append to entities that are there (clause 5.6.9)."""
    now = broker.now()
    return await _run(
        broker,
        tenant,
        items,
        _part,
        lambda key, fragment: existing(key, appending(fragment, now, overwrite=overwrite)),
        keep_newer=keep_newer,
    )


async def merge_batch(
    broker: Broker,
    tenant: Tenant,
    items: Sequence[Item],
    *,
    observed_at: str | None = None,
    lang: str | None = None,
    simplified: bool = False,
    keep_newer: bool = False,
) -> BatchResult:
    """Merge fragments into entities that are there (clause 5.6.20); see `entities.merge_entity`."""
    now = broker.now()
    return await _run(
        broker,
        tenant,
        items,
        _simplified_part if simplified else _part,
        lambda key, fragment: existing(
            key, merging(fragment, now, observed_at=observed_at, lang=lang)
        ),
        keep_newer=keep_newer,
    )


async def delete_batch(broker: Broker, tenant: Tenant, ids: Sequence[Any]) -> BatchResult:
    """Delete entities (clause 5.6.10)."""
    result = BatchResult()
    changes: list[tuple[Iri, Change]] = []
    for place, entity_id in enumerate(ids):
        try:
            key = check_uri(entity_id, f"[{place}]")
        except BadRequestData as error:
            result.errors.append((str(entity_id), error.with_traceback(None)))
            continue
        changes.append((key, existing(key, deleting)))
    answers = await broker.entities.update_many(tenant, changes)
    for (key, _), answer in zip(changes, answers, strict=True):
        if isinstance(answer, NgsiLdError):
            result.errors.append((key, answer))
        else:
            result.updated.append(key)
    return result


async def _run(
    broker: Broker,
    tenant: Tenant,
    items: Sequence[Item],
    expand: Callable[[dict[str, Any], LdContext], Fragment],
    change: Callable[[Iri, Fragment], Change],
    *,
    creates: bool = False,
    keep_newer: bool = False,
) -> BatchResult:
    result = BatchResult()
    changes: list[tuple[Iri, Change]] = []
    for name, content in items:
        if isinstance(content, NgsiLdError):
            result.errors.append((name, content))
            continue
        try:
            fragment = expand(*content)
        except NgsiLdError as error:
            result.errors.append((name, error.with_traceback(None)))
            continue
        key = Iri(fragment["id"])
        changes.append((key, change(key, fragment)))
    if changes or not creates:
        answers = await broker.entities.update_many(
            tenant, changes, creates=creates, keep_newer=keep_newer
        )
        for (key, _), answer in zip(changes, answers, strict=True):
            _sort(result, key, answer)
    return result


def _whole(document: dict[str, Any], ld_context: LdContext) -> Fragment:
    return documents.expand_entity(document, ld_context)


def _part(document: dict[str, Any], ld_context: LdContext) -> Fragment:
    return _with_id(documents.expand_fragment(document, ld_context))


def _simplified_part(document: dict[str, Any], ld_context: LdContext) -> Fragment:
    return _with_id(documents.expand_simplified(document, ld_context, whole=False))


def _with_id(fragment: Fragment) -> Fragment:
    if "id" not in fragment:
        raise BadRequestData("id: expected a URI, there is none")
    return fragment


def _sort(result: BatchResult, key: Iri, answer: Any) -> None:
    if isinstance(answer, NgsiLdError):
        result.errors.append((key, answer))
    elif isinstance(answer, Applied) and answer.not_updated:
        kept = ", ".join(f"{name} ({reason})" for name, reason in answer.not_updated)
        result.errors.append((key, BadRequestData(f"not overwritten: {kept}")))
    elif answer is True:
        result.created.append(key)
    else:
        result.updated.append(key)
