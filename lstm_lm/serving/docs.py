"""``/docs``: Swagger UI from an installed package, so that it works offline, and the OpenAPI schema that it shows."""

from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.responses import FileResponse, HTMLResponse

from lstm_lm.serving.auth import OPEN_PATHS
from lstm_lm.serving.paths import VERSION_PREFIX

SCRIPT, STYLE = "swagger-ui-bundle.js", "swagger-ui.css"
ICON = Path(__file__).parent / "page" / "icon.svg"
MODEL_TAG, SERVICE_TAG = "model", "service"
TAGS = [
    {"name": MODEL_TAG, "description": "Suggestions and text"},
    {"name": SERVICE_TAG, "description": "State, limits and metrics of the service"},
]
_SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "The API key"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
_UNAUTHORIZED = {
    "description": "The API key is missing or wrong",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorResponse"}}},
}


def install_docs(app: FastAPI, has_key: bool) -> None:
    """Add ``/docs``, its files, and the OpenAPI schema.

    Args:
        app: The application, whose routes may be added later.
        has_key: Whether the service needs an API key.
    """
    static = Path(str(files("fastapi_offline") / "static"))

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            root = app.root_path
            app.openapi_schema = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
                tags=app.openapi_tags,
                servers=[{"url": root or "/"}, {"url": f"{root}{VERSION_PREFIX}"}],
            )
            if has_key:
                _add_security(app.openapi_schema)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to replace it

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        root = request.scope.get("root_path", "").rstrip("/")
        return get_swagger_ui_html(
            openapi_url=f"{root}{app.openapi_url}",
            title=app.title,
            swagger_js_url=f"{root}/docs/{SCRIPT}",
            swagger_css_url=f"{root}/docs/{STYLE}",
            swagger_favicon_url=f"{root}/favicon.ico",
            # by default the page calls an online validator
            swagger_ui_parameters={"validatorUrl": None, "tryItOutEnabled": True},
        )

    @app.get("/docs/{name}", include_in_schema=False)
    async def docs_file(name: str) -> FileResponse:
        if name not in (SCRIPT, STYLE):
            raise HTTPException(404, "no such file")
        return FileResponse(static / name)

    @app.get("/favicon.ico", include_in_schema=False)
    async def favicon() -> FileResponse:
        return FileResponse(ICON, media_type="image/svg+xml")


def _add_security(schema: dict[str, Any]) -> None:
    schema["components"]["securitySchemes"] = _SECURITY_SCHEMES
    for path, operations in schema["paths"].items():
        for operation in operations.values() if path not in OPEN_PATHS else ():
            operation["security"] = [{name: []} for name in _SECURITY_SCHEMES]
            operation["responses"]["401"] = _UNAUTHORIZED
