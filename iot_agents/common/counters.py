"""What an agent counts, and the same as Prometheus metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_HELP = {
    "received": "Messages that came in",
    "acknowledged": "Messages answered to their source, all of them durable by then",
    "ignored": "Messages that carry no measure, such as joins and MAC commands",
    "duplicates": "Measures that had come before",
    "waiting": "Measures of unknown devices put into the waiting room",
    "rejected": "Messages and measures that could not be made into entities",
    "warnings": "Attributes left out and rules of a model broken, in measures that were accepted",
    "spooled": "Measures put into the spool",
    "delivered": "Spooled measures that the broker took",
    "dropped": "Measures given up: too old, pushed out of a full list, or QoS 0 without room",
    "dead_letters": "Entities the broker refused as bad data",
    "retries": "Requests to the broker that were or will be repeated",
    "unauthorized": "Requests without a valid token",
}


@dataclass(slots=True)
class Counters:
    """Counts since the start of the process; they only grow."""

    received: int = 0
    acknowledged: int = 0
    ignored: int = 0
    duplicates: int = 0
    waiting: int = 0
    rejected: int = 0
    warnings: int = 0
    spooled: int = 0
    delivered: int = 0
    dropped: int = 0
    dead_letters: int = 0
    retries: int = 0
    unauthorized: int = 0

    def as_dict(self) -> dict[str, int]:
        """Return the counts by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


class AgentMetrics(Collector):
    """The counters of each agent of a process, read when a scrape comes."""

    def __init__(
        self,
        agents: Mapping[str, Counters],
        pending: Callable[[], Mapping[str, int]],
        turned_away: Callable[[], int],
    ) -> None:
        """Bind the collector to counters and numbers of spooled measures, both per agent.

        Args:
            turned_away: how often a group that has enough did not take a device in.
        """
        self._agents = agents
        self._pending = pending
        self._turned_away = turned_away

    def collect(self) -> Iterator[Metric]:
        for name, text in _HELP.items():
            family = CounterMetricFamily(f"rigel_agent_{name}", text, labels=["agent"])
            for agent, counters in self._agents.items():
                family.add_metric([agent], getattr(counters, name))
            yield family
        gauge = GaugeMetricFamily(
            "rigel_agent_pending", "Spooled measures not delivered yet", labels=["agent"]
        )
        for agent, count in self._pending().items():
            gauge.add_metric([agent], count)
        yield gauge
        yield CounterMetricFamily(
            "rigel_agents_turned_away",
            "Times that a group which has enough devices did not take one in",
            value=self._turned_away(),
        )
