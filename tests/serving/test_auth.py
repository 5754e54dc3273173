"""API key authentication and cross-origin requests."""

import hmac
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal
from helpers.service_client import Client

from lstm_lm.errors import ConfigError
from lstm_lm.serving import auth, create_app
from lstm_lm.serving.settings import Settings, read_settings

KEY = "correct-horse-battery"
BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture(scope="module")
def guarded(tiny_bundle: Path, portal: BlockingPortal) -> Client:
    settings = Settings(bundle=tiny_bundle, api_key=KEY, cors_origins="https://a.example,https://b.example")  # type: ignore[arg-type]
    return Client(create_app(settings), portal)


PATHS = ("/", "/page/main.js", "/info", "/metrics", "/docs", "/docs/swagger-ui.css", "/openapi.json", "/favicon.ico",
         "/predict", "/nothing", "/health/x", "/v1/info", "//health", "/sign-in")  # fmt: skip


def test_every_route_but_health_checks_needs_the_key(guarded: Client) -> None:
    for path in ("/health", "/ready", "/health/", "/v1/health"):
        assert guarded.get(path).status_code == 200
    for path in PATHS:
        for method in ("GET", "POST", "HEAD", "OPTIONS", "DELETE"):
            response = guarded.request(method, path)
            assert response.status_code == 401, (method, path)
            assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("host", ["x/health?", "x/health#", "x/ready?", "/health?", "x/health;", "[", "x:y", "", "é"])
def test_host_header_does_not_bypass_the_key(guarded: Client, host: str) -> None:
    for path in ("/info", "/metrics", "/", "/nothing/"):
        assert guarded.request("GET", path, headers={"host": host.encode()}).status_code == 401
    assert guarded.request("POST", "/sign-in", content="key=wrong", headers={"host": host.encode()}).status_code == 401
    assert guarded.request("GET", "/health", headers={"host": host.encode()}).status_code == 200
    right = guarded.request("POST", "/sign-in", content=f"key={KEY}", headers={"host": host.encode()})
    assert (right.status_code, right.headers["location"]) == (303, "/")


def test_health_checks_need_no_key_below_a_root_path(tiny_bundle: Path, portal: BlockingPortal) -> None:
    app = create_app(Settings(bundle=tiny_bundle, api_key=KEY))  # type: ignore[arg-type]
    client = Client(app, portal, root_path="/model")
    for path, status in {"/model/health": 200, "/model/info": 401, "/model/health/x": 401, "/modelhealth": 401}.items():
        assert client.get(path).status_code == status, path


@pytest.mark.parametrize(
    "headers",
    [{"authorization": f"Bearer {KEY}"}, {"authorization": f"bearer {KEY}"}, {"x-api-key": KEY}],
)
def test_key_in_a_header_opens_every_route(guarded: Client, headers: dict[str, str]) -> None:
    for path in ("/", "/page/main.js", "/info", "/metrics", "/docs", "/openapi.json"):
        assert guarded.request("GET", path, headers=headers).status_code == 200
    assert guarded.request("POST", "/predict", json={"text": "the"}, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer"}, {"authorization": f"Bearer {KEY}x"}, {"authorization": f"Bearer {KEY[:-1]}"},
        {"authorization": KEY}, {"authorization": f"Basic {KEY}"}, {"x-api-key": ""}, {"x-api-key": KEY.upper()},
        {"x-api-key": "clé".encode()}, {"x-api-key": b"\xff" * 50}, {"cookie": f"lstm_lm_session={KEY}"},
        {"cookie": "lstm_lm_session="}, {"authorization": "Bearer " + "a" * 10_000},
    ],
)  # fmt: skip
def test_wrong_credentials_get_401(guarded: Client, headers: dict[str, Any]) -> None:
    response = guarded.request("POST", "/predict", json={"text": "the"}, headers=headers)
    assert response.status_code == 401
    assert "Authorization: Bearer KEY" in response.json()["detail"]
    assert KEY not in response.text


