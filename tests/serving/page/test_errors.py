"""The page when the service fails or needs the API key."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from page_service import listening
from playwright.sync_api import Page, expect

KEY = "correct-horse-battery"


@pytest.fixture(scope="module")
def guarded_url(tiny_bundle: Path) -> Iterator[str]:
    with listening(tiny_bundle, api_key=KEY) as url:
        yield url


@pytest.mark.parametrize(
    ("response", "words"),
    [
        (
            {"status": 503, "json": {"detail": "too many requests are waiting"}, "headers": {"Retry-After": "1"}},
            "busy: too many requests are waiting. Trying again",
        ),
        (None, "cannot be reached. Is it still running? Trying again"),
    ],
)
def test_failure_shows_a_message_and_is_retried(
    open_page,
    response: dict[str, object] | None,
    words: str,  # type: ignore[no-untyped-def]
) -> None:
    page = open_page(quiet=False)
    expect(page.locator("#bar .stale")).to_have_count(0)
    page.route("**/predict", lambda route: route.fulfill(**response) if response else route.abort())  # type: ignore[arg-type]
    page.keyboard.type("the ")
    problem = page.get_by_role("alert")
    expect(problem).to_contain_text(words)
    expect(page.locator("#bar button").first).to_be_disabled()
    page.unroute("**/predict")
    expect(page.locator("#bar button").first).to_be_enabled()
    expect(problem).to_be_hidden()


def test_rejected_request_shows_a_message(open_page) -> None:  # type: ignore[no-untyped-def]
    page = open_page(quiet=False)
    expect(page.locator("#bar button").first).to_be_enabled()
    page.route("**/predict", lambda route: route.fulfill(status=422, json={"detail": "text: no such letters"}))
    page.keyboard.type("x")
    expect(page.get_by_role("alert")).to_have_text("The service rejected the request: text: no such letters.")


def log_in(page: Page, key: str) -> None:
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Continue").click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_key_is_needed_once_and_again_without_the_cookie(open_page, guarded_url: str, scheme: str) -> None:  # type: ignore[no-untyped-def]
    page = open_page(guarded_url, quiet=False, color_scheme=scheme)
    expect(page.get_by_label("API key")).to_be_focused()
    # the policy allows the form's style
    expect(page.locator("h1")).to_have_css("letter-spacing", "-0.216px")
    log_in(page, "wrong-horse-battery")
    expect(page.get_by_role("alert")).to_contain_text("not the key")
    log_in(page, KEY)
    expect(page.locator("#bar button").first).to_be_enabled()
    page.keyboard.type("the good ")
    expect(page.locator("#bar .stale")).to_have_count(0)
    (cookie,) = page.context.cookies()
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    assert KEY not in cookie["value"]
    page.reload()
    expect(page.locator("#bar button").first).to_be_enabled()
    page.keyboard.type("the good people")
    expect(page.locator("#bar .stale")).to_have_count(0)
    page.context.clear_cookies()
    page.keyboard.type(" of")
    page.get_by_role("button", name="Enter the key").click()
    log_in(page, KEY)
    expect(page.locator("#text")).to_have_value("the good people of")
