// Moses' English tokenizer and detokenizer with WikiText's tokens for numbers and hyphens: `don 't`, `1 @,@ 000`.
// The same rules as sacremoses (aggressive_dash_splits, no escapes), which the corpora are split with.

import { Normalizer, SPACE, codePoints, splitWords } from "./text.js";

export const UNK = "<unk>";
export const EOS = "<eos>";

const NUMBER = /^\p{Nd}+(?:[.,]\p{Nd}+)+$/u;
const MULTIDOT_MARKER = /(?:DOT)+MULTI/g;

export class Tokenizer {
  /** @param rules `rules.json` of a bundle. */
  constructor(rules) {
    const { alnum, alpha, number, lower, nonbreaking_prefixes: prefixes, numeric_prefixes: numeric } = rules.tokenizer;
    this.normalizer = new Normalizer(rules.normalize);
    this.letters = new Map(Object.entries(rules.tokenizer.special_letters));
    this.words_ = new Map([...this.letters].map(([word, letter]) => [letter, word]));
    this.special = new RegExp([...this.letters.keys()].join("|"), "gu");
    this.letter = new RegExp(`[${[...this.letters.values()].join("")}]`, "gu");
    this.onlyAlnum = new RegExp(`^[${alnum}]+$`, "u");
    this.isLower = new RegExp(`^[${lower}]$`, "u");
    this.hasAlpha = new RegExp(`[${alpha}]`, "u");
    this.prefixes = new Set(prefixes);
    this.numericPrefixes = new Set(numeric);
    const rule = (source, to) => [new RegExp(source, "gu"), to];
    this.separate = [
      rule(`([^${alnum}${SPACE}.'\`,\\-])`, " $1 "),
      rule(`([${alnum}])-(?=[${alnum}])`, "$1 @-@ "),
    ];
    this.commasAndApostrophes = [
      rule(`([^${number}]),`, "$1 , "),
      rule(`,([^${number}])`, " , $1"),
      // Python's $ also matches before a line break at the end
      rule(`([${number}]),$`, "$1 , "),
      rule(`([^${alpha}])'([^${alpha}])`, "$1 ' $2"),
      rule(`([^${alpha}${number}])'([${alpha}])`, "$1 ' $2"),
      rule(`([${alpha}])'([^${alpha}])`, "$1 ' $2"),
      rule(`([${alpha}])'([${alpha}])`, "$1 '$2"),
      rule(`([${number}])'(s)`, "$1 '$2"),
    ];
  }

  /** Words of one line of text, without `<eos>`. */
  words(line) {
    return this.split(this.normalizer.normalize(line));
  }

  /** As `words`, for a line that is normalized. */
  split(line) {
    if (this.onlyAlnum.test(line)) return [line];
    let special = false;
    line = line.replace(this.special, (word) => {
      special = true;
      return this.letters.get(word);
    });
    let text = this.#moses(line);
    if (special) text = text.replace(this.letter, (letter) => this.words_.get(letter));
    return splitWords(text).flatMap((word) => (NUMBER.test(word) ? numberParts(word) : [word]));
  }

  #moses(text) {
    text = splitWords(text).join(" ").replace(/[\x00-\x1f]/g, "").trim();
    for (const [pattern, to] of this.separate) text = text.replace(pattern, to);
    text = text.replace(/\.{2,}/g, (dots, offset, all) => {
      const marker = ` ${"DOT".repeat(dots.length)}MULTI`;
      return offset + dots.length < all.length ? `${marker} ` : marker;
    });
    for (const [pattern, to] of this.commasAndApostrophes) text = text.replace(pattern, to);
    text = this.#periods(splitWords(text)).replace(/\.' ?$/, " . ' ");
    return text.replace(MULTIDOT_MARKER, (marker) => ".".repeat((marker.length - 5) / 3));
  }

  #periods(tokens) {
    tokens.forEach((token, i) => {
      if (!token.endsWith(".") || token.length < 2) return;
      const prefix = token.slice(0, -1);
      const next = tokens[i + 1];
      const stays =
        (prefix.includes(".") && this.hasAlpha.test(prefix)) ||
        (this.prefixes.has(prefix) && !this.numericPrefixes.has(prefix)) ||
        (next !== undefined && this.isLower.test(codePoints(next)[0])) ||
        (this.numericPrefixes.has(prefix) && next !== undefined && /^[0-9]/.test(next));
      if (!stays) tokens[i] = `${prefix} .`;
    });
    return tokens.join(" ");
  }
}

function numberParts(number) {
  return splitWords(number.replace(/[.,]/g, " @$&@ "));
}

const QUOTE = /^['"„“`]+$/;
const CURLY = /^[„“”]+$/;
const PUNCTUATION = /^[,.?!:;\\%}\])]+$/;

export class Detokenizer {
  constructor(rules) {
    const { alpha, currency } = rules.tokenizer;
    // Moses changes no letters: an infix becomes one of the private use area
    this.infixes = new Map(Object.entries(rules.infixes).map(([word, sign], i) => [word, [String.fromCharCode(0xe000 + i), sign]]));
    this.signs = new Map(this.infixes.values());
    this.isCurrency = new RegExp(`^[${currency}([{¿¡]+$`, "u");
    this.isContraction = new RegExp(`^'[${alpha}]`, "u");
    this.cjk = rules.cjk;
  }

  /** Words as text: `<eos>` is a line break. */
  text(words) {
    const lines = [[]];
    for (const word of words) {
      if (word === EOS) lines.push([]);
      else lines.at(-1).push(word);
    }
    return lines.map((line) => this.#line(line)).join("\n");
  }

  #line(words) {
    const tokens = splitWords(words.map((word) => this.infixes.get(word)?.[0] ?? word).join(" "));
    const counts = new Map();
    let text = "";
    let space = " ";
    tokens.forEach((token, i) => {
      if (this.#isCjk(codePoints(token)[0])) {
        text += i > 0 && this.#isCjk(codePoints(tokens[i - 1]).at(-1)) ? token : space + token;
        space = " ";
      } else if (this.isCurrency.test(token)) {
        text += space + token;
        space = "";
      } else if (PUNCTUATION.test(token)) {
        text += token;
        space = " ";
      } else if (i > 0 && this.isContraction.test(token)) {
        text += token;
        space = " ";
      } else if (QUOTE.test(token)) {
        const kind = CURLY.test(token) ? '"' : token;
        const count = counts.get(kind) ?? 0;
        if (count % 2 === 0 && token === "'" && i > 0 && tokens[i - 1].endsWith("s")) {
          text += token;
          space = " ";
          return;
        }
        text += count % 2 === 0 ? space + token : token;
        space = count % 2 === 0 ? "" : " ";
        counts.set(kind, count + 1);
      } else {
        text += space + token;
        space = " ";
      }
    });
    const merged = text.replace(/ {2,}/g, " ").trim();
    return merged.replace(/ ?([\ue000-\ue002]) ?/g, (_, placeholder) => this.signs.get(placeholder));
  }

  #isCjk(char) {
    const code = char.codePointAt(0);
    const range = this.cjk.find(([, end]) => code <= end);
    return range !== undefined && code >= range[0];
  }
}
