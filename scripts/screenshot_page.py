"""Draw the picture of the page that the README shows: types on a running service, and lets it write on.

python scripts/screenshot_page.py --url http://127.0.0.1:8000 --out .github/images/page.png
"""

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

TEXT = "The storm reached the coast in the early morning and caused severe damage to the "


def main() -> None:
    """Parse the command line, open the page, type, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="address of the service")
    parser.add_argument("--out", type=Path, required=True, help="PNG to write")
    parser.add_argument(
        "--text", default=TEXT, help="what is typed; words are taken from the bar as soon as it has them"
    )
    parser.add_argument("--seed", type=int, default=7, help="of the text that is written on")
    parser.add_argument("--dark", action="store_true", help="dark colours")
    parser.add_argument("--phone", action="store_true", help="as wide as a phone")
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        parser.error("chromium is not installed")
    shape = {"width": 390, "height": 844} if options.phone else {"width": 1200, "height": 712}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(
            viewport=shape,  # type: ignore[arg-type]
            device_scale_factor=2,
            color_scheme="dark" if options.dark else "light",
            has_touch=options.phone,
            is_mobile=options.phone,
        )
        page.goto(options.url)
        fresh, stale = page.locator("#bar button:enabled"), page.locator("#bar .stale")
        expect(fresh).to_have_count(3)
        *words, begun = options.text.split(" ")
        for word in words:
            for key in f"{word} ":
                expect(stale).to_have_count(0)
                offered = page.locator("#bar .word").all_inner_texts()
                if word in offered:
                    page.keyboard.press(f"Alt+Digit{offered.index(word) + 1}")
                    break
                page.keyboard.press(key)
        page.keyboard.type(begun)
        page.get_by_label("Seed").fill(str(options.seed))
        page.get_by_role("button", name="Write on").click()
        expect(page.locator("#progress")).to_contain_text("seed", timeout=60_000)
        page.locator("#text").focus()
        expect(stale).to_have_count(0)
        # so that the probabilities show
        page.locator("#bar").hover()
        options.out.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=options.out, full_page=options.phone)
        browser.close()
    print(options.out)


if __name__ == "__main__":
    main()
