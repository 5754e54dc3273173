// The words of a bundle and their ids.

import { isAscii } from "./text.js";
import { EOS, UNK } from "./tokenizer.js";

export class Vocabulary {
  /**
   * @param words `words` of `vocabulary.json`: a word's position is its id.
   * @param normalizer a Normalizer.
   * @param placeholders words that stand for addresses and numbers.
   */
  constructor(words, normalizer, placeholders) {
    this.words = words;
    this.ids = new Map(words.map((word, id) => [word, id]));
    this.unkId = this.ids.get(UNK);
    this.eosId = this.ids.get(EOS);
    this.placeholders = placeholders.filter((word) => this.ids.has(word));
    this.special = new Set([UNK, EOS, ...this.placeholders].map((word) => this.ids.get(word)));
    this.respelled = new Map();
    for (const word of [...words].reverse()) if (!isAscii(word)) this.respelled.set(normalizer.normalize(word), word);
  }

  get size() {
    return this.words.length;
  }

  has(word) {
    return this.ids.has(word);
  }

  /** The spelling of a normalized word, or undefined. */
  find(word) {
    return this.ids.has(word) ? word : this.respelled.get(word);
  }

  encode(words) {
    return words.map((word) => this.ids.get(word) ?? this.unkId);
  }
}
