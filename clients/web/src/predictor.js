// Suggestions of a bundle without a service: the same as those of POST /predict.

import { startsSentence } from "./casing.js";
import { InputReader } from "./input.js";
import { Inserter } from "./insertion.js";
import { Network, cacheDistribution, interpolate, softmax } from "./network.js";
import { WordFilters, addUserWords, arrange, complete, completeUnaccented, count, score, times } from "./ranking.js";
import { codePoints, isAlnum, isSpace, lastChar, trimEnd, trimStart } from "./text.js";
import { EOS, Tokenizer } from "./tokenizer.js";
import { Vocabulary } from "./vocabulary.js";
import { WordIndex, hasPrefix } from "./word_index.js";

const FORMAT = 1;
const POSSESSIVE = "'s";

export class Predictor {
  /**
   * @param rules `rules.json` of a bundle.
   * @param words `words` of its `vocabulary.json`.
   * @param network a Network.
   */
  constructor(rules, words, network) {
    this.rules = rules;
    this.network = network;
    this.tokenizer = new Tokenizer(rules);
    this.normalizer = this.tokenizer.normalizer;
    this.vocabulary = new Vocabulary(words, this.normalizer, rules.addresses.placeholders);
    this.input = new InputReader(rules, this.vocabulary, this.tokenizer);
    this.index = new WordIndex(rules, this.vocabulary, this.normalizer);
    this.inserter = new Inserter(rules.insertion);
    this.blocked = new Set(rules.blocked);
    this.skipped = new Set(rules.casing.skipped);
    this.stems = new Map(Object.entries(rules.joins.stems).map(([ending, stems]) => [ending, new Set(stems)]));
    this.nameStems = new Set(rules.joins.name_stems);
  }

  /**
   * Suggest the next word.
   *
   * @param request fields of POST /predict: text, k, prefix, words_only, allow, deny, cache, split, typed_word,
   *   user_words, recent.
   * @returns `{suggestions, unknown_words}` as the service's response has them.
   */
  async predict(request) {
    const { text: given, k = 10, typed_word: typedWord = "last", user_words: userWords = {} } = request;
    const [text, rawTyped] = request.split ? this.input.split(given) : [given, request.prefix ?? ""];
    const typed = trimStart(rawTyped);
    const known = this.input.tokenize(text);
    const own = Object.keys(userWords);
    const [words, lead, prefix] = this.#splitPrefix(known, text, trimEnd(this.normalizer.normalize(typed)), own);
    let [probs, oov] = await this.#nextWord(words, request);
    if (own.length) [probs, oov] = addUserWords(probs, oov, userWords, this.rules.user_words, this.normalizer);
    const filters = new WordFilters(lead, request, this.index, this.blocked);
    const allowed = new Map([...oov].filter(([word]) => filters.allows(word)));
    const ranked = this.#ranked(probs, allowed, filters, { words, lead, prefix, text, k, typedWord });
    const typedLead = codePoints(this.normalizer.clean(typed)).slice(0, codePoints(lead).length).join("");
    const sign = this.normalizer.typedApostrophe(typed.slice(typedLead.length), typedLead, text);
    const suggestions = ranked.map(([ending, probability]) => {
      const word = typedLead + ending.replaceAll("'", sign);
      return { word, probability, ...this.inserter.insertion(text, typed, word) };
    });
    const unknown = [...new Set(known.filter((word) => !this.vocabulary.has(word)))];
    return { suggestions, unknown_words: unknown };
  }

  #ranked(probs, oov, filters, { words, lead, prefix, text, k, typedWord }) {
    const { bar_size: barSize, correction_weight: correctionWeight } = this.rules.ranking;
    const capital = startsSentence(words, this.skipped);
    const candidates = this.index.candidates(prefix, capital);
    const exact = score(candidates, this.#joined(probs, filters, words, lead, prefix, text), complete(oov, prefix, capital), filters);
    const others = [];
    if (prefix) {
      const plain = completeUnaccented(oov, prefix, capital);
      const unaccented = this.index.unaccented(prefix, capital);
      if (unaccented.texts.length || plain.size) others.push(score(unaccented, probs, plain, filters));
      const found = [exact, ...others].reduce((sum, scores) => sum + count(scores), 0);
      if (this.index.isCorrectable(prefix) && found < barSize) {
        others.push(times(score(this.index.corrections(prefix, capital, probs), probs, new Map(), filters), correctionWeight));
      }
    }
    const forms = candidates.forms.get(candidates.contraction) ?? [];
    const contraction = forms.reduce((a, b) => (a !== null && exact.probs[a] >= exact.probs[b] ? a : b), null);
    return arrange(k, exact, others, prefix, typedWord, contraction, barSize);
  }

