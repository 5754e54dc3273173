"""Appearance in light and dark, wide and narrow, and accessibility. Saves screenshots."""

import re
from typing import Any

import httpx
import pytest
from page_service import SCREENSHOTS
from playwright.sync_api import Page, expect

TOUCH: dict[str, Any] = {"has_touch": True, "is_mobile": True}
SHAPES: dict[str, dict[str, Any]] = {
    "360x400": {"viewport": {"width": 360, "height": 400}, **TOUCH},  # a phone with its keyboard open
    "390x844": {"viewport": {"width": 390, "height": 844}, **TOUCH},
    "1280x800": {"viewport": {"width": 1280, "height": 800}},
}
PHONES = ("360x400", "390x844")
# what a finger or mouse can aim at
TARGETS = "main button:visible, main select:visible, main input:visible, main .switch:visible, nav a, nav button"

# the contrast of each element's text with its background, as the browser computes it (WCAG 2)
CONTRAST = """elements => elements.map((element) => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (color) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (color) => {
    const [r, g, b] = rgb(color).map((part) => part / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  let behind = element;
  while (behind.parentElement && rgb(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
  const [low, high] = [light(getComputedStyle(element).color), light(getComputedStyle(behind).backgroundColor)].sort();
  return [element.id || element.className || element.tagName, (high + 0.05) / (low + 0.05)];
})"""


def fill(page: Page) -> None:
    """Type a text and generate a continuation."""
    page.locator("#text").click()
    page.keyboard.type("the good people of London ha")
    expect(page.locator("#bar .stale")).to_have_count(0)
    for _ in range(2):
        page.keyboard.press("Tab")
        expect(page.locator("#bar .stale")).to_have_count(0)
    page.get_by_role("spinbutton", name="Words").fill("40")
    page.get_by_label("Seed").fill("3")
    page.get_by_role("button", name="Generate").click()
    expect(page.locator("#progress")).to_contain_text("40 words in")
    page.locator("#text").focus()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("shape", SHAPES)
def test_text_is_readable_and_fits(open_page, scheme: str, shape: str) -> None:  # type: ignore[no-untyped-def]
    page = open_page(color_scheme=scheme, reduced_motion="reduce", **SHAPES[shape])
    fill(page)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"page-{shape}-{scheme}.png")
    page.screenshot(path=SCREENSHOTS / f"page-{shape}-{scheme}-full.png", full_page=True)
    background = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 200) == (scheme == "dark")
    assert_readable(page)
    page.get_by_role("button", name="Words", exact=True).click()
    page.screenshot(path=SCREENSHOTS / f"words-{shape}-{scheme}.png")
    assert_readable(page)
    page.goto(f"{page.url}card")
    expect(page.get_by_role("heading", name="tiny", level=1)).to_be_visible()
    expect(page.locator("#facts tr").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.screenshot(path=SCREENSHOTS / f"card-{shape}-{scheme}.png", full_page=True)
    assert_readable(page)


def assert_readable(page: Page) -> None:
    texts = "h1, h2, h3, p, a, dt, dd, th, td, label, button, select, textarea, input, li"
    readable = page.locator(f"{texts}, .word, .probability, .prompt, .continuation")
    # a disabled control may be pale
    for name, contrast in readable.and_(page.locator(":not(:disabled)")).evaluate_all(CONTRAST):
        assert contrast >= 4.5, (name, contrast)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def bottom(page: Page, selector: str) -> float:
    box = page.locator(selector).bounding_box()
    assert box is not None
    return box["y"] + box["height"]


@pytest.mark.parametrize("shape", PHONES)
def test_phone_has_large_targets_and_taps_accept_words(open_page, shape: str) -> None:  # type: ignore[no-untyped-def]
    page = open_page(**SHAPES[shape])
    page.locator("#text").tap()
    page.keyboard.type("the ")
    expect(page.locator("#bar .stale")).to_have_count(0)
    word = page.locator("#bar .word").nth(2).inner_text()
    expect(page.locator("#bar .probability").nth(2)).to_have_css("opacity", "1")
    page.locator("#bar button").nth(2).tap()
    expect(page.locator("#text")).to_have_value(f"the {word} ")
    # the phone's keyboard stays open
    expect(page.locator("#text")).to_be_focused()
    for element in page.locator(TARGETS).all():
        # the input of a switch fills its label
        box = element.bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) >= 44, element.evaluate("element => element.outerHTML")


