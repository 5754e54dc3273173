"""Personal words, which only the browser keeps: learned, sent, forgotten, exported, blocked."""

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.fixture
def learning(open_page) -> Page:  # type: ignore[no-untyped-def]
    page: Page = open_page(learning=True)
    return page


def type_text(page: Page, text: str) -> None:
    """Type slowly enough that every word is read."""
    page.locator("#text").focus()
    for word in text.split(" ")[:-1]:
        page.keyboard.type(f"{word} ")
        settled(page)
    page.keyboard.type(text.rpartition(" ")[2])
    settled(page)


def settled(page: Page) -> None:
    expect(page.locator("#bar .stale")).to_have_count(0)


def shown(page: Page) -> list[str]:
    settled(page)
    return [word for word in page.locator("#bar .word").all_inner_texts() if word]


def stored(page: Page) -> dict[str, Any]:
    content: dict[str, Any] = page.evaluate("JSON.parse(localStorage.getItem('lstm_lm words'))")
    return content


def clear(page: Page) -> None:
    page.get_by_role("button", name="Clear").click()
    settled(page)


def sent(page: Page, keys: str) -> dict[str, Any]:
    """The request after typing ``keys``."""
    with page.expect_request("**/predict") as request:
        page.keyboard.type(keys)
    body: dict[str, Any] = request.value.post_data_json
    settled(page)
    return body


def test_new_word_that_is_used_twice_is_learned_and_survives_a_reload(learning: Page) -> None:
    type_text(learning, "the people want Zyzzyva's and Siobhán, and ")
    assert stored(learning)["user_words"] == {"Zyzzyva": 1, "Siobhán": 1}
    # its own text suggests it already, and accepting it counts
    type_text(learning, "Zy")
    assert shown(learning) == ["Zyzzyva"]
    learning.keyboard.press("Tab")
    settled(learning)
    type_text(learning, "good ")
    assert stored(learning)["user_words"]["Zyzzyva"] == 2
    expect(learning.get_by_role("button", name="Words · 1")).to_be_visible()
    clear(learning)
    learning.reload()
    body = sent(learning, "z")
    assert body["user_words"] == {"Zyzzyva": 2}
    assert body["recent"] == ["the people want Zyzzyva's and Siobhán, and Zyzzyva good"]
    assert shown(learning)[0] == "Zyzzyva"
    # a word of another beginning is not sent
    learning.keyboard.press("Backspace")
    settled(learning)
    assert "user_words" not in sent(learning, "p")


def test_known_words_numbers_and_addresses_are_not_learned(learning: Page) -> None:
    type_text(learning, "the people joe@example.org https://example.org 4711 pass#Wort1 pass#Wort1 I ")
    assert "4711" not in json.dumps(stored(learning)["user_words"])
    assert not {"the", "people", "I"} & stored(learning)["user_words"].keys()
    assert not any("@" in word or "/" in word for word in stored(learning)["user_words"])


def test_deleting_and_typing_a_word_again_counts_it_once(learning: Page) -> None:
    type_text(learning, "Zyzzyva ")
    for _ in range(4):
        learning.keyboard.press("Backspace")
    type_text(learning, "yva ")
    assert stored(learning)["user_words"] == {"Zyzzyva": 1}


def test_pasted_and_generated_words_are_not_learned(learning: Page) -> None:
    learning.locator("#text").focus()
    learning.evaluate(
        """() => {
          const text = document.getElementById("text");
          text.value = "Zyzzyva Zyzzyva Zyzzyva ";
          text.dispatchEvent(new InputEvent("input", { inputType: "insertFromPaste" }));
        }"""
    )
    settled(learning)
    type_text(learning, "the ")
    assert learning.evaluate("localStorage.getItem('lstm_lm words')") is None


def test_nothing_is_learned_or_sent_when_switched_off(learning: Page) -> None:
    learning.get_by_role("switch", name="Learn words").uncheck()
    type_text(learning, "Zyzzyva Zyzzyva Zyzzyva ")
    body = sent(learning, "z")
    assert {"user_words", "recent", "cache"}.isdisjoint(body)
    clear(learning)
    assert stored(learning) == {"learning": False, "user_words": {}, "recent": [], "deny": []}
    learning.reload()
    expect(learning.get_by_role("switch", name="Learn words")).not_to_be_checked()


@pytest.mark.parametrize("way", ["right click", "hold", "menu key"])
def test_blocked_suggestion_is_gone_until_it_is_undone(open_page, way: str) -> None:  # type: ignore[no-untyped-def]
    page = open_page(learning=True, **(PHONE if way == "hold" else {}))
    type_text(page, "the ")
    first = shown(page)[0]
    button = page.locator("#bar button").first
    if way == "right click":
        button.click(button="right")
    elif way == "menu key":
        button.focus()
        page.evaluate("document.activeElement.dispatchEvent(new MouseEvent('contextmenu', { cancelable: true }))")
    else:
        finger = {"pointerType": "touch", "bubbles": True}
        button.dispatch_event("pointerdown", finger)
        expect(page.get_by_text(f"“{first}” is blocked.")).to_be_visible()
        # lifting the finger is no tap
        button.dispatch_event("pointerup", finger)
        button.dispatch_event("click")
    expect(page.get_by_text(f"“{first}” is blocked.")).to_be_visible()
    assert first not in shown(page)
    expect(page.locator("#text")).to_have_value("the ")
    assert stored(page)["deny"] == [first]
    page.reload()
    assert sent(page, "the ")["deny"] == [first]
    page.get_by_role("button", name="Words", exact=True).click()
    page.get_by_role("button", name=f"Unblock {first}").click()
    page.get_by_role("button", name="Close").click()
    expect(page.locator("#bar .word").first).to_have_text(first)


