"""``/docs``: Swagger UI from an installed package, so that it works offline."""

from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.responses import FileResponse, HTMLResponse
from swagger_ui_bundle import swagger_ui_path

SCRIPT, STYLE, ICON = "swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"
OPENAPI_VERSION = "3.0.3"


def install_docs(app: FastAPI) -> None:
    """Add ``/docs``, its files, and an OpenAPI schema that its Swagger UI can render."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                openapi_version=OPENAPI_VERSION,
                routes=app.routes,
            )
            app.openapi_schema = _as_openapi_3_0(schema)
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
            swagger_favicon_url=f"{root}/docs/{ICON}",
            # by default the page calls an online validator
            swagger_ui_parameters={"validatorUrl": None},
        )

    @app.get("/docs/{name}", include_in_schema=False)
    async def docs_file(name: str) -> FileResponse:
        if name not in (SCRIPT, STYLE, ICON):
            raise HTTPException(404, "no such file")
        return FileResponse(swagger_ui_path / name)

    @app.get("/favicon.ico", include_in_schema=False)
    async def favicon() -> FileResponse:
        return FileResponse(swagger_ui_path / ICON)


def _as_openapi_3_0(node: Any) -> Any:
    """Convert OpenAPI 3.1's JSON Schema to 3.0's, the newest version that the package's Swagger UI 4 renders."""
    if isinstance(node, list):
        return [_as_openapi_3_0(item) for item in node]
    if not isinstance(node, dict):
        return node
    schema = {key: _as_openapi_3_0(value) for key, value in node.items()}
    alternatives = schema.get("anyOf")
    if isinstance(alternatives, list) and {"type": "null"} in alternatives:
        non_null = [item for item in alternatives if item != {"type": "null"}]
        del schema["anyOf"]
        schema = {**(non_null[0] if len(non_null) == 1 else {"anyOf": non_null}), **schema, "nullable": True}
        if "enum" in schema:
            schema["enum"] = [*schema["enum"], None]
    for bound in ("minimum", "maximum"):
        exclusive = f"exclusive{bound.capitalize()}"
        limit = schema.get(exclusive)
        if isinstance(limit, int | float) and not isinstance(limit, bool):
            schema |= {bound: limit, exclusive: True}
    return schema
