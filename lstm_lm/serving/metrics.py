"""``/metrics`` for Prometheus. A registry for each application, so that two in one process do not share figures."""

import time
from collections.abc import Callable, Iterable

from fastapi import APIRouter, Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# a keystroke is answered in milliseconds, a long generation takes tens of seconds
SECONDS = (0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS"})


class Metrics:
    """The figures of one application. Nothing that a user typed is among them."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        # resident memory, processor time, open files; where there is no /proc it gives nothing
        ProcessCollector(registry=self._registry)
        self.requests = Counter(
            "lstm_lm_requests", "Requests answered", ("method", "route", "status"), registry=self._registry
        )
        self.request_seconds = Histogram(
            "lstm_lm_request_seconds",
            "Time from the head of a request to the end of its answer",
            ("route",),
            buckets=SECONDS,
            registry=self._registry,
        )
        self.in_flight = Gauge("lstm_lm_requests_in_flight", "Requests not yet answered", registry=self._registry)
        self.batch_size = Histogram(
            "lstm_lm_batch_size",
            "Texts that shared one round of predictions or continuations",
            buckets=BATCH_SIZES,
            registry=self._registry,
        )

    def watch_gauge(self, name: str, description: str, read: Callable[[], float]) -> None:
        """Show ``lstm_lm_NAME``, a figure that goes up and down; ``read`` is called at each scrape."""
        Gauge(f"lstm_lm_{name}", description, registry=self._registry).set_function(read)

    def watch_counter(self, name: str, description: str, read: Callable[[], float]) -> None:
        """Show ``lstm_lm_NAME_total``, a figure that only goes up; ``read`` is called at each scrape."""
        self._registry.register(_ReadCounter(f"lstm_lm_{name}", description, read))

    def text(self) -> bytes:
        """All figures in Prometheus' text format."""
        return generate_latest(self._registry)


class MetricsMiddleware:
    """Counts and times every request.

    Args:
        app: The application behind it.
        metrics: Where the figures go.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and note how it went."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # an exception that reaches this place is answered with 500 outside of it
        status = 500
        start = time.perf_counter()

        async def noting_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                milliseconds = (time.perf_counter() - start) * 1000
                MutableHeaders(scope=message)["Server-Timing"] = f"app;dur={milliseconds:.2f}"
            await send(message)

        with self._metrics.in_flight.track_inprogress():
            try:
                await self._app(scope, receive, noting_send)
            finally:
                # names of routes alone: what a client makes up must not become a label
                route = getattr(scope.get("route"), "path", "other")
                method = scope["method"] if scope["method"] in METHODS else "other"
                self._metrics.requests.labels(method, route, str(status)).inc()
                self._metrics.request_seconds.labels(route).observe(time.perf_counter() - start)


def metrics_route(metrics: Metrics) -> APIRouter:
    """``/metrics``."""
    router = APIRouter()

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def show_metrics() -> Response:
        """Figures for Prometheus: requests, latency, queue, batches, cache, memory."""
        return Response(metrics.text(), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    return router


class _ReadCounter(Collector):
    def __init__(self, name: str, description: str, read: Callable[[], float]) -> None:
        self._name = name
        self._description = description
        self._read = read

    def collect(self) -> Iterable[Metric]:
        yield CounterMetricFamily(self._name, self._description, value=self._read())
