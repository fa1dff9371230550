"""Whether the agents of a process live, are ready, and what they count."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from iot_agents.common.agent import Agent
from iot_agents.common.counters import AgentMetrics
from iot_agents.common.registry import Registry


class Health:
    """The handlers of `/health`, `/ready` and `/metrics`."""

    def __init__(
        self,
        agents: Mapping[str, Agent],
        registry: Registry,
        trouble: Callable[[], str],
        remarks: Callable[[], Iterable[str]],
    ) -> None:
        """Bind the handlers to agents.

        Args:
            trouble: says why messages cannot come in, and is empty when they can.
            remarks: says what else is not as it should be.
        """
        self._agents = agents
        self._trouble = trouble
        self._remarks = remarks
        self._registry = CollectorRegistry()
        self._registry.register(
            AgentMetrics(
                {name: agent.counters for name, agent in agents.items()},
                lambda: {name: agent.spool.pending for name, agent in agents.items()},
                lambda: registry.turned_away,
            )
        )

    def routes(self) -> Sequence[web.RouteDef]:
        """Return the routes."""
        return (
            web.get("/health", self.health),
            web.get("/ready", self.ready),
            web.get("/metrics", self.metrics),
        )

    async def health(self, _: web.Request) -> web.Response:
        """Say that the process runs."""
        return web.json_response({"status": "ok"})

    async def ready(self, _: web.Request) -> web.Response:
        """Say whether measures are taken, and the reason when they are not."""
        reasons = [reason for reason in (self._trouble(), *self._full()) if reason]
        # Without its broker an agent still takes measures, so that alone does not make it unready.
        senders = (agent.sender for agent in self._agents.values())
        notes = [sender.trouble for sender in senders if sender.trouble]
        notes += self._remarks()
        body = {"ready": not reasons, "reasons": reasons, "notes": notes}
        return web.json_response(body, status=503 if reasons else 200)

    async def metrics(self, _: web.Request) -> web.Response:
        """Return the counters for Prometheus."""
        headers = {"Content-Type": CONTENT_TYPE_LATEST}
        return web.Response(body=generate_latest(self._registry), headers=headers)

    def _full(self) -> Iterator[str]:
        for name, agent in self._agents.items():
            if agent.spool.full:
                yield f"the spool of the {name} agent is full"
