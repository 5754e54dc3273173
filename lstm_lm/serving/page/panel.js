// The panel that goes on with the text: streams, can be stopped, and says which seed repeats it.

import { writeOn } from "./service.js";
import { tail } from "./words.js";

const NUMBER = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

/**
 * Binds the panel's parts.
 *
 * @param parts elements: form, preset, words, seed, go, written, progress, keepSeed, use.
 * @param options `text()`: what to go on from; `limits()`: of the service, as `/info` has them; `onUse(continuation)`;
 *   `onNeedsKey()`.
 */
export class Panel {
  constructor(parts, options) {
    this.parts = parts;
    this.options = options;
    this.given = parts.written.querySelector(".given");
    this.new = parts.written.querySelector(".new");
    this.running = null;
    parts.form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.running) this.stop();
      else this.start();
    });
    for (const place of [parts.form, parts.written]) {
      place.addEventListener("keydown", (event) => {
        if (event.key === "Escape") this.stop();
      });
    }
    parts.keepSeed.addEventListener("click", () => {
      parts.seed.value = parts.keepSeed.value;
      parts.seed.focus();
    });
    parts.use.addEventListener("click", () => options.onUse(this.new.textContent));
  }

  /** Fills in what the model card says. */
  describe({ presets, default_preset: preferred, limits }) {
    const names = Object.keys(presets);
    this.parts.preset.replaceChildren(...names.map((name) => new Option(name, name, name === preferred, name === preferred)));
    this.parts.words.max = limits.max_words;
    if (Number(this.parts.words.value) > limits.max_words) this.parts.words.value = limits.max_words;
  }

  /** Ends the stream; what was written stays. */
  stop() {
    this.running?.abort();
  }

  /** Goes on from the text as it stands. */
  async start() {
    const { preset, words, seed, progress } = this.parts;
    const text = tail(this.options.text(), this.options.limits().max_text_chars);
    const body = { text, generate: Number(words.value) };
    if (preset.value) body.preset = preset.value;
    // drawn here where none is given: one of the service's own may be larger than a script can hold
    body.seed = seed.value === "" ? crypto.getRandomValues(new Uint32Array(1))[0] : Number(seed.value);
    this.running = new AbortController();
    this.#begin(text);
    const start = performance.now();
    let count = 0;
    const pace = () => {
      const seconds = (performance.now() - start) / 1000;
      return `${count} ${count === 1 ? "word" : "words"} in ${NUMBER.format(seconds)} s`;
    };
    try {
      const answer = await writeOn(
        body,
        (piece) => {
          count += 1;
          this.#append(piece);
          progress.textContent = `Writing… ${count} of ${body.generate}`;
        },
        this.running.signal,
      );
      // a piece may hold several words
      count = answer.words.length;
      progress.textContent = `${pace()} · seed ${body.seed}`;
      this.parts.keepSeed.value = String(body.seed);
      this.parts.keepSeed.hidden = seed.value !== "";
    } catch (error) {
      if (error.name === "AbortError") {
        progress.textContent = `Stopped after ${pace()}`;
      } else {
        progress.textContent = error.message;
        progress.classList.add("problem");
        if (error.needsKey) this.options.onNeedsKey();
      }
    } finally {
      this.#end();
    }
  }

  #begin(text) {
    const { written, go, progress, keepSeed, use } = this.parts;
    this.given.textContent = text;
    this.new.textContent = "";
    written.classList.add("filled", "running");
    written.setAttribute("aria-busy", "true");
    written.scrollTop = written.scrollHeight;
    progress.textContent = "Reading the text…";
    progress.classList.remove("problem");
    keepSeed.hidden = use.hidden = true;
    go.textContent = "Stop";
    go.classList.add("stop");
  }

  #append(piece) {
    const { written } = this.parts;
    // whoever scrolled up to read is left there
    const atEnd = written.scrollHeight - written.scrollTop - written.clientHeight < 40;
    this.new.append(piece);
    if (atEnd) written.scrollTop = written.scrollHeight;
  }

  #end() {
    const { written, go, use } = this.parts;
    this.running = null;
    written.classList.remove("running");
    written.setAttribute("aria-busy", "false");
    use.hidden = this.new.textContent === "";
    go.textContent = "Write on";
    go.classList.remove("stop");
  }
}
