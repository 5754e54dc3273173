"""The page runs the model in the browser: the same suggestions as the service, without asking it."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from helpers.small_models import write_plain_bundle
from page_service import listening
from playwright.sync_api import Page, expect

from lstm_lm.data.chat import ChatSplit
from lstm_lm.data.config import DataConfig
from lstm_lm.export.onnx_graph import float_graph, int8_graph
from lstm_lm.inference.config import SamplingConfig
from lstm_lm.nn.config import ModelConfig
from lstm_lm.nn.model import LSTMLanguageModel
from lstm_lm.text.tokenizer import Tokenizer
from lstm_lm.text.vocabulary import EOS, Vocabulary

WEB = Path(__file__).parents[3] / "clients" / "web"
PROMPTS = Path(__file__).parents[2] / "evaluation" / "data" / "everyday_prompts.tsv"
NUM_PROMPTS = 200


@pytest.fixture(scope="module")
def chat_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, large enough that no two words are about equally probable, over the words of 3,000 messages."""
    moses, counts = Tokenizer("moses"), dict[str, int]()
    for line in islice(ChatSplit("train"), 3000):
        for word in (*moses.words(line), EOS):
            counts[word] = counts.get(word, 0) + 1
    vocabulary = Vocabulary.from_counts(counts, min_count=2)
    config = ModelConfig(embedding_dim=24, hidden_dims=[40, 24])
    torch.manual_seed(0)
    network = LSTMLanguageModel(config, len(vocabulary))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.uniform_(-1.0, 1.0)
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    path = tmp_path_factory.mktemp("exports") / "chat"
    write_plain_bundle(
        path,
        model=config,
        tokenizer="moses",
        data=DataConfig(source="chat", title="chat"),
        presets={"greedy": SamplingConfig(strategy="greedy")},
        default_preset="greedy",
        weights=weights,
        vocabulary=vocabulary,
        card="# chat\n",
        graphs={"model.onnx": float_graph(config, weights), "model.int8.onnx": int8_graph(config, weights)},
    )
    return path


@pytest.fixture(scope="module")
def client() -> Path:
    if not (WEB / "dist").is_dir():
        pytest.skip("the JavaScript client is not built; run `npm ci && npm run build` in clients/web")
    return WEB / "dist"


@pytest.fixture(scope="module")
def local_url(chat_bundle: Path, client: Path) -> Iterator[str]:
    with listening(chat_bundle, browser_client=client) as url:
        yield url


def requests_of(prompts: Path) -> list[dict[str, Any]]:
    """A default request for each prompt, and one that has typed two letters of its next word."""
    bodies: list[dict[str, Any]] = []
    for line in prompts.read_text(encoding="utf-8").splitlines()[1 : NUM_PROMPTS + 1]:
        text, word = line.split("\t")
        bodies += [{"text": f"{text} ", "k": 3}, {"text": f"{text} {word[:2]}", "k": 3, "split": True}]
    assert len(bodies) == 2 * NUM_PROMPTS
    typed = [
        "I dont",
        "He said 'th",
        "tomorow",
        "recieve",
        "well-kn",
        "joe@",
        "10:",
        "I don’",
        "TH",
        "",
        "I'm. 🎉 ",
        "Bob's ",
    ]
    personal = {"user_words": {"Siobhán": 3, "yeet": 9}, "recent": ["Hello Bob, how are you?"], "deny": ["the", "I"]}
    for text in typed:
        body = {"text": text, "k": 3, "split": True, "words_only": True}
        bodies += [body, {**body, "cache": True}, {**body, **personal}]
    return bodies


IN_BROWSER = """async ({ bodies, graph }) => {
  const ort = await import("./browser/ort.wasm.min.mjs");
  const { loadPredictor } = await import("./browser/predictor.js");
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = new URL("browser/", document.baseURI).href;
  const predictor = await loadPredictor(new URL("bundle/", document.baseURI).href, ort, { graph });
  const results = [];
  for (const body of bodies) results.push(await predictor.predict(body));
  return results;
}"""


def test_browser_suggests_the_words_of_the_service(open_page, local_url: str) -> None:  # type: ignore[no-untyped-def]
    page = open_page(local_url)
    bodies = requests_of(PROMPTS)
    graph = httpx.get(f"{local_url}/info", trust_env=False).json()["browser_graph"]
    assert graph == "model.int8.onnx"
    found = page.evaluate(IN_BROWSER, {"bodies": bodies, "graph": graph})
    with httpx.Client(trust_env=False, timeout=60) as service:
        for body, local in zip(bodies, found, strict=True):
            expected = service.post(f"{local_url}/predict", json=body).json()
            assert local["unknown_words"] == expected["unknown_words"], body
            pairs = list(zip(local["suggestions"], expected["suggestions"], strict=True))
            for ours, theirs in pairs:
                probability = theirs.pop("probability")
                assert ours.pop("probability") == pytest.approx(probability, rel=1e-3), body
                assert ours == theirs, body


def test_switch_stops_the_requests_and_is_remembered(open_page, local_url: str) -> None:  # type: ignore[no-untyped-def]
    page: Page = open_page(local_url, learning=True)
    expect(page.locator("#bar button").first).to_be_enabled()
    page.keyboard.type("I want to go to the ")
    expect(page.locator("#bar .stale")).to_have_count(0)
    before = page.locator("#bar .word").all_inner_texts()
    page.get_by_role("switch", name="Run in this browser").check()
    expect(page.locator("#round-trip-detail")).to_have_text("in this browser")
    expect(page.locator("#bar .stale")).to_have_count(0)
    assert page.locator("#bar .word").all_inner_texts() == before
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.locator("#text").focus()
    page.keyboard.type("Zyzzyva Zyzzyva z")
    # a word of the text, which only the neural cache knows
    expect(page.locator("#bar .word").first).to_have_text("Zyzzyva")
    expect(page.get_by_role("button", name="Words · 1")).to_be_visible()
    assert asked == []
    generate = page.get_by_role("button", name="Generate")
    expect(generate).to_be_hidden()
    expect(page.get_by_role("region", name="Generate", exact=True)).to_contain_text("off while the model runs")
    page.reload()
    expect(page.locator("#round-trip-detail")).to_have_text("in this browser")
    page.get_by_role("switch", name="Run in this browser").uncheck()
    expect(generate).to_be_visible()
    with page.expect_request("**/predict"):
        page.locator("#text").fill("the ")


def test_old_rules_and_missing_files_leave_the_service_in_charge(open_page, local_url: str) -> None:  # type: ignore[no-untyped-def]
    page: Page = open_page(local_url, quiet=False)
    page.route("**/bundle/rules.json", lambda route: route.fulfill(body=json.dumps({"format": 99})))
    page.get_by_role("switch", name="Run in this browser").check()
    expect(page.locator("#notice")).to_contain_text("reads format 1 (got 99)")
    expect(page.get_by_role("switch", name="Run in this browser")).not_to_be_checked()
    page.locator("#text").fill("I want ")
    expect(page.locator("#bar .stale")).to_have_count(0)
    expect(page.locator("#bar button").first).to_be_enabled()


def test_page_without_a_client_has_no_switch(page: Page) -> None:
    expect(page.locator("#model-name")).to_have_text("tiny")
    expect(page.get_by_role("switch", name="Run in this browser")).to_be_hidden()
