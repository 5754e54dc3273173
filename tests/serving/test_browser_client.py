"""The files with which the page runs the model in the browser, and what is wrong with a client that is not built."""

import json
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal
from helpers.service_client import Client
from helpers.small_models import write_small_bundle

from lstm_lm.errors import ConfigError
from lstm_lm.serving import create_app
from lstm_lm.serving.settings import Settings

FILES = ("predictor.js", "ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_bundle(tmp_path_factory.mktemp("exports") / "mine")


@pytest.fixture
def built(tmp_path: Path) -> Path:
    for name in (*FILES, "package.json"):
        (tmp_path / name).write_text(f"content of {name}")
    return tmp_path


def test_service_delivers_the_client_and_the_model(bundle: Path, built: Path, portal: BlockingPortal) -> None:
    deny_file = built / "deny.txt"
    deny_file.write_text("London\n")
    settings = Settings(bundle=bundle, browser_client=built, blocklist=False, deny_file=deny_file)
    client = Client(create_app(settings), portal)
    assert client.get("/info").json()["browser_graph"] == "model.int8.onnx"
    page = client.get("/")
    # WebAssembly, but no other code than the service's files
    assert "script-src 'self' 'wasm-unsafe-eval';" in page.headers["content-security-policy"]
    kinds = {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm"}
    for name in FILES:
        response = client.get(f"/browser/{name}")
        assert response.text == f"content of {name}"
        assert response.headers["content-type"].startswith(kinds[Path(name).suffix])
    for name in ("model.int8.onnx", "vocabulary.json"):
        response = client.get(f"/bundle/{name}")
        assert response.content == (bundle / name).read_bytes()
        again = client.request("GET", f"/bundle/{name}", headers={"if-none-match": response.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    shipped = json.loads((bundle / "rules.json").read_text(encoding="utf-8"))
    # the operator's list, not the shipped one
    assert client.get("/bundle/rules.json").json() == {**shipped, "blocked": ["london"]}
    for path in ("/browser/package.json", "/browser/..%2Fmanifest.json", "/bundle/manifest.json", "/bundle/model.onnx"):
        assert client.get(path).status_code == 404


def test_service_without_a_client_delivers_neither(client: Client) -> None:
    assert client.get("/info").json()["browser_graph"] is None
    for path in ("/browser/predictor.js", "/bundle/rules.json", "/bundle/vocabulary.json"):
        assert client.get(path).status_code == 404


def test_client_that_is_not_built_is_a_clear_error(bundle: Path, tiny_bundle: Path, built: Path) -> None:
    build = "build the client with `npm ci && npm run build` in clients/web"

    def problem(folder: Path, model: Path = bundle) -> str:
        with pytest.raises(ConfigError) as error:
            create_app(Settings(bundle=model, browser_client=folder))
        return str(error.value)

    name, missing = "LSTM_LM_BROWSER_CLIENT", built / "dist"
    assert f"{name}: cannot read {missing} (No such file or directory); {build}" in problem(missing)
    assert f"{name}: {tiny_bundle} has no ONNX graph; export a bundle with one" in problem(built, tiny_bundle)
    (built / "ort.wasm.min.mjs").unlink()
    assert f"{name}: {built} has no ort.wasm.min.mjs; {build}" in problem(built)
