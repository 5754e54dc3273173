"""Writing on: streams, stops, repeats."""

import re
import time

import httpx
import pytest
from playwright.sync_api import Page, expect

MANY = "400"


def running(url: str) -> float:
    figures = httpx.get(f"{url}/metrics", trust_env=False).text
    found = re.search(r"^lstm_lm_generations (\S+)$", figures, re.MULTILINE)
    assert found is not None, figures
    return float(found[1])


def start(page: Page, words: str, seed: str = "7") -> None:
    page.get_by_label("Words").fill(words)
    page.get_by_label("Seed").fill(seed)
    page.get_by_role("button", name="Write on").click()


def test_the_text_grows_while_it_is_written_and_is_what_the_seed_gives(page: Page, url: str) -> None:
    page.keyboard.type("the people")
    page.get_by_label("Preset").select_option("balanced")
    start(page, "50")
    written, new = page.get_by_role("region", name="Generated text"), page.locator("#written .new")
    expect(written).to_have_attribute("aria-busy", "true")
    expect(new).not_to_be_empty()
    early = new.inner_text()
    expect(page.locator("#progress")).to_have_text(re.compile(r"^50 words in [\d.]+ s · seed 7$"))
    expect(written).to_have_attribute("aria-busy", "false")
    body = {"text": "the people", "generate": 50, "preset": "balanced", "seed": 7}
    whole = httpx.post(f"{url}/generate", json=body, trust_env=False).json()["text"]
    assert written.evaluate("element => element.textContent").startswith(whole)
    assert 0 < len(early) < len(new.evaluate("element => element.textContent"))
    page.get_by_role("button", name="Add to text").click()
    expect(page.locator("#text")).to_have_value(whole)


@pytest.mark.parametrize("way", ["button", "Escape", "leave"])
def test_stopping_ends_it_here_and_in_the_service(page: Page, url: str, way: str) -> None:
    start(page, MANY)
    expect(page.locator("#written .new")).not_to_be_empty()
    assert running(url) == 1
    if way == "button":
        page.get_by_role("button", name="Stop").click()
    elif way == "Escape":
        page.keyboard.press("Escape")
    else:
        page.goto(f"{url}/info")
    if way != "leave":
        expect(page.locator("#progress")).to_have_text(re.compile("^Stopped after [0-9]+ words? in"))
        expect(page.get_by_role("button", name="Write on")).to_be_enabled()
        expect(page.get_by_role("button", name="Add to text")).to_be_visible()
    end = time.monotonic() + 3
    while running(url):
        assert time.monotonic() < end, "the service goes on though nobody reads"
        time.sleep(0.05)


def test_a_seed_that_was_drawn_can_be_kept_and_repeats_the_text(page: Page) -> None:
    page.get_by_label("Preset").select_option("balanced")
    start(page, "8", seed="")
    progress, new = page.locator("#progress"), page.locator("#written .new")
    expect(progress).to_contain_text("8 words in")
    first, seed = new.inner_text(), progress.inner_text().rpartition(" ")[2]
    page.get_by_role("button", name="Keep seed").click()
    expect(page.get_by_label("Seed")).to_have_value(seed)
    page.get_by_role("button", name="Write on").click()
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    expect(progress).to_contain_text("8 words in")
    assert new.inner_text() == first


def events(*lines: str) -> dict[str, str]:
    return {"content_type": "text/event-stream", "body": "\n".join(lines)}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"status": 503, "json": {"detail": "too many requests are waiting"}}, "busy: too many requests are waiting"),
        ({"status": 422, "json": {"detail": "generate: too much"}}, "did not take this: generate: too much"),
        ({"status": 500, "body": "<h1>oh</h1>"}, "The service failed"),
        (events('data: {"piece": "a"}', "", "event: error", 'data: {"detail": "it broke"}', "", ""), "it broke"),
        (events('data: {"piece": "a"}', "", ""), "ended before the text was finished"),
        (events("data: {", "", ""), "broke before the text was finished"),
        (None, "cannot be reached"),
    ],
)
def test_failures_are_told_in_words(open_page, answer: dict[str, object] | None, words: str) -> None:  # type: ignore[no-untyped-def]
    # the browser's own line about a failed request is not ours
    page = open_page(quiet=False)
    page.route("**/generate", lambda route: route.fulfill(**answer) if answer else route.abort())  # type: ignore[arg-type]
    start(page, "5")
    expect(page.locator("#progress")).to_contain_text(words)
    expect(page.get_by_role("button", name="Write on")).to_be_enabled()


def test_events_are_read_however_they_are_cut(page: Page) -> None:
    read = page.evaluate(
        r"""async () => {
          const { eventsOf } = await import("./page/events.js");
          const text = ': hi\r\n\r\ndata: {"piece": "é😀"}\r\n\r\n' +
            'data:one\ndata:  two\n\nevent: done\rdata: 1\r\rdata: cut';
          const bytes = new TextEncoder().encode(text);
          const found = [];
          for (const size of [1, 2, 3, 7, 1000]) {
            const chunks = [];
            for (let at = 0; at < bytes.length; at += size) chunks.push(bytes.slice(at, at + size));
            const stream = new ReadableStream({
              start(sink) { chunks.forEach((chunk) => sink.enqueue(chunk)); sink.close(); },
            });
            const events = [];
            for await (const event of eventsOf(stream)) events.push(event);
            found.push(events);
          }
          return found;
        }"""
    )
    expected = [
        {"event": "message", "data": '{"piece": "é😀"}'},
        {"event": "message", "data": "one\n two"},
        {"event": "done", "data": "1"},
    ]
    assert read == [expected] * 5


def test_wrong_values_do_not_leave_the_page(page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for words, seed in (("0", ""), ("501", ""), ("", ""), ("5", "-1"), ("1.5", "")):
        start(page, words, seed)
    assert not any("generate" in url for url in asked)
