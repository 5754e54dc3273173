"""/docs works offline, and the OpenAPI schema describes the service."""

import json
import os
import re
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal
from helpers.service_client import Client
from pydantic import SecretStr

from lstm_lm.serving import create_app
from lstm_lm.serving.settings import Settings

SNAPSHOT = Path(__file__).parent / "openapi.json"


def test_docs_page_loads_only_files_of_the_service(client: Client) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    assert "https://" not in page.text
    files = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(files) == 3
    for file in files:
        response = client.get(file)
        assert response.status_code == 200, file
        assert len(response.content) > 100
    assert '"validatorUrl": null' in page.text
    assert "/openapi.json" in page.text


def test_schema_has_the_limits(client: Client) -> None:
    openapi = client.get("/openapi.json").json()
    assert set(openapi["paths"]) == {"/health", "/ready", "/predict", "/generate", "/info", "/metrics"}
    assert [server["url"] for server in openapi["servers"]] == ["/", "/v1"]
    operations = [operation for path in openapi["paths"].values() for operation in path.values()]
    assert {operation["operationId"] for operation in operations} == {
        "health", "ready", "predict", "generate", "info", "metrics",
    }  # fmt: skip
    assert {tag for operation in operations for tag in operation["tags"]} == {tag["name"] for tag in openapi["tags"]}
    assert "securitySchemes" not in openapi["components"]
    schemas = openapi["components"]["schemas"]
    predict, generate = schemas["PredictRequest"], schemas["GenerateRequest"]["properties"]
    assert predict["additionalProperties"] is False
    assert {"maximum": 20, "minimum": 1, "type": "integer"} in predict["properties"]["k"]["anyOf"]
    assert {"maximum": 50, "minimum": 1, "type": "integer"} in generate["generate"]["anyOf"]
    assert "2000 characters" in generate["text"]["description"]
    # every error has the service's own format
    assert "HTTPValidationError" not in json.dumps(openapi)
    # null is allowed where a field is not required
    for body in (predict, schemas["GenerateRequest"], schemas["CacheOptions"]):
        for name, field in body["properties"].items():
            assert ({"type": "null"} in field.get("anyOf", [])) == (name not in body.get("required", [])), name


def test_schema_of_a_service_with_a_key_says_so(tiny_bundle: Path, portal: BlockingPortal) -> None:
    client = Client(create_app(Settings(bundle=tiny_bundle, api_key=SecretStr("a-long-enough-key"))), portal)
    openapi = client.request("GET", "/openapi.json", headers={"X-API-Key": "a-long-enough-key"}).json()
    for path, operations in openapi["paths"].items():
        for operation in operations.values():
            assert ("401" in operation["responses"]) == ("security" in operation) == (path not in ("/health", "/ready"))
    assert set(openapi["components"]["securitySchemes"]) == {"bearer", "header"}


def test_schema_is_the_recorded_one(tiny_bundle: Path, portal: BlockingPortal) -> None:
    """A change of the interface shows in ``openapi.json``; ``UPDATE_SNAPSHOTS=1 pytest`` writes it again."""
    openapi = Client(create_app(Settings(bundle=tiny_bundle)), portal).get("/openapi.json").json()
    text = json.dumps(openapi | {"info": openapi["info"] | {"version": ""}}, indent=1, sort_keys=True) + "\n"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        SNAPSHOT.write_text(text)
    assert text == SNAPSHOT.read_text()


@pytest.mark.parametrize(("path", "schema"), [("/predict", "PredictRequest"), ("/generate", "GenerateRequest")])
def test_example_request_is_accepted(client: Client, path: str, schema: str) -> None:
    example = client.get("/openapi.json").json()["components"]["schemas"][schema]["examples"][0]
    assert client.post_json(path, example).status_code == 200
