"""Request bodies must be standard JSON; an error names the position of the first mistake."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json
from starlette.types import Message, Receive


class StrictJSONRequest(Request):
    """A request whose body is read by pydantic's JSON parser.

    Python's own accepts NaN and lone surrogates, which no response can encode, and raises RecursionError on deep
    nesting.
    """

    async def json(self) -> Any:
        """The body as Python data.

        Raises:
            HTTPException: 400 with the mistake and its position, without the input itself.
        """
        body = await self.body()
        try:
            return from_json(body, allow_inf_nan=False)
        except ValueError as error:
            raise HTTPException(400, f"the body is not valid JSON in UTF-8: {error}") from None


class StrictJSONRoute(APIRoute):
    """A route that accepts only a JSON body of at most ``app.state.max_body_bytes``."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, after checks of content type and length."""
        handler = super().get_route_handler()

        async def strict_handler(request: Request) -> Response:
            if not _is_json(request.headers.get("content-type", "")):
                raise HTTPException(415, "the body must be JSON; send the header Content-Type: application/json")
            if request.url.query:
                raise HTTPException(400, "the query string is not read; send its fields in the JSON body")
            receive = _limit_body(request, request.app.state.max_body_bytes)
            return await handler(StrictJSONRequest(request.scope, receive))

        return strict_handler


def _is_json(content_type: str) -> bool:
    kind, _, subtype = content_type.partition(";")[0].strip().lower().partition("/")
    return kind == "application" and (subtype == "json" or subtype.endswith("+json"))


def _limit_body(request: Request, limit: int) -> Receive:
    # FastAPI's max_body_size responds in plain text; every error here is JSON and names the limit
    too_long = HTTPException(413, f"the body is longer than {limit} bytes; send a shorter one")
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length) > limit:
        raise too_long
    size = 0

    async def receive() -> Message:
        nonlocal size
        message = await request.receive()
        size += len(message.get("body", b""))
        if size > limit:
            raise too_long
        return message

    return receive