@pytest.mark.parametrize("text", ["", "the ", "the people of London " * 40, "the\n" * 30])
@pytest.mark.parametrize("shape", PHONES)
def test_bar_stays_in_view_on_a_phone(open_page, shape: str, text: str) -> None:  # type: ignore[no-untyped-def]
    page = open_page(**SHAPES[shape])
    # fill would insert everything as one input, as a paste does
    page.locator("#text").fill(text)
    expect(page.locator("#bar .stale")).to_have_count(0)
    height = SHAPES[shape]["viewport"]["height"]
    assert bottom(page, "#bar") <= height
    header = page.locator("header").bounding_box()
    assert header is not None
    assert header["height"] <= 56
    # the line with the caret is in view too
    assert page.locator("#text").evaluate("text => text.getBoundingClientRect().bottom") <= height
    if not text:
        assert bottom(page, "#text") - header["height"] <= 90


def test_bar_stays_above_a_keyboard_that_covers_the_page(open_page) -> None:  # type: ignore[no-untyped-def]
    # Safari does not shrink the page: only its visual viewport is smaller
    script = """const fake = Object.assign(new EventTarget(), { height: 844, offsetTop: 0, scale: 1 });
      Object.defineProperty(window, "visualViewport", { value: fake });"""
    page = open_page(init_script=script, **SHAPES["390x844"])
    page.locator("#text").fill("the people of London " * 60)
    expect(page.locator("#bar .stale")).to_have_count(0)
    page.evaluate("Object.assign(visualViewport, { height: 420 }); visualViewport.dispatchEvent(new Event('resize'))")
    assert bottom(page, "#bar") <= 420
    # the browser scrolls a long page below its visual viewport
    page.evaluate("Object.assign(visualViewport, { offsetTop: 60 }); visualViewport.dispatchEvent(new Event('scroll'))")
    assert bottom(page, "#bar") <= 480
    page.evaluate("Object.assign(visualViewport, { height: 844, offsetTop: 0 })")
    page.evaluate("visualViewport.dispatchEvent(new Event('resize'))")
    expect(page.locator("html")).to_have_css("--covered", "0px")


@pytest.mark.parametrize("shape", SHAPES)
def test_emoji_and_long_words_keep_the_bar_in_shape(open_page, shape: str) -> None:  # type: ignore[no-untyped-def]
    page = open_page(**SHAPES[shape])
    expect(page.locator("#bar button").first).to_be_enabled()
    before = page.locator("#bar").bounding_box()
    words = ["👩🏽‍🚀🏳️‍🌈😀", "Donaudampfschifffahrtsgesellschaft" * 2, "ﷺ g̷̯̈́l̵̰͑i̴̝͝t̸̫͒ćh"]
    shown = [{"word": w, "probability": 0.3, "text": w, "replaces": 0, "space_before": True} for w in words]
    page.route("**/predict", lambda route: route.fulfill(json={"suggestions": shown, "unknown_words": []}))
    page.locator("#text").fill("x")
    expect(page.locator("#bar .word")).to_have_text(words)
    after = page.locator("#bar").bounding_box()
    assert before is not None
    assert after is not None
    assert (before["width"], before["height"]) == (after["width"], after["height"])
    for button in page.locator("#bar button").all():
        assert button.evaluate("b => b.scrollWidth <= b.clientWidth && b.scrollHeight <= b.clientHeight")
    # the whole word is in the tooltip
    expect(page.locator("#bar button").nth(1)).to_have_attribute("title", words[1])
    page.screenshot(path=SCREENSHOTS / f"emoji-{shape}.png")


