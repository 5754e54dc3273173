"""The generation panel: stream, stop, repeat."""

import re

import httpx
import pytest
from helpers.waiting import DEADLINE, wait_until
from playwright.sync_api import Page, expect

MANY = "20000"


def metric(url: str, name: str) -> float:
    metrics = httpx.get(f"{url}/metrics", trust_env=False, timeout=DEADLINE).text
    match = re.search(rf"^lstm_lm_{name} (\S+)$", metrics, re.MULTILINE)
    assert match is not None, metrics
    return float(match[1])


def start(page: Page, words: str, seed: str = "7") -> None:
    page.get_by_role("spinbutton", name="Words").fill(words)
    page.get_by_label("Seed").fill(seed)
    page.get_by_role("button", name="Generate").click()


def test_text_grows_and_equals_the_response_for_its_seed(page: Page, url: str) -> None:
    page.keyboard.type("the people")
    page.get_by_label("Preset").select_option("balanced")
    start(page, "50")
    output, continuation = page.get_by_role("region", name="Generated text"), page.locator("#output .continuation")
    expect(output).to_have_attribute("aria-busy", "true")
    expect(continuation).not_to_be_empty()
    early = continuation.inner_text()
    expect(page.locator("#progress")).to_have_text(re.compile(r"^50 words in [\d.]+ s · seed 7$"))
    expect(output).to_have_attribute("aria-busy", "false")
    body = {"text": "the people", "generate": 50, "preset": "balanced", "seed": 7}
    text = httpx.post(f"{url}/generate", json=body, trust_env=False).json()["text"]
    assert output.evaluate("element => element.textContent").startswith(text)
    assert 0 < len(early) < len(continuation.evaluate("element => element.textContent"))
    page.get_by_role("button", name="Add to text").click()
    expect(page.locator("#text")).to_have_value(text)


@pytest.mark.parametrize("way", ["button", "Escape", "leave"])
def test_stop_ends_the_generation_in_page_and_service(page: Page, url: str, way: str) -> None:
    start(page, MANY)
    expect(page.locator("#output .continuation")).not_to_be_empty()
    assert metric(url, "generations") == 1
    steps_before = metric(url, "batch_size_count")
    if way == "button":
        page.get_by_role("button", name="Stop").click()
    elif way == "Escape":
        page.keyboard.press("Escape")
    else:
        page.goto(f"{url}/info")
    if way != "leave":
        expect(page.locator("#progress")).to_have_text(re.compile("^Stopped after [0-9]+ words? in"))
        expect(page.get_by_role("button", name="Generate")).to_be_enabled()
        expect(page.get_by_role("button", name="Add to text")).to_be_visible()
    wait_until(lambda: metric(url, "generations") == 0, "the generation still runs")
    assert metric(url, "batch_size_count") - steps_before < int(MANY) / 2


def test_drawn_seed_can_be_kept_and_repeats_the_text(page: Page) -> None:
    page.get_by_label("Preset").select_option("balanced")
    start(page, "8", seed="")
    progress, continuation = page.locator("#progress"), page.locator("#output .continuation")
    expect(progress).to_contain_text("8 words in")
    first, seed = continuation.inner_text(), progress.inner_text().rpartition(" ")[2]
    page.get_by_role("button", name="Keep seed").click()
    expect(page.get_by_label("Seed")).to_have_value(seed)
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    expect(progress).to_contain_text("8 words in")
    assert continuation.inner_text() == first


def events(*lines: str) -> dict[str, str]:
    return {"content_type": "text/event-stream", "body": "\n".join(lines)}


@pytest.mark.parametrize(
    ("response", "words"),
    [
        ({"status": 503, "json": {"detail": "too many requests are waiting"}}, "busy: too many requests are waiting"),
        ({"status": 422, "json": {"detail": "max_words: too much"}}, "rejected the request: max_words: too much"),
        ({"status": 500, "body": "<h1>oh</h1>"}, "The service failed"),
        (events('data: {"piece": "a"}', "", "event: error", 'data: {"detail": "it broke"}', "", ""), "it broke"),
        (events('data: {"piece": "a"}', "", ""), "ended before the text was complete"),
        (events("data: {", "", ""), "broke before the text was complete"),
        (None, "cannot be reached"),
    ],
)
def test_failure_shows_a_message(open_page, response: dict[str, object] | None, words: str) -> None:  # type: ignore[no-untyped-def]
    # the browser logs the failed request itself
    page = open_page(quiet=False)
    page.route("**/generate", lambda route: route.fulfill(**response) if response else route.abort())  # type: ignore[arg-type]
    start(page, "5")
    expect(page.locator("#progress")).to_contain_text(words)
    expect(page.get_by_role("button", name="Generate")).to_be_enabled()


def test_events_are_parsed_from_any_chunks(page: Page) -> None:
    parsed = page.evaluate(
        r"""async () => {
          const { parseEvents } = await import("./page/events.js");
          const text = ': hi\r\n\r\ndata: {"piece": "é😀"}\r\n\r\n' +
            'data:one\ndata:  two\n\nevent: done\rdata: 1\r\rdata: cut';
          const bytes = new TextEncoder().encode(text);
          const results = [];
          for (const size of [1, 2, 3, 7, 1000]) {
            const chunks = [];
            for (let at = 0; at < bytes.length; at += size) chunks.push(bytes.slice(at, at + size));
            const stream = new ReadableStream({
              start(sink) { chunks.forEach((chunk) => sink.enqueue(chunk)); sink.close(); },
            });
            const events = [];
            for await (const event of parseEvents(stream)) events.push(event);
            results.push(events);
          }
          return results;
        }"""
    )
    expected = [
        {"event": "message", "data": '{"piece": "é😀"}'},
        {"event": "message", "data": "one\n two"},
        {"event": "done", "data": "1"},
    ]
    assert parsed == [expected] * 5


def test_wrong_values_are_not_sent(page: Page) -> None:
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    for words, seed in (("0", ""), ("20001", ""), ("", ""), ("5", "-1"), ("1.5", "")):
        start(page, words, seed)
    assert not any("generate" in url for url in requested)
