// Prefix index of a vocabulary: the words that a prefix can become, as they are shown.

import { applyTypedCase, capitalized } from "./casing.js";
import { casefold, codePoints, isLetters, isWord, withoutAccents } from "./text.js";

const AFTER_ALL = "\u{10ffff}";
const LETTERS = [..."abcdefghijklmnopqrstuvwxyz'"];

/** Whether `word` starts with `prefix`, ignoring case. */
export function hasPrefix(word, prefix) {
  if (prefix === "") return true;
  return casefold(codePoints(word).slice(0, codePoints(prefix).length).join("")) === casefold(prefix);
}

export class WordIndex {
  constructor(rules, vocabulary, normalizer) {
    this.infixes = rules.infixes;
    this.normalizer = normalizer;
    this.corrections_ = rules.corrections;
    this.correctionWeight = rules.ranking.correction_weight;
    const blocked = new Set(rules.blocked);
    const left = new Map();
    for (const [, id, share] of rules.contractions) left.set(id, (left.get(id) ?? 1) - share);
    const entries = vocabulary.words.map((word, id) => [normalizer.normalize(this.surfaceForm(word)), id, left.get(id) ?? 1]);
    const all = [...entries.filter(([, id]) => !vocabulary.special.has(id)), ...rules.contractions]
      .filter(([, , weight]) => weight > 0)
      .map(([text, id, weight]) => ({ key: casefold(text), word: casefold(text), text, id, weight }))
      .filter(({ key }) => !blocked.has(key));
    this.entries = all.sort(byKey);
    const whole = new Set(rules.contractions.map(([text]) => text));
    const rekeyed = (entries, rekey) => entries.map((entry) => ({ ...entry, key: rekey(entry.key) })).sort(byKey);
    const contractions = this.entries.filter(({ text }) => whole.has(text));
    const accented = this.entries.filter(({ key }) => withoutAccents(key) !== key);
    this.noApostrophe = rekeyed(contractions, (key) => key.replaceAll("'", ""));
    this.noAccent = rekeyed(accented, withoutAccents);
    this.everything = [false, true].map((capital) => group(this.entries.map((entry) => [entry, shown(entry.text, capital)])));
  }

  surfaceForm(word) {
    return this.infixes[word] ?? word;
  }

  /** The form in which lists of words are compared: equal for "The" and "the", "-" and "@-@". */
  normalized(word) {
    return casefold(this.normalizer.normalize(this.surfaceForm(word)));
  }

  /** Candidates that start with a normalized prefix. */
  candidates(prefix, capital = false) {
    if (prefix === "") return this.everything[Number(capital)];
    const folded = casefold(prefix);
    const matches = starting(this.entries, folded)
      .filter(({ text }) => hasPrefix(text, prefix))
      .map((entry) => [entry, shown(applyTypedCase(prefix, entry.text), capital)]);
    let contraction = null;
    for (const entry of starting(this.noApostrophe, folded)) {
      if (hasPrefix(entry.text, prefix)) continue;
      matches.push([entry, shown(applyTypedCase(prefix, entry.text), capital)]);
      if (entry.key === folded) contraction = entry.word;
    }
    return { ...this.#group(matches, prefix), contraction };
  }

  /** Candidates that start with the prefix only if accents are ignored. */
  unaccented(prefix, capital) {
    const folded = casefold(prefix);
    const plain = withoutAccents(folded);
    const entries = plain ? starting(this.noAccent, plain) : [];
    if (plain !== folded) entries.push(...starting(this.entries, plain));
    return this.#respelled(entries, prefix, capital);
  }

  isCorrectable(prefix) {
    const { min_length: min, max_length: max } = this.corrections_;
    const { length } = codePoints(prefix);
    return length >= min && length <= max && isLetters(prefix);
  }

  /** The most probable candidates that start with the prefix after one edit. */
  corrections(prefix, capital, probs) {
    const positions = new Set();
    for (const [begin, end] of editedRanges(this.entries, casefold(prefix))) {
      for (let i = begin; i < end; i += 1) positions.add(i);
    }
    const prob = ({ id, weight }) => probs[id] * weight;
    const likely = [...positions].sort((a, b) => a - b).map((i) => this.entries[i]);
    likely.sort((a, b) => prob(b) - prob(a));
    return this.#respelled(likely.slice(0, this.corrections_.max_candidates), prefix, capital);
  }

  #respelled(entries, prefix, capital) {
    const others = entries.filter((entry) => !hasPrefix(entry.text, prefix));
    return this.#group(others.map((entry) => [entry, shown(applyTypedCase(prefix, entry.text), capital)]), prefix);
  }

