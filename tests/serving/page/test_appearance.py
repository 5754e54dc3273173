"""Appearance in light and dark, wide and narrow, and accessibility. Saves screenshots."""

import re

import pytest
from page_service import SCREENSHOTS
from playwright.sync_api import Page, expect

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}

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
    page.get_by_label("Words").fill("40")
    page.get_by_label("Seed").fill("3")
    page.get_by_role("button", name="Generate").click()
    expect(page.locator("#progress")).to_contain_text("40 words in")
    page.locator("#text").focus()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", ["wide", "phone"])
def test_text_is_readable_and_fits(open_page, scheme: str, width: str) -> None:  # type: ignore[no-untyped-def]
    shape = PHONE if width == "phone" else {"viewport": {"width": 1280, "height": 760}}
    page = open_page(color_scheme=scheme, reduced_motion="reduce", **shape)
    fill(page)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"page-{width}-{scheme}.png", full_page=True)
    background = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 200) == (scheme == "dark")
    readable = page.locator(
        "h1, h2, p, a, dt, dd, label, button, select, textarea, input, .word, .probability, .prompt, .continuation"
    )
    for name, contrast in readable.evaluate_all(CONTRAST):
        assert contrast >= 4.5, (name, contrast)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_phone_has_large_tap_targets_and_taps_accept_words(open_page) -> None:  # type: ignore[no-untyped-def]
    page = open_page(**PHONE)
    page.locator("#text").tap()
    page.keyboard.type("the ")
    expect(page.locator("#bar .stale")).to_have_count(0)
    word = page.locator("#bar .word").nth(2).inner_text()
    expect(page.locator("#bar .probability").nth(2)).to_have_css("opacity", "1")
    page.locator("#bar button").nth(2).tap()
    expect(page.locator("#text")).to_have_value(f"the {word} ")
    # the phone's keyboard stays open
    expect(page.locator("#text")).to_be_focused()
    for box in (button.bounding_box() for button in page.locator("#bar button, #generate").all()):
        assert box is not None
        assert box["height"] >= 44
        assert box["width"] >= 44
    bar = page.locator("#bar").bounding_box()
    assert bar is not None
    # above the phone's keyboard
    assert bar["y"] + bar["height"] < 500


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
            - switch "Learn from this text"
            - button "Clear"
            - textbox "Your text"
            - group "Suggestions":
              - button /.+, <?[\\d.]+%/
              - button /.+, <?[\\d.]+%/
              - button /.+, <?[\\d.]+%/
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
    for _ in range(8):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.parentElement.id"))
    assert reached == ["bar", "bar", "bar", "preset", "words", "seed", "generate", "output"]
    expect(page.locator("#text")).to_have_value("the ")
    page.locator("#bar button").nth(1).focus()
    page.keyboard.press("Enter")
    expect(page.locator("#accepted")).to_have_text("1")
    expect(page.locator("#text")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    expect(page.get_by_role("button", name="Clear")).to_be_focused()


def test_header_describes_the_model(page: Page) -> None:
    expect(page.locator("#model")).to_have_text(re.compile(r"^tiny · \d+ words · [\d.]+K parameters$"))
