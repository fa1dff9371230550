"""Where handlers find what they work with."""

from __future__ import annotations

from aiohttp import web

from broker.operations.broker import Broker

BROKER = web.AppKey("broker", Broker)
