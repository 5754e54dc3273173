"""/docs needs nothing from outside, and describes what the service does."""

import json
import re
from typing import Any

from helpers.service_client import Client


def test_the_page_and_all_its_files_come_from_the_service(client: Client) -> None:
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


def test_the_description_is_openapi_3_0_and_tells_the_limits(client: Client) -> None:
    description = client.get("/openapi.json").json()
    assert description["openapi"].startswith("3.0.")
    assert set(description["paths"]) == {"/health", "/ready", "/predict", "/generate", "/info", "/metrics"}
    for schema in subschemas(description):
        assert schema.get("type") != "null"
        assert isinstance(schema.get("exclusiveMinimum", True), bool)
    schemas = description["components"]["schemas"]
    assert schemas["PredictRequest"]["additionalProperties"] is False
    assert schemas["PredictRequest"]["properties"]["k"]["maximum"] == 20
    options = schemas["GenerateRequest"]["properties"]
    assert options["generate"]["maximum"] == 50
    assert options["text"]["maxLength"] == 2000
    assert options["temperature"] == options["temperature"] | {
        "type": "number", "minimum": 0, "exclusiveMinimum": True, "maximum": 100, "nullable": True,
    }  # fmt: skip
    assert options["strategy"]["enum"] == ["greedy", "sample", None]
    # no framework's own error format: every failure is ours
    assert "HTTPValidationError" not in json.dumps(description)
