"""/subscriptions and what is below it (clauses 6.10, 6.11)."""

from __future__ import annotations

from aiohttp import web

from broker.api import answers, parameters
from broker.api.request import Request
from broker.api.routes import Route
from broker.operations import subscriptions as operations


async def create_subscription(request: Request) -> web.Response:
    """POST /subscriptions."""
    document, ld_context = await request.document()
    subscription_id = await operations.create_subscription(
        request.broker, request.tenant, document, ld_context
    )
    return answers.created(answers.path_of("subscriptions", subscription_id))


async def query_subscriptions(request: Request) -> web.Response:
    """GET /subscriptions."""
    limit, offset, count = parameters.page(request.params, request.broker.limits)
    sys_attrs = _sys_attrs(request)
    ld_context = await request.ld_context()
    page = await operations.query_subscriptions(
        request.broker,
        request.tenant,
        ld_context,
        limit=limit,
        offset=offset,
        sys_attrs=sys_attrs,
    )
    more = offset + limit < page.count
    headers = answers.page_links(request, limit=limit, offset=offset, more=more)
    if count:
        headers["NGSILD-Results-Count"] = str(page.count)
    return answers.document(request, page.subscriptions, ld_context, headers)


async def retrieve_subscription(request: Request) -> web.Response:
    """GET /subscriptions/{subscriptionId}."""
    subscription_id = request.uri("subscriptionId")
    sys_attrs = _sys_attrs(request)
    ld_context = await request.ld_context()
    body = await operations.retrieve_subscription(
        request.broker, request.tenant, subscription_id, ld_context, sys_attrs=sys_attrs
    )
    return answers.document(request, body, ld_context)


async def update_subscription(request: Request) -> web.Response:
    """PATCH /subscriptions/{subscriptionId}."""
    subscription_id = request.uri("subscriptionId")
    fragment, ld_context = await request.document()
    await operations.update_subscription(
        request.broker, request.tenant, subscription_id, fragment, ld_context
    )
    return answers.no_content()


async def delete_subscription(request: Request) -> web.Response:
    """DELETE /subscriptions/{subscriptionId}."""
    subscription_id = request.uri("subscriptionId")
    await operations.delete_subscription(request.broker, request.tenant, subscription_id)
    return answers.no_content()


def _sys_attrs(request: Request) -> bool:
    return "sysAttrs" in parameters.options(request, frozenset({"sysAttrs"}))


_ONE = "/subscriptions/{subscriptionId:[^/]*}"
_LOCAL = frozenset({"local", "via"})

ROUTES = (
    Route("POST", "/subscriptions", create_subscription, "createSubscription", _LOCAL),
    Route(
        "GET",
        "/subscriptions",
        query_subscriptions,
        "querySubscription",
        parameters.PAGE | {"options", "local"},
    ),
    Route(
        "GET",
        _ONE,
        retrieve_subscription,
        "retrieveSubscription",
        frozenset({"options", "local"}),
        slash=False,
    ),
    Route("PATCH", _ONE, update_subscription, "updateSubscription", _LOCAL, slash=False),
    Route("DELETE", _ONE, delete_subscription, "deleteSubscription", _LOCAL, slash=False),
)
