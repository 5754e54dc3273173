// The panel that continues the text: it streams, can be stopped, and shows the seed that repeats the result.

import { streamGeneration } from "./service.js";
import { tail } from "./words.js";

const NUMBER = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

/**
 * Binds the panel's elements.
 *
 * @param elements form, off, preset, words, seed, submit, output, progress, keepSeed, insert.
 * @param options `text()`: the text to continue; `limits()`: the limits of `/info`; and the callbacks
 *   `onInsert(continuation)`, `onNeedsKey()`.
 */
export class GenerationPanel {
  constructor(elements, options) {
    this.elements = elements;
    this.options = options;
    this.prompt = elements.output.querySelector(".prompt");
    this.continuation = elements.output.querySelector(".continuation");
    this.running = null;
    elements.form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.running) this.stop();
      else this.start();
    });
    for (const element of [elements.form, elements.output]) {
      element.addEventListener("keydown", (event) => {
        if (event.key === "Escape") this.stop();
      });
    }
    elements.keepSeed.addEventListener("click", () => {
      elements.seed.value = elements.keepSeed.value;
      elements.seed.focus();
    });
    elements.insert.addEventListener("click", () => options.onInsert(this.continuation.textContent));
  }

  /** Fills in the presets and limits of `/info`. */
  configure({ presets, default_preset: defaultPreset, limits }) {
    const options = Object.keys(presets).map((name) => new Option(name, name, name === defaultPreset, name === defaultPreset));
    this.elements.preset.replaceChildren(...options);
    this.elements.words.max = limits.max_words;
    if (Number(this.elements.words.value) > limits.max_words) this.elements.words.value = limits.max_words;
  }

  /** Shows the form, or that the service is not to be asked; the text so far stays. */
  setEnabled(enabled) {
    if (!enabled) this.stop();
    this.elements.form.hidden = !enabled;
    this.elements.off.hidden = enabled;
  }

  /** Ends the stream; the text so far stays. */
  stop() {
    this.running?.abort();
  }

  /** Continues the current text. */
  async start() {
    const { preset, words, seed, progress } = this.elements;
    const text = tail(this.options.text(), this.options.limits().max_text_chars);
    const body = { text, max_words: Number(words.value) };
    if (preset.value) body.preset = preset.value;
    // drawn here, because the service's own may exceed the integers of JavaScript
    body.seed = seed.value === "" ? crypto.getRandomValues(new Uint32Array(1))[0] : Number(seed.value);
    this.running = new AbortController();
    this.#onStart(text);
    const start = performance.now();
    let count = 0;
    const pace = () => {
      const seconds = (performance.now() - start) / 1000;
      return `${count} ${count === 1 ? "word" : "words"} in ${NUMBER.format(seconds)} s`;
    };
    try {
      const response = await streamGeneration(
        body,
        (piece) => {
          count += 1;
          this.#append(piece);
          progress.textContent = `Generating… ${count} of ${body.max_words}`;
        },
        this.running.signal,
      );
      // one piece may hold several words
      count = response.words.length;
      progress.textContent = `${pace()} · seed ${body.seed}`;
      this.elements.keepSeed.value = String(body.seed);
      this.elements.keepSeed.hidden = seed.value !== "";
    } catch (error) {
      if (error.name === "AbortError") {
        progress.textContent = `Stopped after ${pace()}`;
      } else {
        progress.textContent = error.message;
        progress.classList.add("problem");
        if (error.needsKey) this.options.onNeedsKey();
      }
    } finally {
      this.#onEnd();
    }
  }

  #onStart(text) {
    const { output, submit, progress, keepSeed, insert } = this.elements;
    this.prompt.textContent = text;
    this.continuation.textContent = "";
    output.classList.add("filled", "running");
    output.setAttribute("aria-busy", "true");
    output.scrollTop = output.scrollHeight;
    progress.textContent = "Reading the text…";
    progress.classList.remove("problem");
    keepSeed.hidden = insert.hidden = true;
    submit.textContent = "Stop";
    submit.classList.add("stop");
  }

  #append(piece) {
    const { output } = this.elements;
    // follow the text unless the reader has scrolled up
    const atEnd = output.scrollHeight - output.scrollTop - output.clientHeight < 40;
    this.continuation.append(piece);
    if (atEnd) output.scrollTop = output.scrollHeight;
  }

  #onEnd() {
    const { output, submit, insert } = this.elements;
    this.running = null;
    output.classList.remove("running");
    output.setAttribute("aria-busy", "false");
    insert.hidden = this.continuation.textContent === "";
    submit.textContent = "Generate";
    submit.classList.remove("stop");
  }
}
