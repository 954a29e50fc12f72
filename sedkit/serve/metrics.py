"""Counters for Prometheus, and the text of ``GET /metrics``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric

    from sedkit.serve.engine import Engine

SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)  # edges of the histogram


class Metrics:
    """The counters of one server.

    Attributes
    ----------
    requests : answered so far, by address and status.
    seconds : from the request to the end of its answer, by address.
    listeners : live streams now.
    """

    def __init__(self, engine: Engine) -> None:
        registry = CollectorRegistry()
        self.registry = registry
        self.requests = Counter("sedkit_requests", "Requests answered", ["path", "status"], registry=registry)
        self.seconds = Histogram(
            "sedkit_request_seconds", "Time to answer", ["path"], buckets=SECONDS, registry=registry
        )
        self.listeners = Gauge("sedkit_listeners", "Live streams now", registry=registry)
        registry.register(_EngineCollector(engine))
        ProcessCollector(registry=registry)

    def text(self) -> bytes:
        """All counters in Prometheus's text format."""
        return generate_latest(self.registry)


class _EngineCollector(Collector):
    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        yield GaugeMetricFamily("sedkit_recordings", "Recordings that wait or are analysed now", self.engine.pending)
        yield CounterMetricFamily("sedkit_audio_seconds", "Seconds of audio analysed", self.engine.seconds)
