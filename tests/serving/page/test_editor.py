"""Typing with the suggestion bar."""

import re
import time

import httpx
import pytest
from playwright.sync_api import Page, Route, expect


def predict(url: str, text: str, prefix: str = "") -> list[str]:
    """The suggestions for the page's request."""
    body = {"text": text, "prefix": prefix, "k": 3, "words_only": True}
    suggestions = httpx.post(f"{url}/predict", json=body, trust_env=False).json()["suggestions"]
    return [suggestion["word"] for suggestion in suggestions]


def expect_bar(page: Page, words: list[str]) -> None:
    expect(page.locator("#bar .word")).to_have_text([*words, *[""] * (3 - len(words))])
    expect(page.locator("#bar .stale")).to_have_count(0)


def test_every_keystroke_updates_the_suggestions(page: Page, url: str) -> None:
    expect_bar(page, predict(url, ""))
    expect(page.locator("#text")).to_be_focused()
    typed = ""
    for key in "people ha":
        page.keyboard.press(key)
        typed += key
        prefix = typed.rpartition(" ")[2]
        expect_bar(page, predict(url, typed[: len(typed) - len(prefix)], prefix))
    page.keyboard.press("Backspace")
    expect_bar(page, predict(url, "people ", "h"))
    expect(page.locator("#round-trip")).to_have_text(re.compile(r"^[\d.,]+ ms$"))
    expect(page.locator("#round-trip-detail")).to_have_text(re.compile(r"^[\d.,]+ ms in the service$"))


def test_suggestions_start_with_the_typed_prefix_and_case(page: Page) -> None:
    page.keyboard.type("the old th")
    words = page.locator("#bar .word")
    expect(words.first).to_have_text(re.compile("^th"))
    expect(page.locator("#bar .stale")).to_have_count(0)
    assert all(word.startswith("th") for word in words.all_inner_texts() if word)
    page.keyboard.type("q0")  # not even a correction
    expect_bar(page, [])
    expect(page.locator("#bar button").first).to_be_disabled()


@pytest.mark.parametrize("way", ["Tab", "click", "Alt+Digit3"])
def test_key_or_click_accepts_a_suggestion(page: Page, url: str, way: str) -> None:
    page.keyboard.type("the people ")
    words = predict(url, "the people ")
    expect_bar(page, words)
    if way == "click":
        page.locator("#bar button").nth(1).click()
        accepted = words[1]
    else:
        page.keyboard.press(way)
        accepted = words[0 if way == "Tab" else 2]
    text = page.locator("#text")
    expect(text).to_have_value(f"the people {accepted} ")
    expect(text).to_be_focused()
    expect_bar(page, predict(url, f"the people {accepted} "))
    expect(page.locator("#accepted")).to_have_text("1")
    # 11 keys for the text and one to accept; the word's letters and space less that one key are saved
    expect(page.locator("#saved-detail")).to_have_text(f"{len(accepted)} of {12 + len(accepted)} keys")


def test_partial_word_is_completed_in_the_middle_of_a_text(page: Page, url: str) -> None:
    page.keyboard.type("the peo of London")
    for _ in " of London":
        page.keyboard.press("ArrowLeft")
    expect_bar(page, predict(url, "the ", "peo"))
    page.keyboard.press("Tab")
    expect(page.locator("#text")).to_have_value("the people of London")
    page.keyboard.type("in ")
    expect(page.locator("#text")).to_have_value("the people in of London")


def test_punctuation_attaches_to_an_accepted_word_and_undo_reverts_it(page: Page, url: str) -> None:
    page.keyboard.type("the peo")
    expect_bar(page, predict(url, "the ", "peo"))
    page.keyboard.press("Tab")
    page.keyboard.type(", and")
    expect(page.locator("#text")).to_have_value("the people, and")
    page.keyboard.type(" , x")
    expect(page.locator("#text")).to_have_value("the people, and , x")
    for _ in range(30):
        page.keyboard.press("Control+z")
    expect(page.locator("#text")).to_have_value("")


