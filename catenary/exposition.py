"""`GET /metrics` of a service, in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from catenary.guard import METRICS
from catenary.metrics import Metric, Sample

Family = CounterMetricFamily | GaugeMetricFamily


class _Samples(Collector):
    def __init__(self, samples: Callable[[], Iterable[Sample]]) -> None:
        self._samples = samples

    def collect(self) -> Iterator[Family]:
        families: dict[Metric, Family] = {}
        for sample in self._samples():
            if sample.metric not in families:
                families[sample.metric] = _family(sample.metric)
            families[sample.metric].add_metric(sample.labels, sample.value)
        yield from families.values()


def _family(metric: Metric) -> Family:
    make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    return make(metric.name, metric.help, labels=metric.labels)


def add_metrics_route(app: FastAPI, samples: Callable[[], Iterable[Sample]]) -> None:
    """What `samples` gives at each call, and what the process takes of its host.

    It is not on the OpenAPI page, whose calls answer in JSON.
    """
    registry = CollectorRegistry()
    registry.register(_Samples(samples))
    ProcessCollector(registry=registry)

    @app.get(METRICS, include_in_schema=False)
    def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
