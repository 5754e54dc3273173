// Sentence starts and capital letters.

import { casefold, codePoints, isAscii, isLower, isUpper, titled } from "./text.js";
import { EOS } from "./tokenizer.js";

const EMOJI = /^[\p{So}\p{Sk}]+$/u;

/** Whether the word after `words` starts a sentence. `skipped`: quotes and brackets between two sentences. */
export function startsSentence(words, skipped) {
  const last = words.findLast((word) => !skipped.has(word) && (isAscii(word) || !EMOJI.test(word)));
  return last === undefined || last === EOS || last === "." || /^[!?]+$/.test(last);
}

/** A word at the start of a sentence: "the" is "The"; "iPhone" and "'s" stay. */
export function capitalized(word) {
  const [first = "", ...rest] = codePoints(word);
  const tail = rest.join("");
  return isLower(first) && tail === tail.toLowerCase() ? titled(first) + tail : word;
}

/** A word as completion of a prefix: "Th" gives "The", "TH" gives "THE", "lon" gives "London". */
export function applyPrefixCase(prefix, word, known) {
  if (isAllCapitals(prefix)) return word.toUpperCase();
  const typed = prefix + codePoints(word).slice(codePoints(prefix).length).join("");
  return known.has(typed) ? typed : applyFirstCase(prefix, word);
}

/** A word with the capitals of what was typed, which may be spelled differently: "Teh" and "the" give "The". */
export function applyFirstCase(typed, word) {
  if (isAllCapitals(typed)) return word.toUpperCase();
  const [first = ""] = codePoints(typed);
  const [own = "", ...rest] = codePoints(word);
  return isUpper(first) && casefold(first) === casefold(own) ? first + rest.join("") : word;
}

function isAllCapitals(typed) {
  return (typed.match(/\p{L}/gu)?.length ?? 0) > 1 && isUpper(typed);
}
