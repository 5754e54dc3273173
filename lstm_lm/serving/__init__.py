"""The HTTP service, for uvicorn to serve: ``lstm_lm.serving:create_app``, best behind ``BoundedHttpTools``."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI

    from lstm_lm.inference.about import ModelAbout
    from lstm_lm.inference.engine import Engine
    from lstm_lm.serving.settings import Settings


def create_app(settings: "Settings | None" = None) -> "FastAPI":
    """The service, with its model loaded and tried.

    Args:
        settings: What to serve. Left out, as uvicorn does, it comes from the environment, and a user's mistake ends
            the process with one line and status 1 instead of a traceback.

    Raises:
        BundleError: If ``settings`` names a bundle that is missing or damaged.
        ConfigError: If the bundle has no file for the backend of ``settings``.
    """
    from lstm_lm.bundle import load_engine, read_bundle
    from lstm_lm.errors import LstmLmError
    from lstm_lm.serving.settings import read_settings

    try:
        chosen = settings or read_settings()

        def open_bundle() -> "tuple[Engine, ModelAbout]":
            bundle = read_bundle(chosen.bundle)
            return load_engine(bundle, chosen.backend, chosen.prefix_cache_size), bundle.about

        return app_over(open_bundle, chosen)
    except LstmLmError as error:
        if settings is not None:
            raise
        raise SystemExit(f"error: {error}") from None


def app_over(open_model: "Callable[[], tuple[Engine, ModelAbout]]", settings: "Settings") -> "FastAPI":
    """The service over a model that is opened while the service's own modules are imported.

    Checksums and the network's graph are made outside of the interpreter, which the imports fill: side by side they
    take two thirds of the time.

    Args:
        open_model: Gives the engine and what is known of its model.
        settings: Limits and access.

    Raises:
        Exception: Whatever ``open_model`` raises.
    """
    from lstm_lm.serving.memory import share_arenas

    share_arenas()  # before the first thread
    with ThreadPoolExecutor(1) as thread:
        opening = thread.submit(open_model)
        from lstm_lm.serving.app import build_app

        engine, about = opening.result()
    return build_app(engine, settings, about)
