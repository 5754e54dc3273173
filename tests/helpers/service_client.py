"""A blocking client for the service in this process."""

from collections.abc import Mapping
from typing import Any

import httpx
from anyio.from_thread import BlockingPortal
from fastapi import FastAPI


class Client:
    """Calls an ASGI application whose event loop runs in another thread."""

    def __init__(self, app: FastAPI, portal: BlockingPortal, root_path: str = "") -> None:
        transport = httpx.ASGITransport(app, root_path=root_path)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://service", timeout=60)
        self._portal = portal

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            self._client.cookies.clear()  # requests share no session
            return await self._client.request(method, path, **options)

        return self._portal.call(send)

    def get(self, path: str) -> httpx.Response:
        return self.request("GET", path)

    def post(self, path: str, content: Any, headers: Mapping[str, str]) -> httpx.Response:
        return self.request("POST", path, content=content, headers=headers)

    def post_json(self, path: str, body: Any) -> httpx.Response:
        return self.request("POST", path, json=body)
