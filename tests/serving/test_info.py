"""Page files, /info and /metrics."""

import json
import math
import re
from pathlib import Path

from anyio.from_thread import BlockingPortal
from helpers.service_client import Client
from prometheus_client.parser import text_string_to_metric_families

from lstm_lm.bundle import read_bundle
from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.serving import create_app
from lstm_lm.serving.page_routes import FOLDER
from lstm_lm.serving.settings import Settings


def test_page_loads_only_files_of_the_service(client: Client) -> None:
    page = client.get("/")
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    for file in re.findall(r'(?:src|href)="(page/[^"]+)"', page.text):
        assert client.get(f"/{file}").status_code == 200
    for file in FOLDER.iterdir():
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), file
        # the policy would block these
        assert not re.search(r"<style|\sstyle=|\son\w+=|innerHTML", text), file
        for imported in re.findall(r'from "\./([^"]+)"', text):
            assert (FOLDER / imported).is_file()


def test_page_files_have_a_type_and_an_etag(client: Client) -> None:
    for name, kind in (("main.js", "text/javascript"), ("style.css", "text/css"), ("icon.svg", "image/svg+xml")):
        first = client.get(f"/page/{name}")
        assert first.headers["content-type"].startswith(kind)
        assert first.headers["x-content-type-options"] == "nosniff"
        again = client.request("GET", f"/page/{name}", headers={"if-none-match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    for name in ("absent.js", "index.html", "..%2fapp.py", "%2e%2e/app.py"):
        assert client.get(f"/page/{name}").status_code == 404


def test_info_matches_the_bundle(client: Client, tiny_bundle: Path) -> None:
    bundle = read_bundle(tiny_bundle)
    info = client.get("/info").json()
    manifest = json.loads((tiny_bundle / "manifest.json").read_text(encoding="utf-8"))
    assert info["name"] == "tiny"
    for field in ("model", "tokenizer", "data", "metrics", "presets", "default_preset", "vocabulary_size"):
        assert info[field] == manifest[field]
    network = LSTMLanguageModel(bundle.metadata.model, len(bundle.vocabulary))
    assert info["parameters"] == sum(math.prod(tensor.shape) for tensor in network.parameters())
    assert info["limits"] == {"max_text_chars": 2000, "max_k": 20, "max_words": 50}


def read_metrics(client: Client) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = text_string_to_metric_families(response.text)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def test_metrics_count_requests_by_route_and_hold_no_text(tiny_bundle: Path, portal: BlockingPortal) -> None:
    client = Client(create_app(Settings(bundle=tiny_bundle)), portal)
    for _ in range(3):
        client.post_json("/predict", {"text": "xyzzy"})
    client.post_json("/predict", {"text": 1})
    client.post_json("/generate", {"text": "the", "generate": 4})
    client.request("BREW", "/xyzzy")
    metrics = read_metrics(client)

    def requests(method: str, route: str, status: str) -> float:
        return metrics[
            "lstm_lm_requests_total", frozenset({"method": method, "route": route, "status": status}.items())
        ]

    assert requests("POST", "/predict", "200") == 3
    assert requests("POST", "/predict", "422") == 1
    assert requests("other", "other", "404") == 1
    assert metrics["lstm_lm_request_seconds_count", frozenset({("route", "/predict")})] == 4
    assert metrics["lstm_lm_requests_in_flight", frozenset()] == 1
    assert metrics["lstm_lm_model_requests", frozenset()] == 0
    assert metrics["lstm_lm_batch_size_count", frozenset()] > 0
    assert not any("xyzzy" in str(sample) for sample in metrics)
    # another application in this process has its own metrics
    other = read_metrics(Client(create_app(Settings(bundle=tiny_bundle)), portal))
    assert ("lstm_lm_request_seconds_count", frozenset({("route", "/predict")})) not in other