  // beside other forms of the same word, one counts less if it has not the typed case
  #group(matches, prefix) {
    return { ...group(matches), caseWeight: (text) => (text.startsWith(prefix) ? 1 : this.correctionWeight) };
  }
}

// Norvig 2007; as lstm_lm/text/edits.py: where no word begins with the letters before an edit, none begins with the edit
function* editedRanges(entries, prefix) {
  let range = [0, entries.length];
  const letters = codePoints(prefix);
  function* startingWith(text) {
    const first = bisect(entries, text, ...range);
    if (first < range[1] && entries[first].key.startsWith(text)) yield [first, bisect(entries, text + AFTER_ALL, first, range[1])];
  }
  for (let position = 0; position < letters.length; position += 1) {
    const head = letters.slice(0, position).join("");
    const tail = letters.slice(position);
    const [first, second, ...rest] = tail;
    range = [...startingWith(head)][0] ?? [0, 0];
    for (const letter of range[0] < range[1] ? LETTERS : []) {
      if (letter === first) continue;
      for (const inner of startingWith(head + letter)) {
        const outer = range;
        range = inner;
        yield* startingWith(head + letter + tail.join(""));
        yield* startingWith(head + letter + tail.slice(1).join(""));
        range = outer;
      }
    }
    if (tail.length > 1) {
      yield* startingWith(head + tail.slice(1).join(""));
      yield* startingWith(head + second + first + rest.join(""));
    } else if (range[0] < range[1] && entries[range[0]].key === head) {
      yield [range[0], bisect(entries, `${head}\0`, ...range)];
    }
  }
}

function byKey(a, b) {
  if (a.key !== b.key) return a.key < b.key ? -1 : 1;
  if (a.text !== b.text) return a.text < b.text ? -1 : 1;
  return a.id - b.id || a.weight - b.weight;
}

function bisect(entries, key, low = 0, high = entries.length) {
  while (low < high) {
    const middle = (low + high) >> 1;
    if (entries[middle].key < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

function starting(entries, key) {
  const begin = bisect(entries, key);
  return entries.slice(begin, bisect(entries, key + AFTER_ALL, begin));
}

const shown = (text, capital) => (capital ? capitalized(text) : text);

/**
 * Candidates of entries: those with the same text are one.
 *
 * `texts`, `words` (in small letters) and `areWords` have one item per candidate; `ids`, `weights` and `groups` (the
 * entry's candidate) one per entry. `forms` has the candidates of each word, `repeated` those of words with several.
 */
function group(matches) {
  const positions = new Map();
  const texts = [];
  const words = [];
  const forms = new Map();
  const groups = new Int32Array(matches.length);
  matches.forEach(([{ word }, text], i) => {
    let position = positions.get(text);
    if (position === undefined) {
      position = texts.length;
      positions.set(text, position);
      texts.push(text);
      words.push(word);
      if (forms.has(word)) forms.get(word).push(position);
      else forms.set(word, [position]);
    }
    groups[i] = position;
  });
  return {
    texts,
    words,
    forms,
    repeated: [...forms.values()].filter((own) => own.length > 1),
    positions,
    groups,
    ids: Int32Array.from(matches, ([entry]) => entry.id),
    weights: Float64Array.from(matches, ([entry]) => entry.weight),
    areWords: texts.map(isWord),
    caseWeight: () => 1,
    contraction: null,
  };
}
