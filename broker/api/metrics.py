"""What the broker counts, in a form that costs a request next to nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

Gauges = Callable[[], Mapping[str, float]]


class Metrics(Collector):
    """Requests by operation and status, and gauges that are read when somebody asks."""

    def __init__(self, gauges: Gauges) -> None:
        """Start counting.

        Args:
            gauges: names, without the prefix `rigel_broker_`, and present values.
        """
        self._gauges = gauges
        self._requests: dict[tuple[str, int], int] = {}
        self._seconds: dict[str, float] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def operation(self, operation_id: str) -> Callable[[int, float], None]:
        """Return the function that counts one exchange of an operation: status and seconds."""
        requests, seconds = self._requests, self._seconds
        seconds[operation_id] = 0.0

        def count(status: int, took: float) -> None:
            key = (operation_id, status)
            requests[key] = requests.get(key, 0) + 1
            seconds[operation_id] += took

        return count

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        requests = CounterMetricFamily(
            "rigel_broker_requests", "Requests answered.", labels=["operation", "status"]
        )
        for (operation, status), number in self._requests.items():
            requests.add_metric([operation, str(status)], number)
        yield requests
        seconds = CounterMetricFamily(
            "rigel_broker_request_seconds", "Seconds spent on requests.", labels=["operation"]
        )
        for operation, took in self._seconds.items():
            seconds.add_metric([operation], took)
        yield seconds
        for name, value in self._gauges().items():
            yield GaugeMetricFamily(f"rigel_broker_{name}", name.replace("_", " "), value=value)

    def render(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        return generate_latest(self._registry)


METRICS = web.AppKey("metrics", Metrics)
