"""Every failure is answered as ``{"detail": …}`` in words, and repeats nothing but names and words that are wrong."""

import difflib
import inspect
from collections.abc import Iterable, Sequence
from typing import get_args

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel

from lstm_lm.errors import ConfigError
from lstm_lm.serving.pool import OverloadedError

SHOWN_CHARS = 40
SHOWN_PROBLEMS = 20


def install_handlers(app: FastAPI) -> None:
    """Give ``app`` an answer for every failure that a request can cause."""

    @app.exception_handler(RequestValidationError)
    async def invalid_request(request: Request, error: RequestValidationError) -> Response:
        body = _body_model(request)
        errors = error.errors()
        # a body of nothing but mistakes has thousands, and each costs a search for the name that was meant
        shown = [_describe(each["loc"], each["type"], each["msg"], body) for each in errors[:SHOWN_PROBLEMS]]
        return _refusal(shown, len(errors))

    @app.exception_handler(ConfigError)
    async def invalid_options(_request: Request, error: ConfigError) -> Response:
        return _refusal(error.problems[:SHOWN_PROBLEMS], len(error.problems))

    @app.exception_handler(OverloadedError)
    async def busy(_request: Request, _error: OverloadedError) -> Response:
        return JSONResponse(
            {"detail": "too many requests are waiting; try again in a second"}, 503, headers={"Retry-After": "1"}
        )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The remedy for a name that is not among ``known``: the closest one, or all of them."""
    names = sorted(known)
    match = difflib.get_close_matches(name.lower(), names, n=1)
    return f"did you mean {match[0]}?" if match else f"use one of {', '.join(names)}"


def _refusal(shown: Sequence[str], number: int) -> Response:
    problems = [*shown, f"and {number - len(shown)} more"] if number > len(shown) else list(shown)
    return JSONResponse({"detail": "; ".join(problems), "problems": problems}, 422)


def _body_model(request: Request) -> type[BaseModel] | None:
    body = inspect.signature(request.scope["endpoint"]).parameters.get("body")
    return _model_in(body.annotation) if body is not None else None


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The model that ``annotation`` is or, as ``Model | None`` does, holds."""
    kinds = (annotation, *get_args(annotation))
    return next((kind for kind in kinds if inspect.isclass(kind) and issubclass(kind, BaseModel)), None)


def _field_names(body: type[BaseModel] | None, path: Sequence[int | str]) -> list[str]:
    """The fields that there are at a place of the body."""
    for name in path:
        field = body.model_fields.get(str(name)) if body else None
        body = _model_in(field.annotation) if field else None
    return list(body.model_fields) if body else []


def _describe(location: Sequence[int | str], kind: str, message: str, body: type[BaseModel] | None) -> str:
    path = ".".join(str(part) for part in location[1:])
    if kind == "extra_forbidden":
        shown = path if len(path) <= SHOWN_CHARS else f"{path[:SHOWN_CHARS]}…"
        known = _field_names(body, location[1:-1])
        return f"{shown}: unknown field; {did_you_mean(str(location[-1])[:SHOWN_CHARS], known)}"
    if kind == "missing" and not path:
        return 'the body is empty; send a JSON object such as {"text": "I want to"}'
    if not path:
        return "the body must be a JSON object"
    return f"{path}: {message[0].lower()}{message[1:]}"
