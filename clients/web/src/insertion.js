// How a suggestion joins the text before it.

import { codePoints, lastChar, trimEnd } from "./text.js";

export class Inserter {
  constructor({ closing, opening, dashes }) {
    this.closing = new Set(closing);
    this.opening = new Set(opening);
    this.dashes = new Set(dashes);
  }

  /** How to put `word` after `text`, in place of `typed`: `{text, replaces, space_before}`. */
  insertion(text, typed, word) {
    const spaced = text.endsWith(" ");
    if (typed) {
      const needs = this.#needsSpace(text, word);
      return result(needs ? ` ${word}` : word, codePoints(typed).length, needs || spaced);
    }
    const before = text.replace(/ +$/, "");
    if (spaced && trimEnd(lastChar(before)) && this.#attaches(before, word)) {
      return result(word, text.length - before.length, false);
    }
    const needs = this.#needsSpace(text, word);
    return result(needs ? ` ${word}` : word, 0, needs || spaced);
  }

  #needsSpace(text, word) {
    // two code points, of which each may be two units
    const end = codePoints(text.slice(-4));
    const [last, before] = [end.at(-1) ?? "", end.at(-2) ?? ""];
    if (!trimEnd(last) || this.opening.has(last) || this.#attaches(text, word)) return false;
    if (this.dashes.has(last)) return !trimEnd(before);
    if (last === '"') return !isQuoting(text);
    return !"'’".includes(last) || trimEnd(before) !== "";
  }

  #attaches(text, word) {
    const [first = "", second] = codePoints(word);
    if (this.closing.has(first) || word === "-") return true;
    if (first === '"') return isQuoting(text);
    return "'’".includes(first) && (second === undefined || /\p{L}/u.test(second));
  }
}

function isQuoting(text) {
  return (text.slice(text.lastIndexOf("\n") + 1).match(/"/g)?.length ?? 0) % 2 === 1;
}

function result(text, replaces, space) {
  return { text, replaces, space_before: space };
}
