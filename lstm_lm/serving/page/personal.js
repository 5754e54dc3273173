// A person's own words, in this browser only: names and slang that the model does not know, earlier texts, blocked words.

export const STORAGE_KEY = "lstm_lm words";
// limits of the service
const MAX_WORDS = 5000;
const MAX_BLOCKED = 1000;
// what one request sends of them: a few kilobytes for each keystroke
const MAX_SENT = 300;
const MAX_RECENT = 50;
const MAX_RECENT_CHARS = 2000;
const MAX_COUNT = 1e9;
// used once, it may be a typing error
const LEARNED_AFTER = 2;
// not numbers, addresses or passwords with signs
const WORD = /^\p{L}[\p{L}\p{M}'-]{0,39}$/u;
const CHUNK = /\S+(?=\s)/gu;
const PART = /\p{L}[\p{L}\p{M}'’]*/gu;
const POSSESSIVE = /'s$/;

/** The words, texts and blocked words of one person. Changes are saved at once; without storage they last for a visit. */
export class PersonalWords {
  constructor(storage = safeStorage()) {
    this.storage = storage;
    this.onChange = () => {};
    // the text up to which words were counted
    this.counted = "";
    this.reload();
  }

  /** Reads what is stored, perhaps by another tab. */
  reload() {
    let stored = null;
    try {
      stored = JSON.parse(this.storage?.getItem(STORAGE_KEY) ?? "null");
    } catch {
      // damaged: start again
    }
    this.learning = stored?.learning !== false;
    this.words = new Map();
    this.recent = [];
    this.blocked = new Set();
    if (stored) this.#merge(stored);
    this.onChange();
  }

  setLearning(learning) {
    this.learning = learning;
    this.#save();
  }

  /** Fields of a request for the text before the caret. */
  fields(typed) {
    const fields = {};
    if (this.blocked.size) fields.deny = [...this.blocked];
    if (!this.learning) return fields;
    fields.cache = true;
    const words = this.#matching(typed);
    if (words.length) fields.user_words = Object.fromEntries(words);
    if (this.recent.length) fields.recent = this.recent;
    return fields;
  }

  /**
   * Counts the unknown words that are complete in a text that grew since the last call.
   *
   * @param typed the text before the caret.
   * @param unknown words of the text that the model does not know.
   */
  read(typed, unknown) {
    if (!this.learning) return;
    if (!typed.startsWith(this.counted)) {
      if (this.counted.startsWith(typed)) return; // deleted: typing it again counts nothing
      this.counted = commonStart(this.counted, typed);
    }
    const start = this.counted.length;
    let changed = false;
    for (const { 0: chunk, index } of typed.matchAll(CHUNK)) {
      const end = index + chunk.length;
      if (end <= start) continue;
      this.counted = typed.slice(0, end);
      // the rest of a word that was counted
      if (index < start) continue;
      for (const part of chunk.match(PART) ?? []) {
        const word = spelled(part).replace(POSSESSIVE, "");
        if (unknown.includes(word) && WORD.test(word)) {
          this.#count(word);
          changed = true;
        }
      }
    }
    if (changed) this.#save();
  }

  /** Marks a text as one whose words do not count: pasted or generated. */
  skip(typed) {
    this.counted = typed;
  }

  /** Keeps a finished text of several words. */
  finish(text) {
    const kept = text.trim().slice(-MAX_RECENT_CHARS);
    if (!this.learning || !/\s/.test(kept)) return;
    // a text that was finished before and went on
    const others = this.recent.filter((other) => !kept.startsWith(other));
    this.recent = newest([...others, kept]);
    this.#save();
  }

  block(word) {
    this.blocked.delete(word);
    this.blocked.add(word);
    while (this.blocked.size > MAX_BLOCKED) this.blocked.delete(this.blocked.values().next().value);
    this.#save();
  }

  unblock(word) {
    this.blocked.delete(word);
    this.#save();
  }

  forgetWord(word) {
    this.words.delete(word);
    // or an earlier text suggests it again
    this.recent = this.recent.filter((text) => !text.includes(word));
    this.#save();
  }

  forgetAll() {
    this.words.clear();
    this.recent = [];
    this.blocked.clear();
    this.#save();
  }

  /** Everything, with the names that the service and `lstm-lm predict --personal` use. */
  toJSON() {
    return { user_words: Object.fromEntries(this.words), recent: this.recent, deny: [...this.blocked] };
  }

  /** Adds what `toJSON` returned. Throws an Error for anything else. */
  import(text) {
    let data;
    try {
      data = JSON.parse(text);
    } catch {
      throw new Error("The file is not JSON. Choose a file that Export wrote.");
    }
    const known = ["user_words", "recent", "deny"];
    if (!data || typeof data !== "object" || !known.some((name) => name in data)) {
      throw new Error("The file has no words. Choose a file that Export wrote.");
    }
    this.#merge(data);
    this.#save();
  }

  /** Learned words and their counts, most used first. */
  learned() {
    return this.#learned().reverse().sort(([, a], [, b]) => b - a);
  }

  #learned() {
    return [...this.words].filter(([, count]) => count >= LEARNED_AFTER);
  }

  #count(word) {
    const count = this.words.get(word) ?? 0;
    // the words are in the order of their last use
    this.words.delete(word);
    this.words.set(word, Math.min(count + 1, MAX_COUNT));
    this.#bound();
  }

  #bound() {
    while (this.words.size > MAX_WORDS) {
      let least = null;
      for (const [word, count] of this.words) if (least === null || count < this.words.get(least)) least = word;
      this.words.delete(least);
    }
  }

  // those that the half-typed word may become, most used first; before a word, the most used ones
  #matching(typed) {
    const partial = plain(/\S*$/u.exec(typed)[0].replace(/^[^\p{L}]+/u, ""));
    const words = this.learned();
    return (partial ? words.filter(([word]) => plain(word)[0] === partial[0]) : words).slice(0, MAX_SENT);
  }

  #merge({ user_words: words, recent, deny }) {
    for (const [word, count] of Object.entries(words ?? {})) {
      if (!WORD.test(word) || !(count > 0 && count <= MAX_COUNT)) continue;
      this.words.set(word, Math.max(count, this.words.get(word) ?? 0));
    }
    this.#bound();
    const texts = (Array.isArray(recent) ? recent : []).filter((text) => typeof text === "string");
    this.recent = newest([...new Set([...this.recent, ...texts])]);
    const blocked = (Array.isArray(deny) ? deny : []).filter((word) => typeof word === "string" && word.length <= 100);
    this.blocked = new Set([...this.blocked, ...blocked].slice(-MAX_BLOCKED));
  }

  #save() {
    try {
      this.storage?.setItem(STORAGE_KEY, JSON.stringify({ learning: this.learning, ...this.toJSON() }));
    } catch {
      // storage is full or forbidden: the words last for this visit
    }
    this.onChange();
  }
}

function safeStorage() {
  try {
    return localStorage;
  } catch {
    return null;
  }
}

function newest(texts) {
  const kept = [];
  let left = MAX_RECENT_CHARS;
  for (const text of texts.slice(-MAX_RECENT).reverse()) {
    left -= text.length;
    if (left < 0) break;
    kept.unshift(text);
  }
  return kept;
}

// as the service spells unknown words
function spelled(word) {
  return word.normalize("NFC").replaceAll("’", "'").replace(/'+$/, "");
}

function commonStart(a, b) {
  let length = 0;
  while (length < a.length && a[length] === b[length]) length += 1;
  return a.slice(0, length);
}

function plain(text) {
  return text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
}
