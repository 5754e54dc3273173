// From the probabilities of the next word to suggestions.

import { applyFirstCase, applyPrefixCase, capitalized } from "./casing.js";
import { casefold, codePoints, isAlnum, isWord, withoutAccents } from "./text.js";
import { hasPrefix } from "./word_index.js";

/** Which suggestions a request allows. Lists compare with the text that would be shown, ignoring case. */
export class WordFilters {
  constructor(lead, { words_only: wordsOnly = false, allow = null, deny = [] }, index, blocked) {
    this.index = index;
    this.wordsOnly = wordsOnly;
    this.blocked = blocked;
    const chunk = codePoints(casefold(lead.slice(lead.lastIndexOf(" ") + 1)));
    const first = chunk.findIndex(isAlnum);
    const start = first < 0 ? "" : chunk.slice(first).join("");
    const rest = (words) => new Set([...words].filter((word) => word.startsWith(start)).map((word) => word.slice(start.length)));
    this.deny = rest(deny.map((word) => index.normalized(word)));
    if (start) for (const word of rest(blocked)) this.deny.add(word);
    this.allow = allow && rest(allow.map((word) => index.normalized(word)));
  }

  allows(word) {
    const key = this.index.normalized(word);
    return (isWord(word) || !this.wordsOnly) && (!this.allow || this.allow.has(key)) && !this.deny.has(key) && !this.blocked.has(key);
  }

  /** Sets the probabilities of candidates that are not allowed to 0. */
  apply({ texts, areWords }, probs) {
    if (this.allow) {
      const forms = new Map();
      texts.forEach((text, i) => {
        const key = casefold(text);
        if (this.allow.has(key)) forms.set(key, [...(forms.get(key) ?? []), i]);
      });
      const all = probs.slice();
      probs.fill(0);
      // the forms that differ in case are one suggestion, in the more probable case
      for (const positions of forms.values()) {
        const likeliest = positions.reduce((a, b) => (all[b] > all[a] ? b : a));
        probs[likeliest] = positions.reduce((sum, i) => sum + all[i], 0);
      }
    }
    for (let i = 0; i < texts.length; i += 1) {
      if ((this.wordsOnly && !areWords[i]) || (this.deny.size && this.deny.has(casefold(texts[i])))) probs[i] = 0;
    }
  }
}

/** Suggestions of one kind: `{texts, probs}`, 0 for one that is not allowed. `oov`: words outside the vocabulary. */
export function score(candidates, probs, oov, filters) {
  const { ids, weights, groups, positions } = candidates;
  let { texts } = candidates;
  let sums = new Float64Array(texts.length);
  for (let i = 0; i < ids.length; i += 1) sums[groups[i]] += probs[ids[i]] * weights[i];
  filters.apply(candidates, sums);
  const added = [...oov].filter(([word]) => !positions.has(word));
  for (const [word, prob] of oov) if (positions.has(word)) sums[positions.get(word)] += prob;
  if (added.length) {
    texts = [...texts, ...added.map(([word]) => word)];
    sums = Float64Array.from([...sums, ...added.map(([, prob]) => prob)]);
  }
  return { texts, probs: sums };
}

export const times = ({ texts, probs }, weight) => ({ texts, probs: probs.map((prob) => prob * weight) });

export function count({ probs }) {
  let found = 0;
  for (const prob of probs) if (prob !== 0) found += 1;
  return found;
}

/** The `k` most probable as `[text, prob]`; of equal ones, the earlier first. */
export function best({ texts, probs }, k) {
  const top = [];
  let least = 0;
  for (let i = 0; i < probs.length; i += 1) {
    const prob = probs[i];
    if (prob <= least) continue;
    let at = top.length;
    while (at > 0 && probs[top[at - 1]] < prob) at -= 1;
    top.splice(at, 0, i);
    if (top.length > k) top.pop();
    if (top.length === k) least = probs[top[k - 1]];
  }
  return top.map((i) => [texts[i], probs[i]]);
}

/** Words outside the vocabulary that begin with `prefix`, in the typed case. */
export function complete(oov, prefix, capital) {
  return summed([...oov].filter(([word]) => hasPrefix(word, prefix)), capital, (word) => applyPrefixCase(prefix, word, oov));
}

export function completeUnaccented(oov, prefix, capital) {
  const plain = withoutAccents(prefix);
  const matches = [...oov].filter(([word]) => prefix && hasPrefix(withoutAccents(word), plain) && !hasPrefix(word, prefix));
  return summed(matches, capital, (word) => applyFirstCase(prefix, word));
}

function summed(matches, capital, spell) {
  const sums = new Map();
  for (const [word, prob] of matches) {
    const text = capital ? capitalized(spell(word)) : spell(word);
    sums.set(text, (sums.get(text) ?? 0) + prob);
  }
  return sums;
}

/** The `k` best in the order in which they are shown, with normalized probabilities. */
export function arrange(k, exact, others, typed, typedWord, contraction, barSize) {
  let total = exact.probs.reduce((sum, prob) => sum + prob, 0);
  let shown = best(exact, k + 1);
  const own = shown.find(([text]) => text === typed);
  if (own && typedWord !== "ranked") {
    shown = shown.filter((entry) => entry !== own);
    if (typedWord === "last") shown.push(own);
  }
  if (contraction !== null) {
    const prob = exact.probs[exact.texts.indexOf(contraction)];
    if (prob > 0 && !shown.slice(0, barSize).some(([text]) => text === contraction)) {
      shown = shown.filter(([text]) => text !== contraction);
      shown.splice(barSize - 1, 0, [contraction, prob]);
    }
  }
  const seen = new Set();
  for (const scores of others) {
    const added = best(scores, scores.texts.length).filter(([text]) => !seen.has(text));
    shown.push(...added);
    total += added.reduce((sum, [, prob]) => sum + prob, 0);
    for (const text of scores.texts) seen.add(text);
  }
  return shown.slice(0, k).map(([text, prob]) => [text, prob / total]);
}

/** Mixes in a person's own words; see lstm_lm/inference/user_words.py. */
export function addUserWords(probs, oov, words, { max_share: maxShare, half }, normalizer) {
  const entries = Object.entries(words);
  const total = entries.reduce((sum, [, times_]) => sum + times_, 0);
  const share = (maxShare * total) / (total + half);
  const mixed = new Map([...oov].map(([word, prob]) => [word, (1 - share) * prob]));
  for (const [word, times_] of entries) {
    const text = normalizer.normalize(word);
    mixed.set(text, (mixed.get(text) ?? 0) + (share * times_) / total);
  }
  return [probs.map((prob) => (1 - share) * prob), mixed];
}
