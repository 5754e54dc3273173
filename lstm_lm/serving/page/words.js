// Word boundaries and insertion of words: pure functions on strings.

const WORD_END = /[\p{L}\p{N}\p{M}]*$/u;
const WORD_START = /^[\p{L}\p{N}\p{M}]*/u;
const CLITIC = /^['’]\p{L}/u;

/** The text before the word at `caret`, the word's part before the caret, and its part after the caret. */
export function wordAt(value, caret) {
  const typed = value.slice(0, caret);
  let prefix = typed.match(WORD_END)[0];
  // the corpus splits "don't" at the apostrophe, but not "'hello"
  if (/[\p{L}\p{N}]['’]$/u.test(typed.slice(0, typed.length - prefix.length))) {
    prefix = typed.slice(typed.length - prefix.length - 1);
  }
  return {
    before: typed.slice(0, typed.length - prefix.length),
    prefix,
    rest: value.slice(caret).match(WORD_START)[0],
  };
}

/** The end of `text`, at most `limit` code points as the service counts them, starting at a word. */
export function tail(text, limit) {
  const characters = Array.from(text);
  if (characters.length <= limit) return text;
  const end = characters.slice(-limit).join("");
  const space = end.search(/\s/);
  return space < 0 ? end : end.slice(space + 1);
}

/** How to insert `word` at `caret`: the range to replace and its new text. */
export function insertion(value, caret, word) {
  const { before, rest } = wordAt(value, caret);
  const clitic = CLITIC.test(word);
  // "'s" attaches to the word before it
  const start = clitic ? before.trimEnd().length : before.length;
  const end = caret + rest.length;
  const needsSpace = start === before.length && /[\p{L}\p{N},.;:!?]$/u.test(before);
  // replace a space that follows, so that the caret ends behind it
  const spaceFollows = value[end] === " ";
  return { start, end: spaceFollows ? end + 1 : end, text: `${needsSpace && !clitic ? " " : ""}${word} ` };
}

/** Whether `character` follows a word without a space. */
export function attachesToWord(character) {
  return character.length === 1 && ".,;:!?)".includes(character);
}
