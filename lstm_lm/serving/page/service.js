// Calls of the service. Every failure is an Error whose message can be shown.

import { eventsOf } from "./events.js";

/** A failure in words; `retryAfter` is set (in seconds) where trying again may help, `needsKey` where the key is. */
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
  if (!response.ok) throw await failure(response);
  return response;
}

async function failure(response) {
  const detail = await response.json().then(
    (answer) => (typeof answer.detail === "string" ? answer.detail : ""),
    () => "",
  );
  if (response.status === 401) return new ServiceError("The service wants its key again.", { needsKey: true });
  if (response.status === 503) {
    const retryAfter = Number(response.headers.get("retry-after")) || 2;
    return new ServiceError(`The service is busy: ${detail || "it cannot answer now"}.`, { retryAfter });
  }
  if (response.status >= 500) return new ServiceError("The service failed. Its log says why.", { retryAfter: 5 });
  return new ServiceError(`The service did not take this: ${detail || `status ${response.status}`}.`);
}

function post(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  return call(path, { method: "POST", headers, body: JSON.stringify(body), signal });
}

/** The model card. */
export async function modelCard() {
  return (await call("info")).json();
}

/** Suggestions for the word at the end of a text, best first, and the milliseconds that the service needed. */
export async function suggestions(body, signal) {
  const response = await post("predict", body, signal);
  const inService = /;dur=([\d.]+)/.exec(response.headers.get("server-timing") ?? "")?.[1];
  return { words: (await response.json()).suggestions, inService: inService ? Number(inService) : null };
}

/** Goes on with a text: `onPiece` gets each piece as it comes; the result is the whole answer. */
export async function writeOn(body, onPiece, signal) {
  const response = await post("generate", { ...body, stream: true }, signal);
  try {
    for await (const { event, data } of eventsOf(response.body)) {
      const content = JSON.parse(data);
      if (event === "done") return content;
      if (event === "error") throw new ServiceError(content.detail ?? "The service could not go on.");
      onPiece(content.piece);
    }
  } catch (error) {
    if (error.name === "AbortError" || error instanceof ServiceError) throw error;
    throw new ServiceError("The connection broke before the text was finished.");
  }
  throw new ServiceError("The connection ended before the text was finished.");
}
