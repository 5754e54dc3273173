"""Every failure is answered as ``{"detail": …}`` in words, and never repeats what was sent."""

import difflib
import inspect
from collections.abc import Iterable, Sequence

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel

from lstm_lm.errors import ConfigError
from lstm_lm.serving.pool import PoolFullError

SHOWN_CHARS = 40


def install_handlers(app: FastAPI) -> None:
    """Give ``app`` an answer for every failure that a request can cause."""

    @app.exception_handler(RequestValidationError)
    async def invalid_request(request: Request, error: RequestValidationError) -> Response:
        known = _field_names(request)
        return _refusal([_describe(detail["loc"], detail["type"], detail["msg"], known) for detail in error.errors()])

    @app.exception_handler(ConfigError)
    async def invalid_options(_request: Request, error: ConfigError) -> Response:
        return _refusal(error.problems)

    @app.exception_handler(PoolFullError)
    async def busy(_request: Request, _error: PoolFullError) -> Response:
        return JSONResponse(
            {"detail": "too many requests are waiting; try again in a second"}, 503, headers={"Retry-After": "1"}
        )


def closest(name: str, known: Iterable[str]) -> str:
    """The remedy for a name that is not among ``known``: the closest one, or all of them."""
    names = sorted(known)
    match = difflib.get_close_matches(name.lower(), names, n=1)
    return f"did you mean {match[0]}?" if match else f"use one of {', '.join(names)}"


def _refusal(problems: Sequence[str]) -> Response:
    return JSONResponse({"detail": "; ".join(problems), "problems": list(problems)}, 422)


def _field_names(request: Request) -> list[str]:
    body = inspect.signature(request.scope["endpoint"]).parameters.get("body")
    model = body.annotation if body is not None else None
    return list(model.model_fields) if inspect.isclass(model) and issubclass(model, BaseModel) else []


def _describe(location: Sequence[int | str], kind: str, message: str, known: Sequence[str]) -> str:
    path = ".".join(str(part) for part in location[1:])
    if kind == "extra_forbidden":
        shown = path if len(path) <= SHOWN_CHARS else f"{path[:SHOWN_CHARS]}…"
        return f"{shown}: unknown field; {closest(path[:SHOWN_CHARS], known)}"
    if kind == "missing" and not path:
        return 'the body is empty; send a JSON object such as {"text": "I want to"}'
    if not path:
        return "the body must be a JSON object"
    return f"{path}: {message[0].lower()}{message[1:]}"
