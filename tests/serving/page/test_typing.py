"""Typing with the suggestion bar."""

import re
import time

import httpx
import pytest
from playwright.sync_api import Page, Route, expect


def ask(url: str, text: str, prefix: str = "") -> list[str]:
    """What the service suggests, asked as the page asks."""
    body = {"text": text, "prefix": prefix, "k": 3, "words_only": True, "cache": False}
    suggestions = httpx.post(f"{url}/predict", json=body, trust_env=False).json()["suggestions"]
    return [suggestion["word"] for suggestion in suggestions]


def expect_bar(page: Page, words: list[str]) -> None:
    expect(page.locator("#bar .word")).to_have_text([*words, *[""] * (3 - len(words))])
    expect(page.locator("#bar .stale")).to_have_count(0)


def test_every_keystroke_brings_the_suggestions_for_what_stands_there(page: Page, url: str) -> None:
    expect_bar(page, ask(url, ""))
    expect(page.locator("#text")).to_be_focused()
    typed = ""
    for key in "people ha":
        page.keyboard.press(key)
        typed += key
        prefix = typed.rpartition(" ")[2]
        expect_bar(page, ask(url, typed[: len(typed) - len(prefix)], prefix))
    page.keyboard.press("Backspace")
    expect_bar(page, ask(url, "people ", "h"))
    expect(page.locator("#time")).to_have_text(re.compile(r"^[\d.,]+ ms$"))
    expect(page.locator("#time-of")).to_have_text(re.compile(r"^[\d.,]+ ms in the service$"))


def test_only_words_that_begin_with_what_is_typed_and_in_its_case(page: Page) -> None:
    page.keyboard.type("the old th")
    words = page.locator("#bar .word")
    expect(words.first).to_have_text(re.compile("^th"))
    expect(page.locator("#bar .stale")).to_have_count(0)
    assert all(word.startswith("th") for word in words.all_inner_texts() if word)
    page.keyboard.type("q")
    expect_bar(page, [])
    expect(page.locator("#bar button").first).to_be_disabled()


@pytest.mark.parametrize("way", ["Tab", "click", "Alt+Digit3"])
def test_a_word_is_taken_by_key_and_by_click(page: Page, url: str, way: str) -> None:
    page.keyboard.type("the people ")
    words = ask(url, "the people ")
    expect_bar(page, words)
    if way == "click":
        page.locator("#bar button").nth(1).click()
        taken = words[1]
    else:
        page.keyboard.press(way)
        taken = words[0 if way == "Tab" else 2]
    text = page.locator("#text")
    expect(text).to_have_value(f"the people {taken} ")
    expect(text).to_be_focused()
    expect_bar(page, ask(url, f"the people {taken} "))
    expect(page.locator("#taken")).to_have_text("1")
    # 11 keys for the text, one for the word, and its letters and space without that one were saved
    expect(page.locator("#saved-of")).to_have_text(f"{len(taken)} of {12 + len(taken)} keys")


def test_a_half_typed_word_is_completed_in_the_middle_of_a_text(page: Page, url: str) -> None:
    page.keyboard.type("the peo of London")
    for _ in " of London":
        page.keyboard.press("ArrowLeft")
    expect_bar(page, ask(url, "the ", "peo"))
    page.keyboard.press("Tab")
    expect(page.locator("#text")).to_have_value("the people of London")
    page.keyboard.type("in ")
    expect(page.locator("#text")).to_have_value("the people in of London")


def test_punctuation_closes_up_to_a_word_that_was_taken_and_undo_takes_it_back(page: Page, url: str) -> None:
    page.keyboard.type("the peo")
    expect_bar(page, ask(url, "the ", "peo"))
    page.keyboard.press("Tab")
    page.keyboard.type(", and")
    expect(page.locator("#text")).to_have_value("the people, and")
    page.keyboard.type(" , x")
    expect(page.locator("#text")).to_have_value("the people, and , x")
    for _ in range(30):
        page.keyboard.press("Control+z")
    expect(page.locator("#text")).to_have_value("")