def test_suggestion_is_inserted_as_the_service_says(page: Page) -> None:
    insertion = page.evaluate(
        """async () => {
          const { insertion, tail } = await import("./page/words.js");
          const put = (value, caret, text, replaces) => {
            const { start, end, text: added } = insertion(value, caret, { text, replaces });
            return value.slice(0, start) + added + value.slice(end);
          };
          return [put("the dog ", 8, "'s", 1), put("don\u2019", 4, "don\u2019t", 4), put("a (b", 4, "(bird", 2),
            put("the", 3, " then", 0), put("peXple a", 2, "people", 2), put("😀😀 te", 7, "the", 2),
            put("x 😀", 4, " the", 0),
            tail("one two three", 9), tail("abc", 9), tail("😀😀 😀😀", 4)];
        }"""
    )
    assert insertion == [
        "the dog's ", "don\u2019t ", "a (bird ", "the then ", "people a", "😀😀 the ", "x 😀 the ", "three", "abc",
        "😀😀",
    ]  # fmt: skip


@pytest.mark.parametrize("aborts", [True, False])
def test_stale_response_never_overwrites_a_newer_one(open_page, url: str, aborts: bool) -> None:  # type: ignore[no-untyped-def]
    # also without aborting the request: its response may already be on the way
    page = open_page(init_script="" if aborts else "AbortController.prototype.abort = () => {};")
    expect_bar(page, predict(url, ""))
    held: list[Route] = []

    def hold_first(route: Route) -> None:
        if route.request.post_data_json["text"] == "p":
            held.append(route)
        else:
            route.continue_()

    page.route("**/predict", hold_first)
    page.keyboard.type("p")
    expect(page.locator("#bar .stale")).to_have_count(3)
    # wait for the request: the browser may send it late, and never after an abort
    while not held:
        page.wait_for_timeout(20)
    # stale suggestions cannot be accepted, by key or by click
    page.keyboard.press("Alt+Digit1")
    page.locator("#bar button").first.click(force=True)
    expect(page.locator("#text")).to_have_value("p")
    page.keyboard.type("eople h")
    newest = predict(url, "people ", "h")
    expect_bar(page, newest)
    assert len(held) == 1
    stale = {"word": "stale", "probability": 1.0, "text": "stale", "replaces": 1, "space_before": False}
    held[0].fulfill(json={"suggestions": [stale], "unknown_words": []})
    time.sleep(0.3)
    expect_bar(page, newest)


def test_suggestions_of_a_restored_text_can_be_accepted(page: Page, url: str) -> None:
    expect_bar(page, predict(url, ""))
    page.route("**/predict", lambda route: None if route.request.post_data_json["text"] else route.continue_())
    page.keyboard.press("t")
    page.keyboard.press("Backspace")
    expect_bar(page, predict(url, ""))
    page.keyboard.press("Tab")
    expect(page.locator("#accepted")).to_have_text("1")


def test_probabilities_appear_on_hover_and_in_accessible_names(page: Page) -> None:
    first = page.locator("#bar button").first
    expect(first).to_be_enabled()
    page.locator("h1").hover()
    page.locator("#text").blur()
    probability = page.locator("#bar .probability").first
    expect(probability).to_have_css("opacity", "0")
    first.hover()
    expect(probability).to_have_css("opacity", "1")
    expect(probability).to_have_text(re.compile(r"^<?[\d.]+%$"))
    word = page.locator("#bar .word").first.inner_text()
    expect(first).to_have_accessible_name(f"{word}, {probability.inner_text()}")
    expect(page.locator("#announcement")).to_have_text(re.compile(rf"^Suggestions: {re.escape(word)}, "))


def test_switch_enables_learning_names_from_the_text(page: Page) -> None:
    page.keyboard.type("Zyzzyva is old. Zy")
    expect_bar(page, [])
    page.get_by_role("switch", name="Learn words").check()
    expect_bar(page, ["Zyzzyva"])
    page.get_by_role("switch", name="Learn words").uncheck()
    expect_bar(page, [])


def test_clear_empties_text_and_counts(page: Page, url: str) -> None:
    page.keyboard.type("the people ")
    expect_bar(page, predict(url, "the people "))
    page.keyboard.press("Tab")
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#text")).to_have_value("")
    expect(page.locator("#accepted")).to_have_text("0")
    expect_bar(page, predict(url, ""))


def test_text_over_the_limit_is_truncated_at_a_word(page: Page) -> None:
    page.locator("#text").fill("the people " * 1000)
    with page.expect_response("**/predict") as response:
        page.keyboard.type("o")
    assert response.value.status == 200
    sent = response.value.request.post_data_json["text"]
    assert 9_900 < len(sent) <= 10_000
    assert sent.startswith(("the ", "people "))
