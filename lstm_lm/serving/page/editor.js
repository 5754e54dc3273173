// The text box and its suggestion bar.

import { onHold } from "./hold.js";
import { attachesToWord, insertion, tail } from "./words.js";

const ANNOUNCE_AFTER_MS = 900;
const PERCENT = new Intl.NumberFormat("en", { style: "percent", maximumSignificantDigits: 2 });
const MIN_SHOWN = 0.001;
const LONG_WORD = 11;

/**
 * Keeps the suggestions of a bar up to date with a text box.
 *
 * @param text the textarea.
 * @param bar the element with one button per suggestion.
 * @param options `predict(body, signal)`: asks for suggestions; `request(typed)`: fields to add to each request;
 *   `limits()`: the limits of `/info`; and the callbacks `onResponse(typed, response, ms)`, `onKey()`,
 *   `onAccept(savedKeys)`, `onForeignText(typed)`: of a text that was not typed, `onBlock(word)`,
 *   `onProblem(error | null)`, `onAnnounce(sentence)`.
 */
export class Editor {
  constructor(text, bar, options) {
    this.text = text;
    this.buttons = [...bar.querySelectorAll("button")];
    this.options = options;
    this.shown = { key: null, suggestions: [] };
    this.request = null;
    this.autoSpaceAt = -1;
    this.leaving = false;
    text.addEventListener("beforeinput", (event) => this.#attachPunctuation(event));
    text.addEventListener("input", (event) => this.#onInput(event));
    text.addEventListener("keydown", (event) => this.#onKeyDown(event));
    text.addEventListener("blur", () => (this.leaving = false));
    document.addEventListener("selectionchange", () => {
      if (document.activeElement === text) this.refresh();
    });
    // the text box keeps the focus, so that a phone's keyboard stays open
    bar.addEventListener("pointerdown", (event) => event.preventDefault());
    this.buttons.forEach((button, index) => {
      button.addEventListener("click", () => this.accept(index));
      onHold(button, () => this.#block(index));
    });
  }

  /** Requests suggestions unless the current ones are already shown or requested. */
  async refresh({ force = false } = {}) {
    const key = this.#key();
    if (!force && key === this.request?.key) return;
    this.request?.abort.abort();
    this.request = null;
    clearTimeout(this.retry);
    if (!force && key === this.shown.key) {
      this.#updateButtons();
      return;
    }
    // forced: other options, so that what is shown no longer holds
    if (force) this.shown.key = null;
    const request = { key, abort: new AbortController() };
    this.request = request;
    this.#updateButtons();
    const limits = this.options.limits();
    const body = {
      text: tail(this.#typed(), limits.max_text_chars),
      split: true,
      k: Math.min(this.buttons.length, limits.max_k),
      ...this.options.request(this.#typed()),
    };
    const start = performance.now();
    const typed = this.#typed();
    try {
      const response = await this.options.predict(body, request.abort.signal);
      // a late response belongs to an older text
      if (request !== this.request) return;
      this.options.onProblem(null);
      this.#show(key, response.suggestions);
      this.options.onResponse(typed, response, performance.now() - start);
    } catch (error) {
      if (request !== this.request || error.name === "AbortError") return;
      this.options.onProblem(error);
      this.#show(null, []);
      if (error.retryAfter) this.retry = setTimeout(() => this.refresh({ force: true }), error.retryAfter * 1000);
    } finally {
      if (request === this.request) this.request = null;
    }
  }

  /** Inserts a suggestion into the text. */
  accept(index) {
    const suggestion = this.shown.suggestions[index];
    if (!suggestion || this.shown.key !== this.#key()) return;
    const { start, end, text } = insertion(this.text.value, this.text.selectionStart, suggestion);
    const added = text.length - (end - start);
    this.text.focus();
    this.replace(start, end, text);
    this.autoSpaceAt = this.text.selectionStart;
    this.options.onAccept(added - 1);
    this.refresh();
  }

  /** Replaces a range of the text; the browser's undo can revert it. */
  replace(start, end, text) {
    this.text.setSelectionRange(start, end);
    this.replacing = true;
    try {
      if (!document.execCommand("insertText", false, text)) this.text.setRangeText(text, start, end, "end");
    } finally {
      this.replacing = false;
    }
  }

  #typed() {
    return this.text.value.slice(0, this.text.selectionStart);
  }

  // what is learned from the text changes the next request, not this one
  #key() {
    return this.#typed();
  }

  #block(index) {
    const suggestion = this.shown.suggestions[index];
    if (suggestion) this.options.onBlock(suggestion.word);
  }

  #onInput(event) {
    // a replacement is not a keystroke
    if (this.replacing) return;
    this.leaving = false;
    if (/^insertFrom(?:Paste|Drop)/.test(event.inputType ?? "")) this.options.onForeignText(this.#typed());
    this.options.onKey();
    this.refresh();
  }

  #attachPunctuation(event) {
    const caret = this.text.selectionStart;
    const afterAutoSpace = caret === this.autoSpaceAt && caret === this.text.selectionEnd;
    if (!this.replacing) this.autoSpaceAt = -1;
    if (this.replacing || !afterAutoSpace) return;
    if (event.inputType !== "insertText" || !attachesToWord(event.data ?? "")) return;
    if (this.text.value[caret - 1] !== " ") return;
    event.preventDefault();
    this.replace(caret - 1, caret, event.data);
    this.options.onKey();
    // the automatic space is gone, so it saved no key
    this.options.onAccept(-1, { accepted: false });
    this.refresh();
  }

  #onKeyDown(event) {
    if (event.isComposing) return;
    const plain = !event.shiftKey && !event.ctrlKey && !event.metaKey;
    const digit = /^(?:Digit|Numpad)([1-3])$/.exec(event.code);
    if (event.key === "Escape") {
      this.leaving = true;
    } else if (event.key === "Tab" && plain && !event.altKey && !this.leaving && this.#canAccept(0)) {
      event.preventDefault();
      this.accept(0);
    } else if (digit && plain && event.altKey && this.#canAccept(digit[1] - 1)) {
      event.preventDefault();
      this.accept(digit[1] - 1);
    }
  }

  #canAccept(index) {
    return this.shown.suggestions.length > index && this.shown.key === this.#key();
  }

  #show(key, suggestions) {
    this.shown = { key, suggestions };
    this.buttons.forEach((button, index) => {
      const suggestion = suggestions[index];
      const probability = suggestion ? formatProbability(suggestion.probability) : "";
      const word = button.querySelector(".word");
      word.textContent = suggestion?.word ?? "";
      word.classList.toggle("long", [...word.textContent].length > LONG_WORD);
      button.title = word.textContent;
      button.querySelector(".probability").textContent = probability;
      button.querySelector(".meter").style.setProperty("--probability", suggestion?.probability ?? 0);
      button.setAttribute("aria-label", suggestion ? `${suggestion.word}, ${probability}` : "no suggestion");
    });
    this.#updateButtons();
    clearTimeout(this.announcing);
    // only after a pause in typing, so that a screen reader can keep up
    const words = suggestions.map(({ word }) => word);
    const sentence = words.length ? `Suggestions: ${words.join(", ")}` : "No suggestions";
    this.announcing = setTimeout(() => this.options.onAnnounce(sentence), ANNOUNCE_AFTER_MS);
  }

  // suggestions of an older text stay visible until new ones arrive, but cannot be accepted
  #updateButtons() {
    const current = this.shown.key === this.#key();
    this.buttons.forEach((button, index) => {
      button.disabled = !this.shown.suggestions[index];
      button.classList.toggle("stale", !current);
    });
  }
}

function formatProbability(probability) {
  return probability < MIN_SHOWN ? `<${PERCENT.format(MIN_SHOWN)}` : PERCENT.format(probability);
}
