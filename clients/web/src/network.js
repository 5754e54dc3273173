// The network of a bundle in onnxruntime-web: ids and state in, logits and state out.

const MAX_SNAPSHOTS = 48;

/** Runs `model.int8.onnx` or `model.onnx`, and remembers the state after recent texts. */
export class Network {
  /**
   * @param ort the module onnxruntime-web.
   * @param session an InferenceSession of the graph.
   */
  constructor(ort, session) {
    this.ort = ort;
    this.session = session;
    this.stateNames = session.inputNames.filter((name) => name !== "input_ids");
    const dims = new Map(session.inputMetadata.map(({ name, shape }) => [name, shape?.at(-1)]));
    this.start = this.stateNames.map((name) => new ort.Tensor("float32", new Float32Array(dims.get(name)), [1, dims.get(name)]));
    this.snapshots = [];
    this.running = Promise.resolve();
  }

  /** After a text of at least one id: `{logits, features}`, the logits of the next word and one feature row per id. */
  read(ids) {
    // one at a time: the states of one text lead to those of the next
    this.running = this.running.catch(() => {}).then(() => this.#read(ids));
    return this.running;
  }

  async #read(ids) {
    const known = this.snapshots
      .filter((snapshot) => snapshot.ids.length <= ids.length && snapshot.ids.every((id, i) => id === ids[i]))
      .reduce((a, b) => (b.ids.length > (a?.ids.length ?? 0) ? b : a), null);
    if (known?.ids.length === ids.length) {
      this.#keep(known);
      return known;
    }
    const rest = ids.slice(known?.ids.length ?? 0);
    const state = known?.state ?? this.start;
    const input = new this.ort.Tensor("int64", BigInt64Array.from(rest, BigInt), [1, rest.length]);
    const feeds = { input_ids: input, ...Object.fromEntries(this.stateNames.map((name, i) => [name, state[i]])) };
    const outputs = await this.session.run(feeds);
    const width = outputs.features.dims.at(-1);
    const rows = rest.map((_, i) => outputs.features.data.slice(i * width, (i + 1) * width));
    const snapshot = {
      ids,
      state: this.stateNames.map((name) => outputs[`${name}_after`]),
      logits: outputs.logits.data,
      features: [...(known?.features ?? []), ...rows],
    };
    this.#keep(snapshot);
    return snapshot;
  }

  #keep(snapshot) {
    this.snapshots = [...this.snapshots.filter((other) => other !== snapshot), snapshot].slice(-MAX_SNAPSHOTS);
  }
}

/** The softmax in double precision. */
export function softmax(logits) {
  let peak = -Infinity;
  for (let i = 0; i < logits.length; i += 1) peak = Math.max(peak, logits[i]);
  const probs = new Float64Array(logits.length);
  let sum = 0;
  for (let i = 0; i < logits.length; i += 1) sum += probs[i] = Math.exp(logits[i] - peak);
  for (let i = 0; i < logits.length; i += 1) probs[i] /= sum;
  return probs;
}

/** The neural cache (Grave et al. 2017): words of a text, more probable where the context is similar. Returns a Map. */
export function cacheDistribution(features, words, { theta, window }) {
  const recent = window ? words.slice(-window) : words;
  const states = features.slice(-recent.length - 1);
  const last = states.at(-1);
  const scores = states.slice(0, -1).map((row) => theta * row.reduce((sum, value, i) => sum + value * last[i], 0));
  const peak = Math.max(...scores);
  const weights = scores.map((value) => Math.exp(value - peak));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const probs = new Map();
  recent.forEach((word, i) => probs.set(word, (probs.get(word) ?? 0) + weights[i] / total));
  return probs;
}

/** The mixture of model and cache: probabilities of the vocabulary, and a Map of other words. */
export function interpolate(probs, cached, weight, vocabulary) {
  const mixture = probs.map((prob) => (1 - weight) * prob);
  const oov = new Map();
  for (const [word, prob] of cached) {
    if (vocabulary.has(word)) mixture[vocabulary.ids.get(word)] += weight * prob;
    else oov.set(word, weight * prob);
  }
  return [mixture, oov];
}