def test_key_comparison_takes_constant_time(guarded: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []
    compare = hmac.compare_digest

    def recording(left: bytes, right: bytes) -> bool:
        compared.append(len(left))
        return compare(left, right)

    monkeypatch.setattr(auth.hmac, "compare_digest", recording)
    for key in (KEY, "", "short", "x" * 5000):
        guarded.request("GET", "/info", headers={"x-api-key": key})
    # three comparisons per request, all of digests of one length
    assert compared == [32] * 12


def test_browser_gets_a_login_form_and_a_cookie_for_the_key(guarded: Client) -> None:
    page = guarded.request("GET", "/", headers=BROWSER)
    assert page.status_code == 401
    assert 'name="key"' in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert "<script" not in page.text
    for wrong in ("", "key=", "key=wrong", f"key={KEY}x", "a" * 4000, "key=%ff%00", "%"):
        response = guarded.post("/sign-in", wrong, {"content-type": "application/x-www-form-urlencoded"})
        assert response.status_code == 401
        assert "not the key" in response.text
        assert "set-cookie" not in response.headers
    assert guarded.post("/sign-in", "key=" + "a" * 5000, {}).status_code == 413
    right = guarded.post("/sign-in", f"key={KEY}", {})
    assert (right.status_code, right.headers["location"]) == (303, "/")
    cookie = right.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert KEY not in cookie
    session = {"cookie": cookie.partition(";")[0]}
    assert guarded.request("GET", "/info", headers=session).status_code == 200


def test_only_listed_origins_may_call(guarded: Client, client: Client) -> None:
    preflight = {"origin": "https://b.example", "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type"}  # fmt: skip
    allowed = guarded.request("OPTIONS", "/predict", headers=preflight)
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == "https://b.example"
    # with the API key, but not with a visitor's cookie
    assert "access-control-allow-credentials" not in allowed.headers
    simple = guarded.request("GET", "/health", headers={"origin": "https://a.example"})
    assert simple.headers["access-control-allow-origin"] == "https://a.example"
    refused = guarded.request("OPTIONS", "/predict", headers=preflight | {"origin": "https://c.example"})
    assert "access-control-allow-origin" not in refused.headers
    unset = client.request("GET", "/health", headers={"origin": "https://a.example"})
    assert not [name for name in unset.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"api_key": "short"}, "LSTM_LM_API_KEY: must be 8 to 256 printable ASCII"),
        ({"api_key": "with a space"}, "LSTM_LM_API_KEY: must be"),
        ({"api_key": "schlüssel-wort"}, "LSTM_LM_API_KEY: must be"),
        ({"api_key": ""}, "LSTM_LM_API_KEY: must be"),
        ({"cors_origins": "example.org"}, "LSTM_LM_CORS_ORIGINS: must be origins such as"),
        ({"cors_origins": "https://a.example/"}, "LSTM_LM_CORS_ORIGINS: must be origins"),
        ({"cors_origins": "https://*.example"}, "LSTM_LM_CORS_ORIGINS: must be origins"),
    ],
)
def test_wrong_settings_are_named_without_their_values(settings: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_settings(bundle="any", **settings)
    assert words in str(caught.value)
    assert "horse" not in str(caught.value)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSTM_LM_CORS_ORIGINS", " https://a.example, http://localhost:3000 ")
    monkeypatch.setenv("LSTM_LM_API_KEY", KEY)
    settings = read_settings(bundle="any")
    assert settings.cors_origins == ("https://a.example", "http://localhost:3000")
    assert KEY not in repr(settings)


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("LSTM_LM_MAX_BATHC", "LSTM_LM_MAX_BATCH"),
        ("LSTM_LM_APIKEY", "LSTM_LM_API_KEY"),
        ("lstm_lm_cors_origin", "LSTM_LM_CORS_ORIGINS"),
        ("LSTM_LM_MAX_WAITING", "LSTM_LM_MAX_QUEUE_SIZE"),
        ("LSTM_LM_WORKERS", "LSTM_LM_PREFILL_THREADS"),
    ],
)
def test_unknown_variable_is_an_error_with_a_suggestion(
    monkeypatch: pytest.MonkeyPatch, name: str, suggestion: str
) -> None:
    monkeypatch.setenv(name, "secret-value")
    monkeypatch.setenv("LSTM_LM_MAX_K", "many")
    with pytest.raises(ConfigError) as caught:
        read_settings(bundle="any")
    assert f"{name}: is not a setting; did you mean {suggestion}?" in str(caught.value)
    assert "LSTM_LM_MAX_K: " in str(caught.value)
    assert "secret-value" not in str(caught.value)


def test_variables_for_other_programs_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    links = ("LSTM_LM_SERVICE_HOST", "LSTM_LM_SERVICE_PORT_HTTP", "LSTM_LM_PORT_8000_TCP_ADDR")
    for name in ("LSTM_LM_CACHE", "LSTM_LM_CELLS", *links):
        monkeypatch.setenv(name, "x")
    assert read_settings(bundle="any").max_batch == 32


@pytest.mark.parametrize("name", ["LSTM_LM_ZEBRA", "LSTM_LM_SLICE_SECONDS"])
def test_variable_like_no_setting_is_an_error_with_all_settings(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "x")
    with pytest.raises(ConfigError, match=rf"{name}: is not a setting; use one of LSTM_LM_BUNDLE, "):
        read_settings(bundle="any")