def test_what_belongs_to_the_word_before_is_put_there(page: Page) -> None:
    insertion = page.evaluate(
        """async () => {
          const { insertion, tail, wordAt } = await import("./page/words.js");
          const put = (value, caret, word) => {
            const { start, end, text } = insertion(value, caret, word);
            return value.slice(0, start) + text + value.slice(end);
          };
          return [put("the dog ", 8, "'s"), put("don'", 4, "'t"), put("a (b", 4, "bird"), put("well-kn", 7, "known"),
            put("the", 3, "then"), put("Hi.", 3, "The"), put("'hel", 4, "hello"), put("peXple a", 2, "people"),
            tail("one two three", 9), tail("abc", 9), tail("😀😀 😀😀", 4), JSON.stringify(wordAt("x don't", 7))];
        }"""
    )
    assert insertion == [
        "the dog's ", "don't ", "a (bird ", "well-known ", "then ", "Hi. The ", "'hello ", "people a", "three", "abc",
        "😀😀", '{"before":"x don","prefix":"\'t","rest":""}',
    ]  # fmt: skip


@pytest.mark.parametrize("aborts", [True, False])
def test_a_stale_answer_never_overwrites_a_newer_one(open_page, url: str, aborts: bool) -> None:  # type: ignore[no-untyped-def]
    # with and without the request being called off: an answer may be on its way already
    page = open_page(init_script="" if aborts else "AbortController.prototype.abort = () => {};")
    expect_bar(page, ask(url, ""))
    held: list[Route] = []

    def hold_the_first(route: Route) -> None:
        if route.request.post_data_json["prefix"] == "p":
            held.append(route)
        else:
            route.continue_()

    page.route("**/predict", hold_the_first)
    page.keyboard.type("p")
    expect(page.locator("#bar .stale")).to_have_count(3)
    # the browser may hand the request over later than the page shows it, and never if it is called off before
    while not held:
        page.wait_for_timeout(20)
    # what is shown is for another text and cannot be taken, not even with the mouse
    page.keyboard.press("Alt+Digit1")
    page.locator("#bar button").first.click(force=True)
    expect(page.locator("#text")).to_have_value("p")
    page.keyboard.type("eople h")
    newest = ask(url, "people ", "h")
    expect_bar(page, newest)
    assert len(held) == 1
    held[0].fulfill(json={"suggestions": [{"word": "stale", "probability": 1.0}], "unknown_words": []})
    time.sleep(0.3)
    expect_bar(page, newest)


def test_an_answer_for_a_text_that_came_back_is_used_and_the_one_between_is_not(page: Page, url: str) -> None:
    expect_bar(page, ask(url, ""))
    page.route("**/predict", lambda route: None if route.request.post_data_json["prefix"] else route.continue_())
    page.keyboard.press("t")
    page.keyboard.press("Backspace")
    expect_bar(page, ask(url, ""))
    page.keyboard.press("Tab")
    expect(page.locator("#taken")).to_have_text("1")


def test_probabilities_show_on_hover_and_to_those_who_cannot_see(page: Page) -> None:
    first = page.locator("#bar button").first
    expect(first).to_be_enabled()
    page.locator("h1").hover()
    page.locator("#text").blur()
    chance = page.locator("#bar .chance").first
    expect(chance).to_have_css("opacity", "0")
    first.hover()
    expect(chance).to_have_css("opacity", "1")
    expect(chance).to_have_text(re.compile(r"^<?[\d.]+%$"))
    word = page.locator("#bar .word").first.inner_text()
    expect(first).to_have_accessible_name(f"{word}, {chance.inner_text()}")
    expect(page.locator("#spoken")).to_have_text(re.compile(rf"^Suggestions: {re.escape(word)}, "))


def test_it_learns_names_from_the_text_if_it_may(page: Page) -> None:
    page.keyboard.type("Zyzzyva is old. Zy")
    expect_bar(page, [])
    page.get_by_role("switch", name="Learn from this text").check()
    expect_bar(page, ["Zyzzyva"])
    page.get_by_role("switch", name="Learn from this text").uncheck()
    expect_bar(page, [])


def test_clear_starts_anew(page: Page, url: str) -> None:
    page.keyboard.type("the people ")
    expect_bar(page, ask(url, "the people "))
    page.keyboard.press("Tab")
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#text")).to_have_value("")
    expect(page.locator("#taken")).to_have_text("0")
    expect_bar(page, ask(url, ""))


def test_a_text_longer_than_the_service_takes_is_sent_from_a_word_near_its_end(page: Page) -> None:
    page.locator("#text").fill("the people " * 1000)
    with page.expect_response("**/predict") as response:
        page.keyboard.type("o")
    assert response.value.status == 200
    sent = response.value.request.post_data_json["text"]
    assert 9_900 < len(sent) <= 10_000
    assert sent.startswith(("the ", "people "))
