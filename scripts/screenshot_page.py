"""Take the README's screenshot: type on the page of a running service and generate a continuation.

python scripts/screenshot_page.py --url http://127.0.0.1:8000 --out .github/images/page.png
"""

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

TEXT = "The storm reached the coast in the early morning and caused severe damage to the "


def main() -> None:
    """Open the page, type, generate, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="address of the service")
    parser.add_argument("--out", type=Path, required=True, help="PNG to write")
    parser.add_argument("--text", default=TEXT, help="text to type; a word is accepted as soon as it is suggested")
    parser.add_argument("--seed", type=int, default=7, help="seed of the generation")
    parser.add_argument("--dark", action="store_true", help="dark theme")
    parser.add_argument("--phone", action="store_true", help="phone-sized viewport")
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        parser.error("chromium is not installed")
    viewport = {"width": 390, "height": 844} if options.phone else {"width": 1200, "height": 712}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(
            viewport=viewport,  # type: ignore[arg-type]
            device_scale_factor=2,
            color_scheme="dark" if options.dark else "light",
            has_touch=options.phone,
            is_mobile=options.phone,
        )
        page.goto(options.url)
        enabled, stale = page.locator("#bar button:enabled"), page.locator("#bar .stale")
        expect(enabled).to_have_count(3)
        *words, partial = options.text.split(" ")
        for word in words:
            for key in f"{word} ":
                expect(stale).to_have_count(0)
                suggestions = page.locator("#bar .word").all_inner_texts()
                if word in suggestions:
                    page.keyboard.press(f"Alt+Digit{suggestions.index(word) + 1}")
                    break
                page.keyboard.press(key)
        page.keyboard.type(partial)
        page.get_by_label("Seed").fill(str(options.seed))
        page.get_by_role("button", name="Generate").click()
        expect(page.locator("#progress")).to_contain_text("seed", timeout=60_000)
        page.locator("#text").focus()
        expect(stale).to_have_count(0)
        # the probabilities appear on hover
        page.locator("#bar").hover()
        options.out.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=options.out, full_page=options.phone)
        browser.close()
    print(options.out)


if __name__ == "__main__":
    main()
