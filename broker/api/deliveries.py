"""What became of a subscription's notifications: extensions below /subscriptions/{id}."""

from __future__ import annotations

from aiohttp import web

from broker.api import answers, media, parameters
from broker.api.request import Request
from broker.api.routes import Route
from broker.core.errors import BadRequestData
from broker.core.identifiers import Iri, check_uri
from broker.operations import dead_letters as operations
from broker.operations import explaining


async def explain_subscription(request: Request) -> web.Response:
    """GET /subscriptions/{subscriptionId}/explain."""
    subscription_id = request.uri("subscriptionId")
    entity_id = request.params.get("entityId")
    explanation = await explaining.explain_subscription(
        request.broker,
        request.tenant,
        subscription_id,
        await request.ld_context(),
        entity_id=None if entity_id is None else check_uri(entity_id, "entityId"),
    )
    return answers.plain(explanation)


async def list_dead_letters(request: Request) -> web.Response:
    """GET /subscriptions/{subscriptionId}/deadLetters."""
    subscription_id = request.uri("subscriptionId")
    limit, offset, count = parameters.page(request.params, request.broker.limits)
    page = await operations.list_dead_letters(
        request.broker, request.tenant, subscription_id, limit=limit, offset=offset
    )
    more = offset + limit < page.count
    response = answers.plain(page.letters)
    response.headers.update(answers.page_links(request, limit=limit, offset=offset, more=more))
    if count:
        response.headers["NGSILD-Results-Count"] = str(page.count)
    return response


async def replay_dead_letters(request: Request) -> web.Response:
    """POST /subscriptions/{subscriptionId}/deadLetters/replay."""
    subscription_id = request.uri("subscriptionId")
    ids = await _ids(request)
    replayed = await operations.replay_dead_letters(
        request.broker, request.tenant, subscription_id, ids
    )
    return answers.plain({"replayed": replayed})


async def purge_dead_letters(request: Request) -> web.Response:
    """DELETE /subscriptions/{subscriptionId}/deadLetters."""
    subscription_id = request.uri("subscriptionId")
    purged = await operations.purge_dead_letters(request.broker, request.tenant, subscription_id)
    return answers.plain({"purged": purged})


async def test_subscription(request: Request) -> web.Response:
    """POST /subscriptions/{subscriptionId}/test."""
    subscription_id = request.uri("subscriptionId")
    told = await operations.test_subscription(request.broker, request.tenant, subscription_id)
    return answers.plain(told)


async def _ids(request: Request) -> list[Iri] | None:
    """Return the ids of notifications that a body names; without a body all are meant.

    Raises:
        BadRequestData: the body is something else.
    """
    if not request.has_body:
        return None
    document = await request.body()
    if not isinstance(document, dict) or not document.keys() <= {"ids"}:
        raise BadRequestData('the body: expected {"ids": […]} or none')
    ids = document.get("ids")
    if ids is None:
        return None
    if not isinstance(ids, list) or not ids:
        raise BadRequestData("ids: expected a list of ids of notifications, not empty")
    return [check_uri(one, f"ids[{number}]") for number, one in enumerate(ids)]


_ONE = "/subscriptions/{subscriptionId:[^/]*}"
_JSON = (media.JSON,)

ROUTES = (
    Route(
        "GET",
        _ONE + "/explain",
        explain_subscription,
        "explainSubscription",
        frozenset({"entityId"}),
        offers=_JSON,
        slash=False,
    ),
    Route(
        "GET",
        _ONE + "/deadLetters",
        list_dead_letters,
        "listDeadLetters",
        parameters.PAGE,
        offers=_JSON,
        slash=False,
    ),
    Route(
        "DELETE",
        _ONE + "/deadLetters",
        purge_dead_letters,
        "purgeDeadLetters",
        offers=_JSON,
        slash=False,
    ),
    Route(
        "POST",
        _ONE + "/deadLetters/replay",
        replay_dead_letters,
        "replayDeadLetters",
        offers=_JSON,
        slash=False,
        needs_body=False,
    ),
    Route(
        "POST",
        _ONE + "/test",
        test_subscription,
        "testSubscription",
        offers=_JSON,
        slash=False,
        needs_body=False,
    ),
)
