"""``lstm-lm serve``: the HTTP service."""

import contextlib
import errno
import socket
from pathlib import Path
from typing import Annotated, Any

import typer

from lstm_lm.errors import ConfigError

# after Ctrl-C or SIGTERM: time to finish the requests in flight
GRACE_SECONDS = 120


def serve(
    model: Annotated[
        Path | None,
        typer.Option(
            help="Bundle, run folder, checkpoint, or hf://USER/NAME on the Hugging Face hub.",
            show_default="LSTM_LM_BUNDLE, or the model that ships with lstm-lm: everyday English",
        ),
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.", show_default="LSTM_LM_HOST or 127.0.0.1")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; 0 picks a free one.", show_default="LSTM_LM_PORT or 8000")
    ] = None,
    root_path: Annotated[
        str | None,
        typer.Option(help="Path prefix under which a proxy serves this service.", show_default="LSTM_LM_ROOT_PATH"),
    ] = None,
    browser_client: Annotated[
        Path | None,
        typer.Option(
            help="Built JavaScript client: the page can run the model in the browser.",
            show_default="LSTM_LM_BROWSER_CLIENT",
        ),
    ] = None,
    blocklist: Annotated[
        bool | None,
        typer.Option(
            "--blocklist/--no-blocklist",
            help="Leave out the slurs and obscenities of the shipped list.",
            show_default="LSTM_LM_BLOCKLIST or --blocklist",
        ),
    ] = None,
) -> None:
    """Serve suggestions and generated text over HTTP until Ctrl-C."""
    import uvicorn

    from lstm_lm.cli.text_options import SHIPPED_MODEL
    from lstm_lm.loading import load_model
    from lstm_lm.pretrained import PRETRAINED
    from lstm_lm.serving.access_log import logging_config
    from lstm_lm.serving.app import build_app, build_engine
    from lstm_lm.serving.http_protocol import BoundedHttpTools
    from lstm_lm.serving.memory import configure_malloc
    from lstm_lm.serving.settings import read_settings

    options: dict[str, Any] = {"bundle": model, "host": host, "port": port}
    options |= {"blocklist": blocklist, "root_path": root_path, "browser_client": browser_client}
    settings = read_settings(**{name: value for name, value in options.items() if value is not None})
    # bind before loading the model, so that a port in use is reported immediately
    with _bound_socket(settings.host, settings.port) as listener:
        configure_malloc()  # before the first thread, which verifies the bundle
        loaded = load_model(settings.bundle)
        app = build_app(build_engine(loaded, settings), settings, loaded)
        address, bound_port = listener.getsockname()[:2]
        served = SHIPPED_MODEL if settings.bundle == PRETRAINED else settings.bundle
        url_host = f"[{address}]" if ":" in address else address
        typer.echo(
            f"serving {served} at http://{url_host}:{bound_port} (page at /, docs at /docs, Ctrl-C to stop)",
            err=True,
        )
        config = uvicorn.Config(
            app,
            http=BoundedHttpTools,
            log_config=logging_config(settings.log_format),
            access_log=False,  # the application logs requests itself
            timeout_keep_alive=settings.keep_alive_seconds,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        # uvicorn raises it again after a graceful shutdown
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])


def _bound_socket(host: str, port: int) -> socket.socket:
    """A socket that is bound but does not listen yet: it refuses clients until the server is ready.

    Raises:
        ConfigError: If the address is in use, forbidden or not one of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise ConfigError([f"host: not an address (got {host!r}: {error}); try --host 127.0.0.1"]) from None
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise ConfigError([_bind_problem(host, port, error)]) from None
    return bound


def _bind_problem(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port: {port} is in use; choose another, or --port 0 for a free one"
    if error.errno == errno.EACCES:
        return f"port: {port} needs root privileges; choose one above 1023"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"host: {host} is not an address of this machine; try 127.0.0.1, or 0.0.0.0 for all"
    return f"host, port: cannot listen on {host}:{port} ({error.strerror})"
