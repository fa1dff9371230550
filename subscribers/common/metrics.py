"""What the roles count, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from subscribers.common.engine import Count

_COUNTERS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "notifications": ("Notifications by what became of them", ("outcome",)),
    "observations": ("Observed attributes by what became of them", ("outcome",)),
    "failures": ("Transactions that failed and were rolled back", ()),
    "writes": ("Writes to the broker by what became of them", ("outcome",)),
    "rule_runs": ("Alerts raised and cleared, and errors, of a rule", ("rule", "outcome")),
    "kpi_values": ("Values of a KPI by kind", ("kpi", "kind")),
}
_GAUGES: Final[Mapping[str, str]] = {
    "waiting_writes": "Writes that wait for the broker",
    "stream_time_seconds": "The time of what is observed, since the epoch",
}


class Sample(Collector):
    """The counts and levels of all roles at one moment."""

    def __init__(
        self,
        counts: Mapping[str, Mapping[Count, int]],
        levels: Mapping[str, Mapping[str, float]],
    ) -> None:
        """Take counts by role and what is counted, and levels by role and name."""
        self._counts = counts
        self._levels = levels

    def collect(self) -> Iterator[Metric]:
        for name, (text, labels) in _COUNTERS.items():
            counter = CounterMetricFamily(
                f"rigel_subscriber_{name}", text, labels=["role", *labels]
            )
            for role, counts in self._counts.items():
                for key, number in counts.items():
                    if key[0] == name:
                        counter.add_metric([role, *key[1:]], number)
            yield counter
        for name, text in _GAUGES.items():
            gauge = GaugeMetricFamily(f"rigel_subscriber_{name}", text, labels=["role"])
            for role, levels in self._levels.items():
                gauge.add_metric([role], levels[name])
            yield gauge

    def render(self) -> bytes:
        """Return the sample in the text format."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry)
