"""The API's own description: OpenAPI 3.1 made from the routes, and a page of it for people."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from html import escape
from importlib.metadata import version
from typing import Any

import msgspec
from aiohttp import web

from broker.api import media
from broker.api.openapi_words import BODIES, PARAMETERS, SUCCESS, SUMMARIES
from broker.api.routes import Route

Document = dict[str, Any]
_VARIABLE = re.compile(r"\{(\w+)(?::[^{}]+)?\}")


def describe(root: str, routes: Iterable[Route]) -> Document:
    """Return the OpenAPI document of some routes.

    Args:
        root: what stands before each path.
    """
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path, names = _path(route.path)
        paths.setdefault(root + path, {})[route.method.lower()] = _operation(route, names)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Rigel, NGSI-LD API",
            "version": version("rigel"),
            "description": "NGSI-LD API of ETSI GS CIM 009 V1.9.1, as this broker offers it.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": _SCHEMAS, "parameters": _HEADERS},
    }


def _path(path: str) -> tuple[str, list[str]]:
    """Return a path without the patterns of its variables, and the variables."""
    return _VARIABLE.sub(r"{\1}", path), _VARIABLE.findall(path)


def _operation(route: Route, names: list[str]) -> Document:
    summary, clause = SUMMARIES[route.operation_id]
    parameters: list[Document] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in names
    ]
    parameters += [
        {"name": name, "in": "query", **_parameter(name)} for name in sorted(route.params)
    ]
    parameters.append({"$ref": "#/components/parameters/Tenant"})
    operation: Document = {
        "operationId": route.operation_id,
        "summary": summary,
        "description": f"Clause {clause}.",
        "parameters": parameters,
        "responses": _responses(route),
    }
    body = BODIES.get(route.operation_id)
    if route.method in {"POST", "PUT", "PATCH"} and body is not None:
        parameters.append({"$ref": "#/components/parameters/Link"})
        operation["requestBody"] = {
            "required": route.needs_body,
            "content": {taken: {"schema": body} for taken in route.takes},
        }
    elif route.method == "GET":
        parameters.append({"$ref": "#/components/parameters/Link"})
    return operation


def _parameter(name: str) -> Document:
    description, schema = PARAMETERS[name]
    return {"description": description, "required": False, "schema": schema}


def _responses(route: Route) -> Document:
    found: Document = {}
    for status, (description, schema) in SUCCESS[route.operation_id].items():
        answer: Document = {"description": description}
        if schema is not None:
            offers = route.offers if status == "200" else (media.JSON,)
            answer["content"] = {offer: {"schema": schema} for offer in offers}
        found[status] = answer
    problem = {"$ref": "#/components/schemas/ProblemDetails"}
    found["default"] = {
        "description": "What was wrong, and where.",
        "content": {media.JSON: {"schema": problem}},
    }
    return found


_SCHEMAS: Mapping[str, Document] = {
    "Entity": {
        "type": "object",
        "required": ["id", "type"],
        "properties": {
            "id": {"type": "string", "format": "uri"},
            "type": {
                "oneOf": [
                    {"type": "string"},
                    {"type": "array", "items": {"type": "string"}, "minItems": 1},
                ]
            },
            "scope": {
                "oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]
            },
            "location": {"$ref": "#/components/schemas/GeoProperty"},
            "expiresAt": {"type": "string", "format": "date-time"},
        },
        "additionalProperties": {"$ref": "#/components/schemas/Attribute"},
    },
    "Fragment": {
        "type": "object",
        "properties": {"id": {"type": "string"}, "type": {"type": ["string", "array"]}},
        "additionalProperties": {"$ref": "#/components/schemas/Attribute"},
    },
    "Attribute": {
        "description": "An attribute in normalized or concise form, or an array of its instances.",
        "type": ["object", "array", "string", "number", "boolean"],
    },
    "GeoProperty": {
        "type": "object",
        "properties": {"type": {"const": "GeoProperty"}, "value": {"type": "object"}},
    },
    "Subscription": {
        "type": "object",
        "required": ["type", "notification"],
        "properties": {
            "id": {"type": "string", "format": "uri"},
            "type": {"const": "Subscription"},
            "entities": {"type": "array", "items": {"type": "object"}},
            "watchedAttributes": {"type": "array", "items": {"type": "string"}},
            "q": {"type": "string"},
            "notification": {"type": "object"},
        },
    },
    "Query": {
        "type": "object",
        "required": ["type"],
        "properties": {
            "type": {"const": "Query"},
            "entities": {"type": "array", "items": {"type": "object"}},
            "q": {"type": "string"},
            "attrs": {"type": "array", "items": {"type": "string"}},
        },
    },
    "BatchOperationResult": {
        "type": "object",
        "properties": {
            "success": {"type": "array", "items": {"type": "string"}},
            "errors": {"type": "array", "items": {"type": "object"}},
        },
    },
    "ProblemDetails": {
        "type": "object",
        "required": ["type", "title", "detail"],
        "properties": {
            "type": {"type": "string", "format": "uri"},
            "title": {"type": "string"},
            "detail": {"type": "string"},
            "status": {"type": "integer"},
        },
    },
}

_HEADERS: Mapping[str, Document] = {
    "Tenant": {
        "name": "NGSILD-Tenant",
        "in": "header",
        "required": False,
        "description": "The tenant; absent is the default one (clause 6.3.14).",
        "schema": {"type": "string"},
    },
    "Link": {
        "name": "Link",
        "in": "header",
        "required": False,
        "description": "The @context, where the body does not have it (clause 6.3.5).",
        "schema": {"type": "string"},
    },
}


def page(document: Document) -> str:
    """Return the description as a page that needs nothing from elsewhere."""
    rows = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parameters = [
                f"<li><code>{escape(one['name'])}</code> {escape(one.get('description', ''))}</li>"
                for one in operation["parameters"]
                if "name" in one
            ]
            rows.append(
                f"<section><h2><b>{method.upper()}</b> <code>{escape(path)}</code></h2>"
                f"<p>{escape(operation['summary'])}. {escape(operation['description'])}</p>"
                f"<ul>{''.join(parameters)}</ul></section>"
            )
    info = document["info"]
    return _PAGE.format(title=escape(info["title"]), version=info["version"], rows="".join(rows))


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto }}
h2 {{ font-size: 1rem; border-top: 1px solid #ccc; padding-top: 1rem }}
code {{ background: #f3f3f3; padding: .1em .3em; border-radius: 3px }}
</style>
<h1>{title} {version}</h1>
<p>Machine-readable: <a href="/ngsi-ld/v1/openapi.json">openapi.json</a>.</p>
{rows}</html>
"""


def handlers(root: str, routes: Iterable[Route]) -> list[tuple[str, str, Any]]:
    """Return the routes that serve the description; it is made once."""
    document = describe(root, routes)
    body = msgspec.json.encode(document)
    html = page(document).encode()

    async def machine(_: web.Request) -> web.Response:
        return web.Response(body=body, headers={"Content-Type": media.JSON})

    async def people(_: web.Request) -> web.Response:
        return web.Response(body=html, headers={"Content-Type": "text/html; charset=utf-8"})

    return [("GET", root + "/openapi.json", machine), ("GET", root + "/docs", people)]
