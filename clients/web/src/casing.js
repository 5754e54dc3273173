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

/** A word with the capitals that its typed start suggests: "Th" and "the" give "The", "TH" gives "THE". */
export function applyTypedCase(typed, word) {
  if (isAllCapitals(typed)) return word.toUpperCase();
  const [first = ""] = codePoints(typed);
  const [own = "", ...rest] = codePoints(word);
  return isUpper(first) && casefold(first) === casefold(own) ? first + rest.join("") : word;
}

function isAllCapitals(typed) {
  return (typed.match(/\p{L}/gu)?.length ?? 0) > 1 && isUpper(typed);
}
