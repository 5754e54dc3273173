// Reads JSON lines of text on standard input, and writes what the tokenizer and detokenizer make of them:
// node test/words.js RULES VOCABULARY

import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { InputReader } from "../src/input.js";
import { casefold } from "../src/text.js";
import { Detokenizer, Tokenizer } from "../src/tokenizer.js";
import { Vocabulary } from "../src/vocabulary.js";

const [rules, vocabulary] = process.argv.slice(2).map((path) => JSON.parse(readFileSync(path, "utf8")));
const tokenizer = new Tokenizer(rules);
const detokenizer = new Detokenizer(rules);
const input = new InputReader(rules, new Vocabulary(vocabulary.words, tokenizer.normalizer, rules.addresses.placeholders), tokenizer);

for await (const line of createInterface({ input: process.stdin })) {
  const text = JSON.parse(line);
  const words = tokenizer.words(text);
  const result = { words, text: detokenizer.text(words), input: input.tokenize(text), split: input.split(text), folded: casefold(text) };
  process.stdout.write(`${JSON.stringify(result)}\n`);
}
