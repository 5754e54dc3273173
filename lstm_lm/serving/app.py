"""The application: an engine behind routes."""

from fastapi import FastAPI

from lstm_lm import __version__
from lstm_lm.inference.engine import Engine
from lstm_lm.serving.docs import install_docs
from lstm_lm.serving.failures import install_handlers
from lstm_lm.serving.pool import InferencePool
from lstm_lm.serving.routes import model_routes, probes
from lstm_lm.serving.settings import Settings


def build_app(engine: Engine, settings: Settings) -> FastAPI:
    """The service over ``engine``, which has answered once: nothing is served that does not work."""
    engine.predict("", 1)
    app = FastAPI(
        title="lstm_lm",
        version=__version__,
        description="Next words and continuations from a word-level LSTM language model.",
        docs_url=None,
        redoc_url=None,
    )
    app.state.max_body_bytes = settings.max_body_bytes
    install_handlers(app)
    install_docs(app)
    app.include_router(probes(engine, settings))
    app.include_router(model_routes(engine, settings, InferencePool(settings.workers, settings.max_waiting)))
    return app
