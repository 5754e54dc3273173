// Unicode as Python sees it, and the one spelling in which text is matched.

/** Characters that Python's `str.split` and `\s` take as white space. */
export const SPACE = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const SPACES = new RegExp(`[${SPACE}]+`, "u");
const IS_SPACE = new RegExp(`^[${SPACE}]+$`, "u");
const LEADING = new RegExp(`^[${SPACE}]+`, "u");
const TRAILING = new RegExp(`[${SPACE}]+$`, "u");
const ALNUM = /[\p{L}\p{N}]/u;
const ONLY_LETTERS = /^\p{L}+$/u;
const NOT_ASCII = /[^\x00-\x7f]/;
const NOT_DOTLESS_I = /[^ı]+/gu; // its capital is that of i

export const isSpace = (text) => IS_SPACE.test(text);
export const splitWords = (text) => text.split(SPACES).filter(Boolean);
export const trimStart = (text) => text.replace(LEADING, "");
export const trimEnd = (text) => text.replace(TRAILING, "");
/** Whether `text` has a letter or digit, so that it is not punctuation or a symbol. */
export const isWord = (text) => ALNUM.test(text);
export const isAlnum = (char) => char !== "" && ALNUM.test(char);
export const isLetters = (text) => ONLY_LETTERS.test(text);
export const isAscii = (text) => !NOT_ASCII.test(text);
export const codePoints = (text) => Array.from(text);
export const firstChar = (text) => (text === "" ? "" : String.fromCodePoint(text.codePointAt(0)));
export const lastChar = (text) => codePoints(text.slice(-2)).at(-1) ?? "";

/** Python's `str.casefold` (apart from Cherokee): the small letters of the capitals, so that "ß" is "ss". */
export const casefold = (text) => (isAscii(text) ? text.toLowerCase() : text.replace(NOT_DOTLESS_I, fold));
const fold = (part) => part.toLowerCase().toUpperCase().toLowerCase().replaceAll("ς", "σ");

export const isUpper = (text) => text === text.toUpperCase() && text !== text.toLowerCase();
export const isLower = (text) => text === text.toLowerCase() && text !== text.toUpperCase();

/** Python's `str.title` of one character. */
export function titled(char) {
  const [first, ...rest] = char.toUpperCase();
  return first + rest.join("").toLowerCase();
}

/** `text` without diacritics: "Beyoncé" is "Beyonce". */
export const withoutAccents = (text) =>
  isAscii(text) ? text : text.normalize("NFD").replace(/\p{Mn}/gu, "");

/** Whether `char` is a mark that belongs to the letter before it. */
export const isCombining = (char) => /^[\p{Mn}\p{Mc}]$/u.test(char);

/** A pattern of Python's `re` for str as one of JavaScript. */
export function pythonPattern(source, flags = "u") {
  const translated = source
    .replaceAll("(?P<", "(?<")
    .replace(/\\([wdsS"'])/g, (_, kind) => CLASSES[kind] ?? kind)
    .replace(/\[\^?(?:\\.|[^\]\\])*\]/g, (found) => found.replace(NESTED, "$1"));
  return new RegExp(translated, flags);
}

const CLASSES = { w: "[\\p{L}\\p{N}_]", d: "[\\p{Nd}]", s: `[${SPACE}]`, S: `[^${SPACE}]` };
const NESTED = /(?!^)\[(\\p[^\]]*|[^\]]*_|\\t-[^\]]*)\]/g;

/** Normalization with the tables of a bundle's rules. */
export class Normalizer {
  constructor({ apostrophes, ignorable }) {
    this.apostrophes = new RegExp(`[${apostrophes}]`, "gu");
    this.ignorable = new RegExp(`[${ignorable}]`, "gu");
  }

  /** NFC with straight apostrophes, without ignorable characters. */
  normalize(text) {
    return isAscii(text) ? text : this.clean(text).replace(this.apostrophes, "'");
  }

  /** As `normalize`, but each apostrophe stays as typed. */
  clean(text) {
    return isAscii(text) ? text : text.replace(this.ignorable, "").normalize("NFC");
  }

  /** The apostrophe that `texts` use last, from the first text that has a sign other than "'". */
  typedApostrophe(...texts) {
    for (const text of texts) {
      const sign = text.match(this.apostrophes)?.at(-1);
      if (sign) return "\u2018\u201b".includes(sign) ? "\u2019" : sign;
    }
    return "'";
  }
}
