// Words in a text: pure functions on strings.

const WORD_START = /^[\p{L}\p{N}\p{M}]*/u;

/** The end of `text`, at most `limit` code points as the service counts them, starting at a word. */
export function tail(text, limit) {
  const characters = Array.from(text);
  if (characters.length <= limit) return text;
  const end = characters.slice(-limit).join("");
  const space = end.search(/\s/);
  return space < 0 ? end : end.slice(space + 1);
}

/**
 * How to accept a suggestion at `caret`: the range to replace and its new text, with a space after it.
 *
 * @param suggestion `text` and `replaces` of the service's response.
 */
export function insertion(value, caret, { text, replaces }) {
  // the service counts code points
  const kept = Array.from(value.slice(0, caret));
  kept.length -= replaces;
  // the word may have been typed in the middle
  const end = caret + value.slice(caret).match(WORD_START)[0].length;
  // replace a space that follows, so that the caret ends behind it
  return { start: kept.join("").length, end: value[end] === " " ? end + 1 : end, text: `${text} ` };
}

/** Whether `character` follows a word without a space. */
export function attachesToWord(character) {
  return character.length === 1 && ".,;:!?)".includes(character);
}
