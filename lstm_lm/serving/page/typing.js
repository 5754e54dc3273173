// The text box and its bar: suggestions at every keystroke, and words taken from them.

import { suggestions } from "./service.js";
import { closesUp, insertion, tail, wordAt } from "./words.js";

const SPOKEN_AFTER_MS = 900;
const LONGEST_PREFIX = 50;
const PERCENT = new Intl.NumberFormat("en", { style: "percent", maximumSignificantDigits: 2 });
const LEAST = 0.001;

/**
 * Binds a text box to a bar of buttons.
 *
 * @param text the textarea.
 * @param bar holds one button a suggestion.
 * @param options `request()`: fields that go into each request; `limits()`: of the service, as `/info` has them;
 *   `onAnswer(ms, msInService)`, `onKey()`, `onTaken(saved)`, `onProblem(error | null)`, `onSpoken(sentence)`: told as it happens.
 */
export class Typing {
  constructor(text, bar, options) {
    this.text = text;
    this.buttons = [...bar.querySelectorAll("button")];
    this.options = options;
    this.shown = { key: null, words: [] };
    this.request = null;
    this.autoSpaceAt = -1;
    this.leaving = false;
    text.addEventListener("beforeinput", (event) => this.#closeUp(event));
    text.addEventListener("input", (event) => this.#typed(event));
    text.addEventListener("keydown", (event) => this.#pressed(event));
    text.addEventListener("blur", () => (this.leaving = false));
    document.addEventListener("selectionchange", () => {
      if (document.activeElement === text) this.refresh();
    });
    // the box keeps the focus, so that a phone's keyboard stays up
    bar.addEventListener("pointerdown", (event) => event.preventDefault());
    this.buttons.forEach((button, index) => button.addEventListener("click", () => this.take(index)));
  }

  /** Asks for suggestions unless those shown are for the text as it stands. */
  async refresh({ force = false } = {}) {
    const key = this.#key();
    if (!force && key === this.request?.key) return;
    this.request?.abort.abort();
    this.request = null;
    clearTimeout(this.retry);
    if (!force && key === this.shown.key) {
      this.#mark();
      return;
    }
    const request = { key, abort: new AbortController() };
    this.request = request;
    this.#mark();
    const { before, prefix } = this.#word();
    const limits = this.options.limits();
    const body = {
      text: tail(before, limits.max_text_chars),
      prefix: prefix.slice(0, LONGEST_PREFIX),
      k: Math.min(this.buttons.length, limits.max_k),
      ...this.options.request(),
    };
    const start = performance.now();
    try {
      const { words, inService } = await suggestions(body, request.abort.signal);
      // an answer that comes late is for a text that is no more
      if (request !== this.request) return;
      this.options.onAnswer(performance.now() - start, inService);
      this.options.onProblem(null);
      this.#show(key, words);
    } catch (error) {
      if (request !== this.request || error.name === "AbortError") return;
      this.options.onProblem(error);
      this.#show(null, []);
      if (error.retryAfter) this.retry = setTimeout(() => this.refresh({ force: true }), error.retryAfter * 1000);
    } finally {
      if (request === this.request) this.request = null;
    }
  }

  /** Puts a suggestion into the text. */
  take(index) {
    const suggestion = this.shown.words[index];
    if (!suggestion || this.shown.key !== this.#key()) return;
    const { start, end, text } = insertion(this.text.value, this.text.selectionStart, suggestion.word);
    const grown = text.length - (end - start);
    this.text.focus();
    this.replace(start, end, text);
    this.autoSpaceAt = this.text.selectionStart;
    this.options.onTaken(grown - 1);
    this.refresh();
  }

  /** Writes `text` over a range so that undo can take it back. */
  replace(start, end, text) {
    this.text.setSelectionRange(start, end);
    this.replacing = true;
    try {
      if (!document.execCommand("insertText", false, text)) this.text.setRangeText(text, start, end, "end");
    } finally {
      this.replacing = false;
    }
  }

  #word() {
    return wordAt(this.text.value, this.text.selectionStart);
  }

  #key() {
    const { before, prefix } = this.#word();
    return JSON.stringify([before, prefix, this.options.request()]);
  }

  #typed() {
    // what this object writes itself is no keystroke
    if (this.replacing) return;
    this.leaving = false;
    this.options.onKey();
    this.refresh();
  }

  #closeUp(event) {
    const caret = this.text.selectionStart;
    const behindWord = caret === this.autoSpaceAt && caret === this.text.selectionEnd;
    if (!this.replacing) this.autoSpaceAt = -1;
    if (this.replacing || !behindWord || event.inputType !== "insertText" || !closesUp(event.data ?? "")) return;
    if (this.text.value[caret - 1] !== " ") return;
    event.preventDefault();
    this.replace(caret - 1, caret, event.data);
    this.options.onKey();
    // the space came with the word and goes with it: it saved nobody a key
    this.options.onTaken(-1, { taken: false });
    this.refresh();
  }

  #pressed(event) {
    if (event.isComposing) return;
    const plain = !event.shiftKey && !event.ctrlKey && !event.metaKey;
    const digit = /^(?:Digit|Numpad)([1-3])$/.exec(event.code);
    if (event.key === "Escape") {
      this.leaving = true;
    } else if (event.key === "Tab" && plain && !event.altKey && !this.leaving && this.#takeable(0)) {
      event.preventDefault();
      this.take(0);
    } else if (digit && plain && event.altKey && this.#takeable(digit[1] - 1)) {
      event.preventDefault();
      this.take(digit[1] - 1);
    }
  }

  #takeable(index) {
    return this.shown.words.length > index && this.shown.key === this.#key();
  }

  #show(key, words) {
    this.shown = { key, words };
    this.buttons.forEach((button, index) => {
      const suggestion = words[index];
      button.querySelector(".word").textContent = suggestion?.word ?? "";
      button.querySelector(".chance").textContent = suggestion ? percent(suggestion.probability) : "";
      button.querySelector(".level").style.setProperty("--chance", suggestion?.probability ?? 0);
      if (suggestion) {
        button.setAttribute("aria-label", `${suggestion.word}, ${percent(suggestion.probability)}`);
      } else {
        button.setAttribute("aria-label", "no suggestion");
      }
    });
    this.#mark();
    clearTimeout(this.speaking);
    // not at every key: nobody could listen that fast
    const sentence = words.length ? `Suggestions: ${words.map(({ word }) => word).join(", ")}` : "No suggestions";
    this.speaking = setTimeout(() => this.options.onSpoken(sentence), SPOKEN_AFTER_MS);
  }

  // suggestions for another text stay to be seen until the new ones come, but cannot be taken
  #mark() {
    const current = this.shown.key === this.#key();
    this.buttons.forEach((button, index) => {
      button.disabled = !this.shown.words[index];
      button.classList.toggle("stale", !current);
    });
  }
}

function percent(probability) {
  return probability < LEAST ? `<${PERCENT.format(LEAST)}` : PERCENT.format(probability);
}
