// Requests to the service. Each failure is an Error whose message can be shown.

import { parseEvents } from "./events.js";

/** `retryAfter`, in seconds, is set if a retry may help; `needsKey` if the API key is missing. */
export class ServiceError extends Error {
  constructor(message, { retryAfter = null, needsKey = false } = {}) {
    super(message);
    this.retryAfter = retryAfter;
    this.needsKey = needsKey;
  }
}

async function call(path, options) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServiceError("The service cannot be reached. Is it still running?", { retryAfter: 2 });
  }
  if (!response.ok) throw await toError(response);
  return response;
}

async function toError(response) {
  const detail = await response.json().then(
    (body) => (typeof body.detail === "string" ? body.detail : ""),
    () => "",
  );
  if (response.status === 401) return new ServiceError("The service needs the API key again.", { needsKey: true });
  if (response.status === 503) {
    const retryAfter = Number(response.headers.get("retry-after")) || 2;
    return new ServiceError(`The service is busy: ${detail || "it cannot respond now"}.`, { retryAfter });
  }
  if (response.status >= 500) return new ServiceError("The service failed. Its log has the reason.", { retryAfter: 5 });
  return new ServiceError(`The service rejected the request: ${detail || `status ${response.status}`}.`);
}

function post(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  return call(path, { method: "POST", headers, body: JSON.stringify(body), signal });
}

/** The model card and the service's limits. */
export async function fetchInfo() {
  return (await call("info")).json();
}

/** Suggestions, best first, unknown words of the text, and the service's own time in milliseconds or null. */
export async function fetchSuggestions(body, signal) {
  const response = await post("predict", body, signal);
  const serverMs = /;dur=([\d.]+)/.exec(response.headers.get("server-timing") ?? "")?.[1];
  const { suggestions, unknown_words: unknownWords } = await response.json();
  return { suggestions, unknownWords, serverMs: serverMs ? Number(serverMs) : null };
}

/** Streams a generation: calls `onPiece` with each piece of text and returns the complete response. */
export async function streamGeneration(body, onPiece, signal) {
  const response = await post("generate", { ...body, stream: true }, signal);
  try {
    for await (const { event, data } of parseEvents(response.body)) {
      const content = JSON.parse(data);
      if (event === "done") return content;
      if (event === "error") throw new ServiceError(content.detail ?? "Generation failed.");
      onPiece(content.piece);
    }
  } catch (error) {
    if (error.name === "AbortError" || error instanceof ServiceError) throw error;
    throw new ServiceError("The connection broke before the text was complete.");
  }
  throw new ServiceError("The connection ended before the text was complete.");
}
