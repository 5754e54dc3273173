"""The page in a real Chromium."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from page_service import listening
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# long, because the machine may be busy; a passing test does not wait for it
TIMEOUT_MS = 120_000
expect.set_options(timeout=TIMEOUT_MS)


@pytest.fixture(scope="module")
def url(tiny_bundle: Path) -> Iterator[str]:
    # generations long enough to be stopped, however slow the browser is
    with listening(tiny_bundle, max_words=20_000) as url:
        yield url


# per module, because its event loop conflicts with tests that run their own
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed; run `apt-get install chromium` as root")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=FLAGS, timeout=TIMEOUT_MS)
        yield browser
        browser.close()


Opener = Callable[..., Page]
# most tests compare with plain requests, so that words of one text must not change the next request
NOT_LEARNING = """try {
  if (!localStorage.getItem("lstm_lm words")) localStorage.setItem("lstm_lm words", '{"learning": false}');
} catch {}"""


@pytest.fixture
def open_page(browser: Browser, url: str) -> Iterator[Opener]:
    """Opens the page; the test fails on any console message, page error or request to another host."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def opened(
        address: str = url, quiet: bool = True, init_script: str = "", learning: bool = False, **options: Any
    ) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(TIMEOUT_MS)
        for script in (init_script, "" if learning else NOT_LEARNING):
            if script:
                context.add_init_script(script)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: _record_foreign(request.url, address, complaints))
        if quiet:
            page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        # install a route before the first request: Chromium may miss the one right after page.route
        page.route("**/*", lambda route: route.fallback())
        page.goto(f"{address}/")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def page(open_page: Opener) -> Page:
    return open_page()


def _record_foreign(requested: str, own: str, complaints: list[str]) -> None:
    if not requested.startswith(f"{own}/"):
        complaints.append(f"request to {requested}")
