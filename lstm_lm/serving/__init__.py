"""The HTTP service. uvicorn runs it as ``lstm_lm.serving:create_app``, with ``BoundedHttpTools`` as its ``--http``."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI

    from lstm_lm.serving.settings import Settings


def create_app(settings: "Settings | None" = None) -> "FastAPI":
    """Load the model, test it with one prediction, and build the application.

    Args:
        settings: What to serve. ``None``, as with uvicorn, reads the environment; then a user's mistake ends the
            process with one line and status 1 instead of a traceback.

    Raises:
        BundleError, CheckpointError: If the model of ``settings`` is missing or damaged.
        ConfigError: If it has no file for the backend of ``settings``.
    """
    from lstm_lm.errors import LstmLmError
    from lstm_lm.loading import load_model
    from lstm_lm.serving.app import build_app, build_engine
    from lstm_lm.serving.memory import configure_malloc
    from lstm_lm.serving.settings import read_settings

    configure_malloc()  # before the first thread, which verifies the bundle
    try:
        effective = settings or read_settings()
        model = load_model(effective.bundle)
        return build_app(build_engine(model, effective), effective, model)
    except LstmLmError as error:
        if settings is not None:
            raise
        raise SystemExit(f"error: {error}") from None
