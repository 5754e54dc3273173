"""Error responses: ``{"detail": …}``, which quotes only wrong names and words of the request."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel

from lstm_lm.errors import ConfigError, did_you_mean
from lstm_lm.serving.pool import OverloadedError

MAX_NAME_CHARS = 40
MAX_PROBLEMS = 20
OTHER_NAMES = {
    "max_tokens": "max_words",
    "max_new_tokens": "max_words",
    "max_length": "max_words",
    "prompt": "text",
    "input": "text",
    "n": "k",
    "num_suggestions": "k",
    "stop_sequences": "stop",
    "frequency_penalty": "repetition_penalty",
}
"""Names of these fields in other services."""


def install_handlers(app: FastAPI) -> None:
    """Add a handler for each error that a request can cause."""

    @app.exception_handler(RequestValidationError)
    async def invalid_request(request: Request, error: RequestValidationError) -> Response:
        body = _body_model(request)
        errors = error.errors()
        # a body may hold thousands of unknown names, and each costs a search for a similar one
        shown = [_describe(each["loc"], each["type"], _message(each), body) for each in errors[:MAX_PROBLEMS]]
        return _unprocessable(shown, len(errors))

    @app.exception_handler(ConfigError)
    async def invalid_options(_request: Request, error: ConfigError) -> Response:
        return _unprocessable(error.problems[:MAX_PROBLEMS], len(error.problems))

    @app.exception_handler(OverloadedError)
    async def overloaded(_request: Request, _error: OverloadedError) -> Response:
        return JSONResponse(
            {"detail": "too many requests are waiting; try again in a second"}, 503, headers={"Retry-After": "1"}
        )


def _unprocessable(shown: Sequence[str], count: int) -> Response:
    problems = [*shown, f"and {count - len(shown)} more"] if count > len(shown) else list(shown)
    return JSONResponse({"detail": "; ".join(problems), "problems": problems}, 422)


def _body_model(request: Request) -> type[BaseModel] | None:
    body = inspect.signature(request.scope["endpoint"]).parameters.get("body")
    return _model_in(body.annotation) if body is not None else None


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The model in ``annotation``, which is ``Model`` or ``Model | None``."""
    types = (annotation, *get_args(annotation))
    return next((type_ for type_ in types if inspect.isclass(type_) and issubclass(type_, BaseModel)), None)


def _field_names(body: type[BaseModel] | None, path: Sequence[int | str]) -> list[str]:
    """The fields of the object at ``path`` in the body."""
    for name in path:
        field = body.model_fields.get(str(name)) if body else None
        body = _model_in(field.annotation) if field else None
    return list(body.model_fields) if body else []


def _message(error: Mapping[str, Any]) -> str:
    if error["type"] == "too_long" and "max_length" in error.get("ctx", {}):
        value = error["input"]
        unit = "characters" if isinstance(value, str) else "entries" if isinstance(value, dict) else "items"
        return f"must have at most {error['ctx']['max_length']} {unit}"
    message: str = error["msg"]
    return message


def _describe(location: Sequence[int | str], error_type: str, message: str, body: type[BaseModel] | None) -> str:
    path = ".".join(str(part) for part in location[1:])
    if error_type == "extra_forbidden":
        shown = path if len(path) <= MAX_NAME_CHARS else f"{path[:MAX_NAME_CHARS]}…"
        known = sorted(_field_names(body, location[1:-1]))
        name = str(location[-1])[:MAX_NAME_CHARS].lower()
        other = {theirs: ours for theirs, ours in OTHER_NAMES.items() if ours in known}
        return f"{shown}: unknown field; {did_you_mean(name, known, renamed=other)}"
    if error_type == "missing" and not path:
        return 'the body is empty; send a JSON object such as {"text": "I want to"}'
    if not path:
        return "the body must be a JSON object"
    return f"{path}: {message[0].lower()}{message[1:]}"
