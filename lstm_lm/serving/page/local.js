// Runs the model in this browser instead of asking the service.

const STORAGE_KEY = "lstm_lm local";

/** Loads the client, the graph and the vocabulary from the service; returns a function like `fetchSuggestions`. */
async function load(graph) {
  const base = document.baseURI;
  const [ort, { loadPredictor }] = await Promise.all([
    import("../browser/ort.wasm.min.mjs"),
    import("../browser/predictor.js"),
  ]);
  // one thread needs no worker and no cross-origin isolation
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = new URL("browser/", base).href;
  const predictor = await loadPredictor(new URL("bundle/", base).href, ort, { graph });
  return async (body) => {
    const { suggestions, unknown_words: unknownWords } = await predictor.predict(body);
    return { suggestions, unknownWords, serverMs: null };
  };
}

/**
 * Binds the switch that runs the model in this browser; the browser remembers it.
 *
 * @param label the label of the switch, which is hidden until a graph is known.
 * @param input the switch.
 * @param onChange called with a function like `fetchSuggestions`, or null for the service.
 * @param onProblem called with a sentence.
 * @returns `graph => void`: offers the switch.
 */
export function bindLocal(label, input, onChange, onProblem) {
  let predict = null;
  let graph = null;
  const remember = () => {
    try {
      localStorage.setItem(STORAGE_KEY, String(input.checked));
    } catch {
      // without storage the choice lasts for this visit
    }
  };
  const change = async () => {
    if (!input.checked) {
      onChange(null);
      return;
    }
    label.classList.add("loading");
    try {
      predict ??= await load(graph);
    } catch (error) {
      console.error(error);
      input.checked = false;
      remember();
      onProblem(`The model does not run in this browser: ${error.message}`);
    }
    label.classList.remove("loading");
    // it may have been switched off meanwhile
    onChange(input.checked ? predict : null);
  };
  input.addEventListener("change", () => {
    remember();
    change();
  });
  return (name) => {
    if (!name) return;
    graph = name;
    label.hidden = false;
    try {
      input.checked = localStorage.getItem(STORAGE_KEY) === "true";
    } catch {
      // as above
    }
    if (input.checked) change();
  };
}
