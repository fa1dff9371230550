"""Where handlers find what they work with."""

from __future__ import annotations

from aiohttp import web

from broker.api.cors import Cors
from broker.operations.broker import Broker

BROKER = web.AppKey("broker", Broker)
CORS: web.AppKey[Cors] = web.AppKey("cors", Cors)
