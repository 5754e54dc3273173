"""``/metrics`` for Prometheus. Each application has its own registry, so that two in one process stay separate."""

import time
from collections.abc import Callable, Iterable

from fastapi import APIRouter, Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lstm_lm.serving.docs import SERVICE_TAG

# a prediction takes milliseconds, a long generation tens of seconds
LATENCY_BUCKETS = (0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
BATCH_SIZE_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)
METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS"})


class Metrics:
    """Metrics of one application. They never contain text from a request."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        # resident memory, CPU time and open files; nothing on systems without /proc
        ProcessCollector(registry=self._registry)
        self.requests = Counter(
            "lstm_lm_requests", "Completed requests", ("method", "route", "status"), registry=self._registry
        )
        self.request_seconds = Histogram(
            "lstm_lm_request_seconds",
            "Seconds from the request headers to the end of the response",
            ("route",),
            buckets=LATENCY_BUCKETS,
            registry=self._registry,
        )
        self.in_flight = Gauge("lstm_lm_requests_in_flight", "Requests in flight", registry=self._registry)
        self.batch_size = Histogram(
            "lstm_lm_batch_size",
            "Texts per batch of predictions or generations",
            buckets=BATCH_SIZE_BUCKETS,
            registry=self._registry,
        )

    def watch_gauge(self, name: str, description: str, read: Callable[[], float]) -> None:
        """Add the gauge ``lstm_lm_NAME``; each scrape calls ``read``."""
        Gauge(f"lstm_lm_{name}", description, registry=self._registry).set_function(read)

    def watch_counter(self, name: str, description: str, read: Callable[[], float]) -> None:
        """Add the counter ``lstm_lm_NAME_total``; each scrape calls ``read``, which must never decrease."""
        self._registry.register(_CallbackCounter(f"lstm_lm_{name}", description, read))

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)


class MetricsMiddleware:
    """Counts and times every request.

    Args:
        app: The wrapped application.
        metrics: Receives the measurements.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, add ``Server-Timing``, and record status and duration."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # an exception that gets here becomes a 500 in an outer middleware
        status = 500
        start = time.perf_counter()

        async def recording_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                milliseconds = (time.perf_counter() - start) * 1000
                MutableHeaders(scope=message)["Server-Timing"] = f"app;dur={milliseconds:.2f}"
            await send(message)

        with self._metrics.in_flight.track_inprogress():
            try:
                await self._app(scope, receive, recording_send)
            finally:
                # only route names: a client must not be able to create labels
                route = getattr(scope.get("route"), "path", "other")
                method = scope["method"] if scope["method"] in METHODS else "other"
                self._metrics.requests.labels(method, route, str(status)).inc()
                self._metrics.request_seconds.labels(route).observe(time.perf_counter() - start)


def metrics_route(metrics: Metrics) -> APIRouter:
    """The ``/metrics`` route."""
    router = APIRouter(tags=[SERVICE_TAG])

    @router.get(
        "/metrics",
        name="metrics",
        summary="Metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}},
    )
    async def show_metrics() -> Response:
        """Metrics for Prometheus: requests, latencies, queues, batch sizes, cache hits, memory."""
        return Response(metrics.text(), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    return router


class _CallbackCounter(Collector):
    def __init__(self, name: str, description: str, read: Callable[[], float]) -> None:
        self._name = name
        self._description = description
        self._read = read

    def collect(self) -> Iterable[Metric]:
        yield CounterMetricFamily(self._name, self._description, value=self._read())
