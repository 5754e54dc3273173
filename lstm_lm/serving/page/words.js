// Where a word begins, and how one is put into a text: pure functions on strings.

const WORD_END = /[\p{L}\p{N}\p{M}]*$/u;
const WORD_START = /^[\p{L}\p{N}\p{M}]*/u;
const CLITIC = /^['’]\p{L}/u;

/** The text before the word at `caret`, the part of it that is typed, and the part behind the caret. */
export function wordAt(value, caret) {
  const typed = value.slice(0, caret);
  let prefix = typed.match(WORD_END)[0];
  // in "don't" the corpus begins a new word at the apostrophe; in "'hello" it does not
  if (/[\p{L}\p{N}]['’]$/u.test(typed.slice(0, typed.length - prefix.length))) {
    prefix = typed.slice(typed.length - prefix.length - 1);
  }
  return {
    before: typed.slice(0, typed.length - prefix.length),
    prefix,
    rest: value.slice(caret).match(WORD_START)[0],
  };
}

/** The end of `text`, at most `limit` characters long, begun at a word. Characters as the service counts them. */
export function tail(text, limit) {
  const characters = Array.from(text);
  if (characters.length <= limit) return text;
  const end = characters.slice(-limit).join("");
  const space = end.search(/\s/);
  return space < 0 ? end : end.slice(space + 1);
}

/** How `word` is put in at `caret`: the range that it replaces, and what is written there. */
export function insertion(value, caret, word) {
  const { before, rest } = wordAt(value, caret);
  // "'s" belongs to the word before it
  const start = CLITIC.test(word) ? before.trimEnd().length : before.length;
  const end = caret + rest.length;
  const glued = start === before.length && /[\p{L}\p{N},.;:!?]$/u.test(before);
  const clitic = CLITIC.test(word);
  // a space that stands there already is taken along, so that the caret ends behind it
  const follows = value[end] === " ";
  return { start, end: follows ? end + 1 : end, text: `${glued && !clitic ? " " : ""}${word} ` };
}

/** Whether `character` stands right behind a word, with no space between. */
export function closesUp(character) {
  return character.length === 1 && ".,;:!?)".includes(character);
}
