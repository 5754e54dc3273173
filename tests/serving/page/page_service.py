"""A service on loopback with a slow model, and the folder for screenshots."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from helpers.waiting import DEADLINE, wait_until

from lstm_lm.bundle import read_bundle
from lstm_lm.serving.app import build_app
from lstm_lm.serving.settings import Settings

STEP_SECONDS = 0.01
SCREENSHOTS = Path(__file__).parents[3] / "outputs" / "screenshots"


class SlowBackend:
    """Sleeps in each step, so that a test can watch and stop a generation."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def step(self, input_ids: Any, state: Any) -> Any:
        time.sleep(STEP_SECONDS)
        return self._backend.step(input_ids, state)


@contextmanager
def listening(bundle: Path, **settings: Any) -> Iterator[str]:
    """Run a service in this process; yields its URL."""
    loaded = read_bundle(bundle)
    engine = loaded.engine()
    engine.backend = SlowBackend(engine.backend)
    app = build_app(engine, Settings(bundle=bundle, **settings), loaded)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive())
        assert thread.is_alive(), "the service did not start"
        (listener,) = (socket for server_part in server.servers for socket in server_part.sockets)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(DEADLINE)
