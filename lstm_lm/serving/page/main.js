// Connects the parts of the page.

import { Editor } from "./editor.js";
import { bindLocal } from "./local.js";
import { GenerationPanel } from "./panel.js";
import { PersonalWords, STORAGE_KEY } from "./personal.js";
import { fetchInfo, fetchSuggestions } from "./service.js";
import { bindTheme } from "./theme.js";
import { followViewport } from "./viewport.js";
import { bindWordsDialog } from "./words_dialog.js";

const DRAFT_KEY = "lstm_lm draft";
const COMPACT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const INTEGER = new Intl.NumberFormat("en");
const PERCENT = new Intl.NumberFormat("en", { style: "percent" });

const NOTICE_MS = 8000;

const element = (id) => document.getElementById(id);
const text = element("text");
const learn = element("learn");
const words = new PersonalWords();
const keys = { pressed: 0, saved: 0, accepted: 0 };
let predict = fetchSuggestions;
let hiding = null;
let limits = { max_text_chars: 10_000, max_k: 100 };

bindTheme(element("theme"));
followViewport();
restoreDraft();
words.skip(text.value);
learn.checked = words.learning;

const editor = new Editor(text, element("bar"), {
  predict: (body, signal) => predict(body, signal),
  request: (typed) => ({ words_only: true, ...words.fields(typed) }),
  limits: () => limits,
  onResponse: (typed, { unknownWords, serverMs }, ms) => {
    element("round-trip").textContent = milliseconds(ms);
    const detail = predict === fetchSuggestions ? "key to suggestions" : "in this browser";
    element("round-trip-detail").textContent = serverMs === null ? detail : `${milliseconds(serverMs)} in the service`;
    words.read(typed, unknownWords);
  },
  onForeignText: (typed) => words.skip(typed),
  onBlock: block,
  onKey: () => {
    keys.pressed += 1;
    showKeys();
  },
  onAccept: (saved, { accepted = true } = {}) => {
    keys.saved += saved;
    if (accepted) {
      keys.pressed += 1;
      keys.accepted += 1;
    }
    showKeys();
  },
  onProblem: showProblem,
  onAnnounce: (sentence) => (element("announcement").textContent = sentence),
});

const panel = new GenerationPanel(
  {
    form: element("panel"),
    off: element("panel-off"),
    preset: element("preset"),
    words: element("words"),
    seed: element("seed"),
    submit: element("generate"),
    output: element("output"),
    progress: element("progress"),
    keepSeed: element("keep-seed"),
    insert: element("insert"),
  },
  {
    text: () => text.value,
    limits: () => limits,
    onInsert: (continuation) => {
      text.focus();
      editor.replace(text.value.length, text.value.length, continuation);
      words.skip(text.value);
      text.scrollTop = text.scrollHeight;
      editor.refresh();
    },
    onNeedsKey: askForKey,
  },
);

words.onChange = bindWordsDialog(words, element, () => {
  text.focus();
  editor.refresh({ force: true });
});
learn.addEventListener("change", () => {
  words.skip(text.value);
  words.setLearning(learn.checked);
  editor.refresh({ force: true });
});
addEventListener("storage", ({ key }) => {
  if (key !== STORAGE_KEY) return;
  words.reload();
  learn.checked = words.learning;
  editor.refresh({ force: true });
});
addEventListener("pagehide", () => words.finish(text.value));
element("clear").addEventListener("click", () => {
  text.focus();
  words.finish(text.value);
  words.skip("");
  editor.replace(0, text.value.length, "");
  Object.assign(keys, { pressed: 0, saved: 0, accepted: 0 });
  showKeys();
  editor.refresh();
});

const offerLocal = bindLocal(
  element("local-label"),
  element("local"),
  (local) => {
    predict = local ?? fetchSuggestions;
    panel.setEnabled(local === null);
    editor.refresh({ force: true });
  },
  notify,
);
showInfo();
editor.refresh({ force: true });

function block(word) {
  words.block(word);
  editor.refresh({ force: true });
  notify(`“${word}” is blocked.`, () => {
    words.unblock(word);
    text.focus();
    editor.refresh({ force: true });
  });
}

function notify(sentence, onUndo = null) {
  const notice = element("notice");
  const undo = element("notice-undo");
  const hide = () => (notice.hidden = true);
  notice.hidden = false;
  element("notice-text").textContent = sentence;
  undo.hidden = onUndo === null;
  undo.onclick = () => {
    hide();
    onUndo();
  };
  clearTimeout(hiding);
  hiding = setTimeout(hide, NOTICE_MS);
}

function milliseconds(ms) {
  return ms < 10 ? `${ms.toFixed(1)} ms` : `${INTEGER.format(Math.round(ms))} ms`;
}

function showKeys() {
  const { pressed, saved, accepted } = keys;
  const total = pressed + saved;
  element("saved").textContent = accepted && total ? PERCENT.format(Math.max(saved, 0) / total) : "0";
  element("saved-detail").textContent = accepted
    ? `${INTEGER.format(saved)} of ${INTEGER.format(total)} keys`
    : "accept a word to start";
  element("accepted").textContent = INTEGER.format(accepted);
}

async function showInfo() {
  try {
    const info = await fetchInfo();
    limits = info.limits;
    panel.configure(info);
    offerLocal(info.browser_graph);
    const facts = [`${INTEGER.format(info.vocabulary_size)} words`];
    if (info.parameters) facts.push(`${COMPACT.format(info.parameters)} parameters`);
    const score = info.metrics?.test ?? info.metrics?.valid;
    if (score?.perplexity) {
      facts.push(`${info.metrics.test ? "test" : "validation"} perplexity ${score.perplexity.toFixed(1)}`);
    }
    element("model-name").textContent = info.name ?? "model";
    element("model-facts").textContent = ` · ${facts.join(" · ")}`;
  } catch (error) {
    showProblem(error);
  }
}

function showProblem(error) {
  const problem = element("problem");
  problem.hidden = error === null;
  if (error === null) return;
  problem.textContent = error.retryAfter ? `${error.message} Trying again…` : error.message;
  if (error.needsKey) askForKey();
}

// a reload leads to the login page; the draft survives it
function askForKey() {
  const problem = element("problem");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet";
  button.textContent = "Enter the key";
  button.addEventListener("click", () => {
    try {
      sessionStorage.setItem(DRAFT_KEY, text.value);
    } catch {
      // without storage the text is lost, as with any reload
    }
    location.reload();
  });
  problem.hidden = false;
  problem.replaceChildren("The service needs the API key again. ", button);
}

function restoreDraft() {
  try {
    text.value = sessionStorage.getItem(DRAFT_KEY) ?? text.value;
    sessionStorage.removeItem(DRAFT_KEY);
  } catch {
    // without storage there is no draft
  }
  text.setSelectionRange(text.value.length, text.value.length);
}