def test_theme_is_remembered(page: Page) -> None:
    button = page.get_by_role("button", name="Theme")
    for theme in ("Light", "Dark"):
        button.click()
        expect(button).to_have_accessible_name(f"Theme: {theme}. Change")
    page.reload()
    expect(button).to_have_accessible_name("Theme: Dark. Change")
    expect(page.locator("html")).to_have_css("color-scheme", "dark")


def test_elements_have_roles_and_names(page: Page) -> None:
    expect(page.locator("#bar button").first).to_be_enabled()
    expect(page.locator("body")).to_match_aria_snapshot(
        """
        - banner:
          - heading "lstm_lm" [level=1]
          - navigation "About the service":
            - link "Model card"
            - link "API"
            - button /Theme/
        - main:
          - region "Type":
            - heading "Type" [level=2]
            - textbox "Your text"
            - group "Suggestions":
              - button /.+, <?[\\d.]+%/
              - button /.+, <?[\\d.]+%/
              - button /.+, <?[\\d.]+%/
            - switch "Learn words"
            - button "Words"
            - button "Clear"
          - region "Generate":
            - heading "Generate" [level=2]
            - combobox "Preset"
            - spinbutton "Words"
            - spinbutton "Seed"
            - button "Generate"
            - region "Generated text"
        - contentinfo
        """
    )
    unnamed = page.locator("button, a, input, select, textarea").evaluate_all(
        "elements => elements.filter((e) => !e.labels?.length && !e.ariaLabel && !e.textContent.trim())"
        ".map((element) => element.outerHTML)"
    )
    assert unnamed == []


def test_keyboard_reaches_every_control_and_can_leave_the_text_box(page: Page) -> None:
    page.keyboard.type("the ")
    expect(page.locator("#bar .stale")).to_have_count(0)
    page.keyboard.press("Escape")
    reached = []
    for _ in range(11):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.parentElement.id"))
    bar, tools = ["bar"] * 3, ["learn", "words-open", "clear"]
    assert reached == [*bar, *tools, "preset", "words", "seed", "generate", "output"]
    expect(page.locator("#text")).to_have_value("the ")
    page.locator("#bar button").nth(1).focus()
    page.keyboard.press("Enter")
    expect(page.locator("#accepted")).to_have_text("1")
    expect(page.locator("#text")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    expect(page.locator("#theme")).to_be_focused()


def test_header_describes_the_model(page: Page) -> None:
    expect(page.locator("#model")).to_have_text(re.compile(r"^tiny · \d+ words · [\d.]+K parameters$"))


def test_model_card_has_the_facts_in_words(page: Page, url: str) -> None:
    page.get_by_role("link", name="Model card").click()
    expect(page.get_by_role("heading", name="tiny", level=1)).to_be_visible()
    expect(page.locator("#facts")).to_contain_text("16 + 12")
    expect(page.locator("#scores")).to_contain_text("not evaluated")
    expect(page.get_by_role("row", name="balanced (default)")).to_contain_text("temperature 0.8, top k 40")
    expect(page.locator("#limits")).to_contain_text("20,000")
    page.get_by_role("link", name="Type").click()
    expect(page.locator("#text")).to_be_focused()
    info = httpx.get(f"{url}/info", trust_env=False).json()
    expect(page.locator("#keyboard")).to_be_hidden()
    metrics = {
        "valid": {"perplexity": 71.25, "top1": 0.275, "loss": 4.27},
        "test (keyboard)": {
            "split": "test",
            "words": {"tokens": 9, "top1": 0.21, "top3": 0.34},
            "keystroke_savings_rate": 0.56,
        },
        "epochs": 2,
    }
    data = {"title": "a corpus", "url": "https://example.org/corpus", "license": "mit", "language": "en"}
    page.route("**/info", lambda route: route.fulfill(json={**info, "metrics": metrics, "data": data, "model": None}))
    page.get_by_role("link", name="Model card").click()
    expect(page.locator("#scores tbody tr")).to_have_text(["validation text71.2527.5%"])
    expect(page.locator("#keyboard tbody tr")).to_have_text(["test text21%34%56%"])
    expect(page.get_by_role("row", name="licence of the text")).to_contain_text("mit")
    expect(page.get_by_role("row", name="source of the text")).to_contain_text("https://example.org/corpus")