def test_undo_restores_a_blocked_suggestion(learning: Page) -> None:
    type_text(learning, "the ")
    before = shown(learning)
    learning.locator("#bar button").nth(1).click(button="right")
    expect(learning.locator("#bar .word").nth(1)).not_to_have_text(before[1])
    learning.get_by_role("button", name="Undo").click()
    expect(learning.locator("#bar .word")).to_have_text(before)
    expect(learning.locator("#notice")).to_be_hidden()
    assert stored(learning)["deny"] == []


def test_export_forget_and_import(learning: Page, tmp_path: Path) -> None:
    type_text(learning, "Zyzzyva and Zyzzyva and Siobhán ")
    learning.locator("#bar button").first.click(button="right")
    clear(learning)
    learning.get_by_role("button", name="Words · 1").click()
    with learning.expect_download() as download:
        learning.get_by_role("button", name="Export").click()
    assert download.value.suggested_filename == "my-words.json"
    exported = json.loads(Path(download.value.path()).read_text())
    assert exported["user_words"] == {"Zyzzyva": 2, "Siobhán": 1}
    assert exported["recent"] == ["Zyzzyva and Zyzzyva and Siobhán"]
    assert len(exported["deny"]) == 1
    forget = learning.get_by_role("button", name="Forget all")
    forget.click()
    # one click too many must not lose the words
    assert stored(learning)["user_words"]
    learning.get_by_role("button", name="Really forget?").click()
    assert stored(learning) == {"learning": True, "user_words": {}, "recent": [], "deny": []}
    file = tmp_path / "words.json"
    for wrong in ("{", '{"other": 1}', "[]"):
        file.write_text(wrong)
        learning.locator("#words-file").set_input_files(file)
        expect(learning.locator("#words-problem")).to_contain_text("Choose a file that Export wrote.")
    file.write_text(
        json.dumps({**exported, "user_words": {**exported["user_words"], "no word": 3, "bad": -1, "x": "y"}})
    )
    learning.locator("#words-file").set_input_files(file)
    expect(learning.get_by_role("button", name="Forget Zyzzyva")).to_be_visible()
    assert stored(learning) == {"learning": True, **exported}
    learning.get_by_role("button", name="Forget Zyzzyva").click()
    # nor does an earlier text bring it back
    assert stored(learning)["user_words"] == {"Siobhán": 1}
    assert stored(learning)["recent"] == []


def test_kept_words_are_bounded_as_the_service_bounds_them(learning: Page) -> None:
    bounded = learning.evaluate(
        """async () => {
          const { PersonalWords } = await import("./page/personal.js");
          const words = new PersonalWords(null);
          const names = Array.from({ length: 6000 }, (_, i) =>
            "Z" + [...String(i)].map((digit) => String.fromCharCode(97 + Number(digit))).join(""));
          words.import(JSON.stringify({ user_words: Object.fromEntries(names.map((name, i) => [name, i + 2])) }));
          for (let i = 0; i < 1200; i += 1) words.block("word" + i);
          for (let i = 0; i < 100; i += 1) words.finish("text " + i + " ".repeat(2) + "x".repeat(90));
          words.finish("long " + "y ".repeat(5000));
          const { user_words: sent, deny, recent } = words.fields("z");
          return { kept: words.words.size, least: Math.min(...words.words.values()), sent: Object.keys(sent).length,
            most: Math.max(...Object.values(sent)), deny: deny.length, last: deny.at(-1),
            recent: recent.join("").length, ends: recent.at(-1).endsWith("y y") };
        }"""
    )
    assert bounded == {
        "kept": 5000, "least": 1002, "sent": 300, "most": 6001, "deny": 1000, "last": "word1199", "recent": 2000,
        "ends": True,
    }  # fmt: skip


def test_damaged_or_missing_storage_is_no_error(open_page) -> None:  # type: ignore[no-untyped-def]
    page = open_page(learning=True, init_script="localStorage.setItem('lstm_lm words', '{{')")
    type_text(page, "Zyzzyva Zyzzyva ")
    expect(page.get_by_role("button", name="Words · 1")).to_be_visible()
    forbidden = "Object.defineProperty(window, 'localStorage', { get() { throw new Error('no'); } });"
    page = open_page(learning=True, init_script=forbidden)
    type_text(page, "Zyzzyva Zyzzyva ")
    expect(page.get_by_role("button", name="Words · 1")).to_be_visible()
    assert sent(page, "z")["user_words"] == {"Zyzzyva": 2}


def test_another_tab_sees_the_words_at_once(learning: Page) -> None:
    other = learning.context.new_page()
    other.goto(learning.url)
    type_text(learning, "Zyzzyva Zyzzyva ")
    expect(other.get_by_role("button", name="Words · 1")).to_be_visible()
