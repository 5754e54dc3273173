// The model card for people: what /info knows, in words and tables.

import { fetchInfo } from "./service.js";
import { bindTheme } from "./theme.js";

const INTEGER = new Intl.NumberFormat("en");
const DECIMAL = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });
const PERCENT = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 1 });
const SPLITS = { train: "training text", valid: "validation text", test: "test text" };
const SCORES = { perplexity: "perplexity", top1: "top 1", top3: "top 3", top5: "top 5" };
const LIMITS = {
  max_text_chars: "characters of a text that are read",
  max_k: "suggestions per request",
  max_words: "generated words per request",
};

bindTheme(null);
show();

async function show() {
  try {
    const info = await fetchInfo();
    const name = info.name ?? "Model";
    document.title = `${name} · lstm_lm`;
    element("name").textContent = name;
    element("summary").textContent = summary(info);
    element("facts").replaceChildren(table([], facts(info)));
    const rated = scores(info.metrics ?? {});
    element("scores").replaceChildren(rated);
    element("scores-help").hidden = rated.tagName !== "TABLE";
    const typed = keyboardScores(info.metrics ?? {});
    element("keyboard").hidden = !typed.length;
    element("keyboard-scores").replaceChildren(table(["", "top 1", "top 3", "keystrokes saved"], typed));
    element("presets").replaceChildren(table(["name", "settings"], presets(info)));
    element("limits").replaceChildren(
      table([], Object.entries(info.limits).map(([key, value]) => [LIMITS[key] ?? key, INTEGER.format(value)])),
    );
  } catch (error) {
    element("problem").hidden = false;
    element("problem").textContent = error.message;
  }
}

function summary({ vocabulary_size: size, data }) {
  const corpus = data?.title ? `, trained on ${data.title}` : "";
  return `A word-level LSTM language model that knows ${INTEGER.format(size)} words${corpus}.`;
}

function facts({ vocabulary_size: size, parameters, model, tokenizer, data, version }) {
  const rows = [["words", INTEGER.format(size)]];
  if (parameters) rows.push(["parameters", INTEGER.format(parameters)]);
  if (model) {
    rows.push(["cell", model.cell ?? "lstm"]);
    rows.push(["embedding", INTEGER.format(model.embedding_dim)]);
    rows.push(["layers", model.hidden_dims.map((dim) => INTEGER.format(dim)).join(" + ")]);
    rows.push(["output layer", model.tie_weights ? "tied to the embedding" : "separate weights"]);
  }
  if (data) {
    rows.push(["training text", data.title || data.source]);
    for (const [name, value] of [["source", data.url], ["licence", data.license], ["language", data.language]]) {
      if (value) rows.push([`${name} of the text`, value]);
    }
  }
  if (tokenizer) rows.push(["tokenizer", tokenizer]);
  rows.push(["lstm_lm", version]);
  return rows;
}

function scores(metrics) {
  const splits = Object.entries(metrics).filter(([, score]) => typeof score?.perplexity === "number");
  const names = Object.keys(SCORES).filter((name) => splits.some(([, score]) => typeof score[name] === "number"));
  if (!names.length) {
    const none = document.createElement("p");
    none.textContent = "The model was not evaluated before it was exported.";
    return none;
  }
  const cell = (name, value) => {
    if (typeof value !== "number") return "–";
    return name === "perplexity" ? DECIMAL.format(value) : PERCENT.format(value);
  };
  const rows = splits.map(([split, score]) => [SPLITS[split] ?? split, ...names.map((name) => cell(name, score[name]))]);
  return table(["", ...names.map((name) => SCORES[name])], rows);
}

function keyboardScores(metrics) {
  return Object.values(metrics)
    .filter((score) => typeof score?.keystroke_savings_rate === "number")
    .map(({ split, words, keystroke_savings_rate: saved }) => [
      SPLITS[split] ?? split,
      ...[words.top1, words.top3, saved].map((share) => PERCENT.format(share)),
    ]);
}

function presets({ presets: all, default_preset: chosen }) {
  const neutral = { temperature: 1, top_k: 0, top_p: 1, repeat_penalty: 1, repeat_window: 0, seed: null };
  const names = { ban_unk: "no <unk>", stop_eos: "one line" };
  return Object.entries(all).map(([name, preset]) => {
    const settings = Object.entries(preset)
      .filter(([key, value]) => key !== "strategy" && value !== neutral[key] && value !== false && value?.length !== 0)
      .map(([key, value]) => (value === true ? (names[key] ?? key) : `${key.replaceAll("_", " ")} ${value}`));
    return [name === chosen ? `${name} (default)` : name, [preset.strategy, ...settings].join(", ")];
  });
}

function table(header, rows) {
  const built = document.createElement("table");
  const add = (parent, cells, tags) => {
    const row = parent.insertRow();
    cells.forEach((text, index) => {
      const cell = document.createElement(tags(index));
      if (cell.tagName === "TH") cell.scope = parent.tagName === "THEAD" ? "col" : "row";
      cell.textContent = text;
      row.append(cell);
    });
  };
  if (header.length) add(built.createTHead(), header, () => "th");
  const body = built.createTBody();
  for (const cells of rows) add(body, cells, (index) => (index === 0 ? "th" : "td"));
  return built;
}

function element(id) {
  return document.getElementById(id);
}