  // without the endings of contractions that no corpus joins to the last word: "don're"; words only have none after a space
  #joined(probs, { wordsOnly }, words, lead, prefix, text) {
    const attached = lead !== "" || (text !== "" && !isSpace(lastChar(text)));
    let excluded;
    if (attached && prefix.startsWith("'") && words.length) {
      excluded = [...this.index.candidates(prefix).ids]
        .map((id) => this.vocabulary.words[id])
        .filter((word) => codePoints(word).length > 1 && !this.#joins(words.at(-1), word));
    } else if (!attached && !prefix && wordsOnly) {
      excluded = (this.rules.joins.endings ?? []).filter((word) => this.vocabulary.has(word));
    } else return probs;
    const allowed = Float64Array.from(probs);
    for (const word of excluded) allowed[this.vocabulary.ids.get(word)] = 0;
    return allowed;
  }

  #joins(first, second) {
    if (second === POSSESSIVE) return isAlnum(lastChar(first));
    const stem = first === "I" ? first : first.toLowerCase();
    const second1 = codePoints(second)[1] ?? "";
    const isName = this.nameStems.has(first) && second1 !== second1.toLowerCase();
    return (this.stems.get(second)?.has(stem) ?? false) || isName;
  }

  // all complete words, the part of the prefix that is among them, and the rest of it
  #splitPrefix(words, text, prefix, own) {
    const quoted = prefix.startsWith("'") && (text === "" || isSpace(lastChar(text)));
    if (!quoted && this.#hasCompletion(words, prefix, own)) return [words, "", prefix];
    const [complete_, partial] = prefix ? this.input.splitPartial(prefix) : [[], ""];
    if (quoted && this.#hasCompletion(words, prefix, own) && !this.#hasCompletion(words, partial, own)) return [words, "", prefix];
    return [[...words, ...complete_], prefix.slice(0, prefix.length - partial.length), partial];
  }

  #hasCompletion(words, prefix, own) {
    if (this.index.candidates(prefix).texts.length) return true;
    return words.some((word) => hasPrefix(word, prefix)) || own.some((word) => hasPrefix(this.normalizer.normalize(word), prefix));
  }

  async #nextWord(words, { cache, recent = [] }) {
    const ids = [this.vocabulary.eosId, ...this.vocabulary.encode(words)];
    const { logits, features } = await this.network.read(ids);
    const probs = softmax(logits);
    const options = cacheOptions(cache, recent, this.rules.cache);
    if (!options) return [probs, new Map()];
    const earlier = recent.flatMap((text) => [...this.input.tokenize(text), EOS]);
    const all = [...earlier, ...words];
    if (!all.length) return [probs, new Map()];
    // the states before each earlier word
    const before = earlier.length
      ? (await this.network.read([this.vocabulary.eosId, ...this.vocabulary.encode(earlier)])).features.slice(0, -1)
      : [];
    const cached = cacheDistribution([...before, ...features], all, options);
    return interpolate(probs, cached, options.weight, this.vocabulary);
  }
}

function cacheOptions(cache, recent, defaults) {
  if (cache === false || (!cache && !recent.length)) return null;
  return { ...defaults, ...(typeof cache === "object" ? cache : {}) };
}

/**
 * Load a bundle.
 *
 * @param url address of the bundle's folder, ending in "/".
 * @param ort the module onnxruntime-web, configured by the caller.
 * @param graph `model.int8.onnx` or `model.onnx`.
 */
export async function loadPredictor(url, ort, { graph = "model.int8.onnx" } = {}) {
  const fetched = async (name) => {
    const response = await fetch(new URL(name, url));
    if (!response.ok) throw new Error(`${name}: the bundle has no such file (status ${response.status})`);
    return response;
  };
  const [rules, vocabulary, model] = await Promise.all([
    fetched("rules.json").then((response) => response.json()),
    fetched("vocabulary.json").then((response) => response.json()),
    fetched(graph).then((response) => response.arrayBuffer()),
  ]);
  if (rules.format !== FORMAT) throw new Error(`rules.json: this client reads format ${FORMAT} (got ${rules.format}); update it`);
  const session = await ort.InferenceSession.create(new Uint8Array(model), { executionProviders: ["wasm"], intraOpNumThreads: 1 });
  return new Predictor(rules, vocabulary.words, new Network(ort, session));
}
