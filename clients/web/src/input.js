// Typed text as words of a vocabulary: complete words, and the half-typed one.

import { isAlnum, isCombining, isSpace, isWord, codePoints, lastChar, pythonPattern, splitWords } from "./text.js";
import { EOS } from "./tokenizer.js";

const MAX_MOSES_CHARS = 200;

export class InputReader {
  constructor(rules, vocabulary, tokenizer) {
    this.vocabulary = vocabulary;
    this.tokenizer = tokenizer;
    this.normalizer = tokenizer.normalizer;
    const { opening, inner, symbols, continues } = rules.input;
    Object.assign(this, { opening: new Set(opening), inner: new Set(inner), symbols: new Set(symbols), continues });
    this.addressSigns = pythonPattern(rules.addresses.signs);
    this.addresses = pythonPattern(rules.addresses.pattern, "giu");
  }

  /** All words of a text; a line break is `<eos>`. */
  tokenize(text) {
    text = this.normalizer.normalize(text);
    if (this.vocabulary.placeholders.length) text = this.#replaceAddresses(text);
    const words = [];
    text.split(/\r\n|\r|\n/).forEach((line, index) => {
      if (index) words.push(EOS);
      for (const chunk of splitWords(line)) words.push(...this.#chunk(chunk));
    });
    return words;
  }

  /** A text before the half-typed word at its end, and that word. */
  split(text) {
    const characters = codePoints(text);
    let start = characters.length;
    while (start > 0 && !isSpace(characters[start - 1])) start -= 1;
    const typed = characters.slice(start).join("");
    const last = codePoints(this.normalizer.clean(typed)).findLast((char) => !this.continues.includes(char)) ?? "";
    const half = isAlnum(last) || isCombining(last);
    return half ? [characters.slice(0, start).join(""), typed] : [text, ""];
  }

  /** The complete words of a normalized prefix, and the start of the next word: "well-kn" is `well @-@` and "kn". */
  splitPartial(prefix) {
    const space = prefix.lastIndexOf(" ");
    const before = prefix.slice(0, Math.max(space, 0));
    const chunk = prefix.slice(space + 1);
    if (chunk.startsWith("'")) {
      const [complete, partial] = chunk.length > 1 ? this.splitPartial(chunk.slice(1)) : [[], ""];
      return [[...this.tokenize(before), "'", ...complete], partial];
    }
    if (!isWord(prefix)) return [[], prefix];
    const lastAlnum = codePoints(chunk).findLast(isAlnum) ?? "";
    // only the next character shows whether a punctuation mark is inside a word
    const next = /^\p{Nd}$/u.test(lastAlnum) ? "0" : "x";
    const complete = this.tokenize(chunk + next);
    const last = codePoints(complete.pop());
    const partial = codePoints(chunk).slice(Math.max(codePoints(chunk).length + 1 - last.length, 0)).join("");
    if ((partial + next).toLowerCase() !== last.join("").toLowerCase() || !this.#continues(complete, partial)) {
      return [[], prefix];
    }
    const all = [...this.tokenize(before), ...complete];
    return all.length ? [all, partial] : [[], prefix];
  }

  #continues(complete, partial) {
    if (complete.every((word) => !isWord(word) && this.opening.has(codePoints(word)[0]))) return true;
    const last = complete.at(-1);
    if (last === "@,@" || last === "@.@") return /^\p{Nd}+$/u.test(partial);
    if (partial.startsWith("'")) return isAlnum(lastChar(last));
    return this.inner.has(last) && complete.at(-2) !== last && !complete.some((word) => this.symbols.has(word));
  }

  #replaceAddresses(text) {
    if (!this.addressSigns.test(text)) return text;
    return text.replace(this.addresses, (match, ...rest) => {
      const groups = rest.at(-1);
      const kind = `<${Object.keys(groups).find((name) => groups[name] !== undefined)}>`;
      return this.vocabulary.has(kind) ? ` ${kind} ` : match;
    });
  }

  *#chunk(chunk) {
    const known = this.vocabulary.find(chunk);
    if (known !== undefined && chunk !== EOS) {
      yield known;
      return;
    }
    const characters = codePoints(chunk);
    const first = characters.findIndex(isAlnum);
    if (first >= 0) {
      const last = characters.findLastIndex(isAlnum);
      const inner = this.#findIgnoringCase(characters.slice(first, last + 1).join(""));
      if (inner !== undefined) {
        yield* this.#moses(characters.slice(0, first));
        yield inner;
        yield* this.#moses(characters.slice(last + 1));
        return;
      }
    }
    for (const word of this.#moses(characters)) yield this.#findIgnoringCase(word) ?? word;
  }

  *#moses(characters) {
    for (let start = 0; start < characters.length; start += MAX_MOSES_CHARS) {
      yield* this.tokenizer.split(characters.slice(start, start + MAX_MOSES_CHARS).join(""));
    }
  }

  #findIgnoringCase(word) {
    const lower = word.toLowerCase();
    const [first, ...rest] = codePoints(lower);
    for (const form of [word, lower, (first ?? "").toUpperCase() + rest.join(""), word.toUpperCase()]) {
      const known = this.vocabulary.find(form);
      if (known !== undefined) return known;
    }
    return undefined;
  }
}

