"""The OCPI agent put together: what others call, and who is pulled from."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from aiohttp import web

from broker.core.backoff import Backoff
from broker.egress import Egress
from iot_agents.common.agent import Agent
from iot_agents.ocpi.client import OcpiClient
from iot_agents.ocpi.credentials import PATH, CredentialsApi, Registrar
from iot_agents.ocpi.front import Front, Letters
from iot_agents.ocpi.ledger import Ledger
from iot_agents.ocpi.locations import Locations
from iot_agents.ocpi.objects import Objects
from iot_agents.ocpi.parties import Entry, Party
from iot_agents.ocpi.peers import Peers
from iot_agents.ocpi.pull import Puller
from iot_agents.ocpi.receiver import Receiver, Shelves
from iot_agents.ocpi.retention import Retention
from iot_agents.ocpi.settings import OcpiSettings

PEERS_FILE = "ocpi-peers.json"


class OcpiTransport:
    """Everything of the agent that hears or calls."""

    def __init__(
        self,
        settings: OcpiSettings,
        agent: Agent,
        ledger: Ledger,
        egress: Egress,
        *,
        data_dir: Path,
        clock: Callable[[], datetime],
        backoff: Backoff,
    ) -> None:
        self._settings = settings
        self._peers = Peers(settings.entries, data_dir / PEERS_FILE)
        client = OcpiClient(egress)
        self._registrar = Registrar(settings, self._peers, client)
        self._shelves = Shelves(Locations(ledger), Objects(ledger))
        self._letters = Letters(agent.outlets.dead_letters, settings.tenant, clock)
        self._agent = agent
        self._clock = clock
        self._retention = Retention(
            agent.spool,
            keep=timedelta(days=settings.keep_days),
            interval=agent.sweep_interval,
            clock=clock,
        )
        self._pullers = [
            Puller(
                entry,
                self._registrar,
                client,
                self._shelves,
                agent.spool,
                self._letters,
                counters=agent.counters,
                clock=clock,
                backoff=backoff,
                own=settings.party,
            )
            for entry in settings.entries
        ]

    def apps(self) -> Sequence[tuple[str, web.Application]]:
        """Return the applications with the paths to mount them at, the longer path first."""
        front = self._front(self._callers)
        receiver = Receiver(self._shelves, front, self._want)
        visitors = self._front(self._visitors)
        credentials = CredentialsApi(self._settings, self._registrar, visitors, self._renew)
        return (self._settings.base_path, receiver.app()), (PATH, credentials.app())

    def tasks(self, url: str) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
        """Return what has to run, now that it is known where we are reached."""
        self._registrar.root = self._settings.public_url or url
        if self._settings.keep_days > 0:
            yield "ocpi-retention", self._retention.run()
        for puller in self._pullers:
            yield f"ocpi-pull-{puller.entry.name}", puller.run()

    def trouble(self) -> Sequence[str]:
        """Return which operators cannot be pulled from, and why."""
        return [f"OCPI party {p.entry.name}: {p.trouble}" for p in self._pullers if p.trouble]

    def _front(self, callers: Callable[[str], frozenset[Party]]) -> Front:
        counters = self._agent.counters
        return Front(self._settings, callers, self._letters, counters=counters, clock=self._clock)

    def _callers(self, authorization: str) -> frozenset[Party]:
        settings = self._settings
        return settings.parties_of(authorization) | self._peers.parties_of(authorization)

    def _visitors(self, authorization: str) -> frozenset[Party]:
        return self._callers(authorization) | self._peers.visitors(authorization)

    def _want(self, party: Party, location_id: str) -> None:
        for puller in self._pullers:
            if party in puller.entry.parties:
                puller.want(location_id)

    def _renew(self, entry: Entry) -> None:
        for puller in self._pullers:
            if puller.entry is entry:
                puller.renew()
