"""Request ids and the access log, which never has the text of a request."""

import json
import logging
import re
import time
import uuid
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUEST_ID = "X-Request-ID"
LOGGER = logging.getLogger("lstm_lm.access")
_VALID_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_FIELDS = ("request_id", "client", "method", "path", "status", "milliseconds")


class RequestIdMiddleware:
    """Gives each response the id of its request, ``X-Request-ID`` of the client or a new one, and logs the request.

    Args:
        app: The wrapped application.
        log: Whether to log each request: time, id, client, method, path, status and duration.
    """

    def __init__(self, app: ASGIApp, log: bool) -> None:
        self._app = app
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, add the id to its response, and log it at its end."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(REQUEST_ID, "")
        request_id = given if _VALID_ID.fullmatch(given) else uuid.uuid4().hex
        status, start = 500, time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            if self._log:
                _log_request(scope, request_id, status, (time.perf_counter() - start) * 1000)


def _log_request(scope: Scope, request_id: str, status: int, milliseconds: float) -> None:
    client = scope.get("client") or ("-",)
    # as it was sent, so that it has no line break; without the query, which may have text
    path = scope.get("raw_path", scope["path"].encode()).partition(b"?")[0].decode("ascii", "backslashreplace")
    values = (request_id, client[0], scope["method"], path, status, round(milliseconds, 2))
    LOGGER.info("%s %s %s %s %s %s ms", *values, extra=dict(zip(_FIELDS, values, strict=True)))


class JSONFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, message, and the fields of a request."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of ``record``."""
        line: dict[str, Any] = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: getattr(record, name) for name in _FIELDS if hasattr(record, name)}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802
        """The time in UTC, as ISO 8601 with milliseconds."""
        return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{record.msecs:03.0f}Z"


class TextFormatter(JSONFormatter):
    """One line of text: time, level, message."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of ``record``, and the traceback of its exception."""
        line = f"{self.formatTime(record)} {record.levelname} {record.getMessage()}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def logging_config(log_format: str) -> dict[str, Any]:
    """The logging of the service and of uvicorn, for ``logging.config.dictConfig``.

    Args:
        log_format: ``text`` or ``json``.
    """
    formatter = {"text": TextFormatter, "json": JSONFormatter}[log_format]
    logger = {"handlers": ["stderr"], "level": "INFO", "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": formatter}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"}},
        "loggers": {"uvicorn": logger, "lstm_lm": logger},
    }
