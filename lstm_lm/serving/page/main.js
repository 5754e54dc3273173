// Puts the page together.

import { Panel } from "./panel.js";
import { modelCard } from "./service.js";
import { bindTheme } from "./theme.js";
import { Typing } from "./typing.js";

const DRAFT = "lstm_lm draft";
const COUNT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const WHOLE = new Intl.NumberFormat("en");
const PERCENT = new Intl.NumberFormat("en", { style: "percent" });

const part = (id) => document.getElementById(id);
const text = part("text");
const keys = { pressed: 0, saved: 0, taken: 0 };
let limits = { max_text_chars: 10_000, max_k: 100 };

bindTheme(part("theme"));
restoreDraft();

const typing = new Typing(text, part("bar"), {
  request: () => ({ words_only: true, cache: part("learn").checked }),
  limits: () => limits,
  onAnswer: (ms, inService) => {
    part("time").textContent = milliseconds(ms);
    if (inService !== null) part("time-of").textContent = `${milliseconds(inService)} in the service`;
  },
  onKey: () => {
    keys.pressed += 1;
    showKeys();
  },
  onTaken: (saved, { taken = true } = {}) => {
    keys.saved += saved;
    if (taken) {
      keys.pressed += 1;
      keys.taken += 1;
    }
    showKeys();
  },
  onProblem: showProblem,
  onSpoken: (sentence) => (part("spoken").textContent = sentence),
});

const panel = new Panel(
  {
    form: part("panel"),
    preset: part("preset"),
    words: part("words"),
    seed: part("seed"),
    go: part("go"),
    written: part("written"),
    progress: part("progress"),
    keepSeed: part("keep-seed"),
    use: part("use"),
  },
  {
    text: () => text.value,
    limits: () => limits,
    onUse: (continuation) => {
      text.focus();
      typing.replace(text.value.length, text.value.length, continuation);
      text.scrollTop = text.scrollHeight;
      typing.refresh();
    },
    onNeedsKey: askForKey,
  },
);

part("learn").addEventListener("change", () => typing.refresh({ force: true }));
part("clear").addEventListener("click", () => {
  text.focus();
  typing.replace(0, text.value.length, "");
  Object.assign(keys, { pressed: 0, saved: 0, taken: 0 });
  showKeys();
  typing.refresh();
});

describeModel();
typing.refresh({ force: true });

function milliseconds(ms) {
  return ms < 10 ? `${ms.toFixed(1)} ms` : `${WHOLE.format(Math.round(ms))} ms`;
}

function showKeys() {
  const { pressed, saved, taken } = keys;
  const all = pressed + saved;
  part("saved").textContent = taken && all ? PERCENT.format(Math.max(saved, 0) / all) : "0";
  part("saved-of").textContent = taken ? `${WHOLE.format(saved)} of ${WHOLE.format(all)} keys` : "take a word to start";
  part("taken").textContent = WHOLE.format(taken);
}

async function describeModel() {
  try {
    const card = await modelCard();
    limits = card.limits;
    panel.describe(card);
    const facts = [card.name, `${WHOLE.format(card.vocabulary_size)} words`];
    if (card.parameters) facts.push(`${COUNT.format(card.parameters)} parameters`);
    const score = card.metrics?.test ?? card.metrics?.valid;
    if (score?.perplexity) {
      facts.push(`${card.metrics.test ? "test" : "validation"} perplexity ${score.perplexity.toFixed(1)}`);
    }
    part("model").textContent = facts.filter(Boolean).join(" · ");
  } catch (error) {
    showProblem(error);
  }
}

function showProblem(error) {
  const place = part("problem");
  place.hidden = error === null;
  if (error === null) return;
  place.textContent = error.retryAfter ? `${error.message} Trying again…` : error.message;
  if (error.needsKey) askForKey();
}

// the service asks for the key before it gives this page, so loading it anew is asking; what was typed comes back
function askForKey() {
  const place = part("problem");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet";
  button.textContent = "Enter the key";
  button.addEventListener("click", () => {
    try {
      sessionStorage.setItem(DRAFT, text.value);
    } catch {
      // storage is forbidden: the text is lost, as with any reload
    }
    location.reload();
  });
  place.hidden = false;
  place.replaceChildren("The service wants its key again. ", button);
}

function restoreDraft() {
  try {
    text.value = sessionStorage.getItem(DRAFT) ?? text.value;
    sessionStorage.removeItem(DRAFT);
  } catch {
    // storage is forbidden: there is no draft
  }
  text.setSelectionRange(text.value.length, text.value.length);
}
