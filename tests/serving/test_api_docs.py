"""/docs works offline, and the OpenAPI schema describes the service."""

import json
import re
from typing import Any

import pytest
from helpers.service_client import Client


def test_docs_page_loads_only_files_of_the_service(client: Client) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    assert "https://" not in page.text
    files = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(files) == 3
    for file in [*files, "/favicon.ico"]:
        response = client.get(file)
        assert response.status_code == 200, file
        assert len(response.content) > 100
    assert '"validatorUrl": null' in page.text
    assert "/openapi.json" in page.text


def subschemas(node: Any) -> Any:
    if isinstance(node, dict):
        yield node
    for item in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from subschemas(item)


def test_schema_is_openapi_3_0_with_the_limits(client: Client) -> None:
    openapi = client.get("/openapi.json").json()
    assert openapi["openapi"].startswith("3.0.")
    assert set(openapi["paths"]) == {"/health", "/ready", "/predict", "/generate", "/info", "/metrics"}
    for schema in subschemas(openapi):
        assert schema.get("type") != "null"
        assert isinstance(schema.get("exclusiveMinimum", True), bool)
    schemas = openapi["components"]["schemas"]
    assert schemas["PredictRequest"]["additionalProperties"] is False
    assert schemas["PredictRequest"]["properties"]["k"]["maximum"] == 20
    options = schemas["GenerateRequest"]["properties"]
    assert options["generate"]["maximum"] == 50
    assert options["text"]["maxLength"] == 2000
    assert options["temperature"] == options["temperature"] | {
        "type": "number", "minimum": 0, "exclusiveMinimum": True, "maximum": 100, "nullable": True,
    }  # fmt: skip
    assert options["strategy"]["enum"] == ["greedy", "sample", None]
    # every error has the service's own format
    assert "HTTPValidationError" not in json.dumps(openapi)


@pytest.mark.parametrize(("path", "schema"), [("/predict", "PredictRequest"), ("/generate", "GenerateRequest")])
def test_example_request_is_accepted(client: Client, path: str, schema: str) -> None:
    example = client.get("/openapi.json").json()["components"]["schemas"][schema]["example"]
    assert client.post_json(path, example).status_code == 200
