"""The application: routes and middleware around one engine."""

from fastapi import FastAPI

# Moses' rules, so that the first request does not wait for them
import lstm_lm.text.moses  # noqa: F401
from lstm_lm.inference.engine import Engine
from lstm_lm.saved_model import SavedModel
from lstm_lm.serving.access_log import RequestIdMiddleware
from lstm_lm.serving.auth import APIKeyMiddleware, CrossOriginMiddleware
from lstm_lm.serving.browser_client import browser_client
from lstm_lm.serving.docs import TAGS, install_docs
from lstm_lm.serving.draining import ClosingMiddleware, Drain
from lstm_lm.serving.exception_handlers import install_handlers
from lstm_lm.serving.generation import ContinuousBatcher
from lstm_lm.serving.info import info_route
from lstm_lm.serving.metrics import Metrics, MetricsMiddleware, metrics_route
from lstm_lm.serving.page_routes import page_routes
from lstm_lm.serving.paths import VERSION_PREFIX, PathMiddleware
from lstm_lm.serving.pool import ConcurrencyLimiter, InferenceThreadPool
from lstm_lm.serving.predictions import PredictionBatcher
from lstm_lm.serving.routes import health_routes, model_routes
from lstm_lm.serving.settings import Settings
from lstm_lm.version import __version__


def build_engine(model: SavedModel, settings: Settings) -> Engine:
    """The engine that ``settings`` ask for.

    Raises:
        ConfigError, CheckpointError, BundleError: As ``SavedModel.engine``, or if the file of blocked words is wrong.
    """
    return model.engine(settings.backend, settings.prefix_cache_size, settings.blocked_words(), settings.threads)


def build_app(engine: Engine, settings: Settings, model: SavedModel | None = None) -> FastAPI:
    """Build the service around ``engine``, after a warm-up prediction.

    Args:
        engine: Runs all inference.
        settings: Limits and access control.
        model: What ``/info`` describes.

    Raises:
        ConfigError: If the browser client or the file of blocked words is missing or wrong.
    """
    client = browser_client(settings, model)
    engine.predict("", 1)
    metrics = Metrics()
    pool = InferenceThreadPool(settings.prefill_threads)
    # separate limits, so that generations never block predictions
    max_requests = settings.prefill_threads + settings.max_queue_size
    predict_limiter, generate_limiter = ConcurrencyLimiter(max_requests), ConcurrencyLimiter(max_requests)
    predictions = PredictionBatcher(engine, pool, settings.max_batch, metrics.batch_size.observe)
    generations = ContinuousBatcher(engine.backend, settings.max_batch, metrics.batch_size.observe)
    drain = Drain(settings.drain_seconds)
    metrics.watch_gauge(
        "model_requests",
        "Running and waiting predictions and generations",
        lambda: predict_limiter.in_use + generate_limiter.in_use,
    )
    metrics.watch_gauge("generations", "Active generations", lambda: len(generations))
    cache = engine.prefix_cache
    metrics.watch_gauge("prefix_cache_size", "Text prefixes whose state is cached", lambda: len(cache))
    metrics.watch_counter("prefix_cache_hits", "Texts with a cached prefix", lambda: cache.hits)
    metrics.watch_counter("prefix_cache_misses", "Texts without a cached prefix", lambda: cache.misses)
    app = FastAPI(
        title="lstm_lm",
        version=__version__,
        description="Next-word suggestions and text generation from a word-level LSTM language model.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect would lose the body of a request in some clients
        root_path=settings.root_path,
        root_path_in_servers=False,
        openapi_tags=TAGS,
        generate_unique_id_function=lambda route: route.name,
        # an error's message may quote a request
        telemetry={"logs": False},
        lifespan=drain.lifespan,
    )
    app.state.max_body_bytes = settings.max_body_bytes
    install_handlers(app)
    install_docs(app, has_key=settings.api_key is not None)
    for router in (
        health_routes(engine, settings, drain),
        model_routes(engine, settings, pool, predictions, predict_limiter, generations, generate_limiter),
        info_route(engine, settings, model, client),
        metrics_route(metrics),
    ):
        app.include_router(router)
        app.include_router(router, prefix=VERSION_PREFIX, include_in_schema=False)
    app.include_router(page_routes(client))
    # the last middleware added runs first: metrics count requests without a key, and a CORS preflight needs none
    if settings.api_key is not None:
        app.add_middleware(APIKeyMiddleware, key=settings.api_key.get_secret_value())
    app.add_middleware(MetricsMiddleware, metrics=metrics)
    app.add_middleware(ClosingMiddleware, drain=drain)
    if settings.cors_origins:
        app.add_middleware(CrossOriginMiddleware, origins=settings.cors_origins)
    app.add_middleware(PathMiddleware)
    app.add_middleware(RequestIdMiddleware, log=settings.access_log)
    return app
