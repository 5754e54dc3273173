// From the probabilities of the next word to suggestions.

import { applyTypedCase, capitalized } from "./casing.js";
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
  apply({ words, areWords }, probs) {
    if (!this.wordsOnly && !this.allow && !this.deny.size) return;
    words.forEach((word, i) => {
      if ((this.wordsOnly && !areWords[i]) || (this.allow && !this.allow.has(word)) || this.deny.has(word)) probs[i] = 0;
    });
  }
}

/**
 * Suggestions of one kind: `{texts, probs}`, 0 for one that is not allowed. `oov`: words outside the vocabulary.
 *
 * Of the forms of a word that differ only in case, the most probable one takes all, where the typed case is evidence.
 */
export function score(candidates, probs, oov, filters) {
  const { ids, weights, groups, positions, forms, repeated, caseWeight } = candidates;
  let { texts } = candidates;
  let sums = new Float64Array(texts.length);
  for (let i = 0; i < ids.length; i += 1) sums[groups[i]] += probs[ids[i]] * weights[i];
  const added = [...oov].filter(([word]) => !positions.has(word));
  for (const [word, prob] of oov) if (positions.has(word)) sums[positions.get(word)] += prob;
  if (added.length) {
    const cases = new Map();
    added.forEach(([word], i) => cases.set(casefold(word), [...(cases.get(casefold(word)) ?? []), texts.length + i]));
    texts = [...texts, ...added.map(([word]) => word)];
    sums = Float64Array.from([...sums, ...added.map(([, prob]) => prob)]);
    for (const [word, own] of cases) mergeCases([...own, ...(forms.get(word) ?? [])], sums, texts, caseWeight);
  }
  for (const own of repeated) mergeCases(own, sums, texts, caseWeight);
  filters.apply(candidates, sums);
  return { texts, probs: sums };
}

function mergeCases(forms, probs, texts, caseWeight) {
  const weighted = (i) => probs[i] * caseWeight(texts[i]);
  const likeliest = forms.reduce((a, b) => (weighted(b) > weighted(a) ? b : a));
  const sum = forms.reduce((total, i) => total + probs[i], 0);
  for (const i of forms) probs[i] = 0;
  probs[likeliest] = sum;
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
  return summed([...oov].filter(([word]) => hasPrefix(word, prefix)), capital, (word) => applyTypedCase(prefix, word));
}

export function completeUnaccented(oov, prefix, capital) {
  const plain = withoutAccents(prefix);
  const matches = [...oov].filter(([word]) => prefix && hasPrefix(withoutAccents(word), plain) && !hasPrefix(word, prefix));
  return summed(matches, capital, (word) => applyTypedCase(prefix, word));
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
  const own = shown.find(([text]) => text === typed && typedWord !== "ranked");
  if (own) shown = shown.filter((entry) => entry !== own);
  if (contraction !== null) {
    const [text, prob] = [exact.texts[contraction], exact.probs[contraction]];
    if (prob > 0 && !shown.slice(0, barSize).some(([other]) => other === text)) {
      shown = shown.filter(([other]) => other !== text);
      shown.splice(barSize - 1, 0, [text, prob]);
    }
  }
  for (const scores of others) {
    const seen = new Set(shown.map(([text]) => casefold(text)));
    const added = best(scores, scores.texts.length).filter(([text]) => !seen.has(casefold(text)));
    shown.push(...added);
    total += added.reduce((sum, [, prob]) => sum + prob, 0);
  }
  if (own && typedWord === "last") shown.push(own);
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
