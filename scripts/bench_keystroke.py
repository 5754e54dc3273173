"""Time a keystroke of the service and of the same model in the browser, interleaved, in a real Chromium.

python scripts/bench_keystroke.py --model exports/mine

Types everyday prompts letter by letter, as the page does. The page's own drawing is not included. Build the client
first: `npm ci && npm run build` in clients/web.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent
CLIENT = ROOT / "clients" / "web" / "dist"
PROMPTS = ROOT / "tests" / "evaluation" / "data" / "everyday_prompts.tsv"

TYPE = """async ({ texts, graph }) => {
  const ort = await import("./browser/ort.wasm.min.mjs");
  const { loadPredictor } = await import("./browser/predictor.js");
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = new URL("browser/", document.baseURI).href;
  const loading = performance.now();
  const predictor = await loadPredictor(new URL("bundle/", document.baseURI).href, ort, { graph });
  const times = { load: performance.now() - loading, service: [], browser: [] };
  const asked = async (body) => {
    const headers = { "Content-Type": "application/json" };
    return (await fetch("predict", { method: "POST", headers, body: JSON.stringify(body) })).json();
  };
  const timed = async (name, ask) => {
    const start = performance.now();
    await ask();
    times[name].push(performance.now() - start);
  };
  await predictor.predict({ text: "", k: 3 });
  for (const text of texts) {
    for (let end = 0; end <= text.length; end += 1) {
      const body = { text: text.slice(0, end), k: 3, split: true, words_only: true };
      await timed("service", () => asked(body));
      await timed("browser", () => predictor.predict(body));
    }
  }
  return times;
}"""


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="a bundle with an ONNX graph")
    parser.add_argument("--prompts", type=int, default=30, help="number of prompts to type")
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        parser.error("chromium is not installed")
    texts = [line.split("\t")[0] for line in PROMPTS.read_text(encoding="utf-8").splitlines()[1:]][: options.prompts]
    command = [sys.executable, "-m", "lstm_lm", "serve", "--model", str(options.model), "--port", "0"]
    environment = os.environ | {"LSTM_LM_BROWSER_CLIENT": str(CLIENT), "LSTM_LM_ACCESS_LOG": "false"}
    service = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        url = announced_url(service)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page()
            page.goto(url)
            graph = page.evaluate("fetch('info').then((response) => response.json())")["browser_graph"]
            times = page.evaluate(TYPE, {"texts": texts, "graph": graph})
            browser.close()
    finally:
        service.terminate()
        service.wait()
    table = Table(f"{len(times['service']):,} keystrokes, {graph}", "median, ms", "p95, ms")
    for name in ("service", "browser"):
        table.add_row(name, *(f"{value:.1f}" for value in np.percentile(times[name], (50, 95))))
    ratio = np.median(times["browser"]) / np.median(times["service"])
    console = Console()
    console.print(table)
    console.print(f"browser : service {ratio:.2f}; the browser is ready after {times['load'] / 1000:.1f} s")


def announced_url(service: subprocess.Popen[str]) -> str:
    """The address that the service announces once it has loaded the model."""
    assert service.stderr is not None
    for line in service.stderr:
        if " at http" in line:
            return line.split(" at ")[1].split()[0]
    raise SystemExit("the service did not start")


if __name__ == "__main__":
    main()
