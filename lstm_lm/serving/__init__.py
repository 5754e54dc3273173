"""The HTTP service, for uvicorn to serve: ``lstm_lm.serving:create_app``, best behind ``BoundedHttpTools``."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI

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
    from lstm_lm.bundle import build_engine, read_bundle
    from lstm_lm.errors import LstmLmError
    from lstm_lm.serving.app import build_app
    from lstm_lm.serving.memory import configure_malloc
    from lstm_lm.serving.settings import read_settings

    configure_malloc()  # before the first thread, which verifies the bundle
    try:
        chosen = settings or read_settings()
        bundle = read_bundle(chosen.bundle)
        return build_app(build_engine(bundle, chosen.backend, chosen.prefix_cache_size), chosen, bundle.about)
    except LstmLmError as error:
        if settings is not None:
            raise
        raise SystemExit(f"error: {error}") from None
