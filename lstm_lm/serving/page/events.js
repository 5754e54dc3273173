// Server-sent events out of a response's body. EventSource itself can only GET.

/** Each event of `stream` as `{event, data}`. */
export async function* eventsOf(stream) {
  let rest = "";
  let event = "message";
  let data = [];
  for await (const text of chunksOf(stream)) {
    const lines = (rest + text).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    for (const line of lines) {
      const [field, value] = fieldOf(line);
      if (field === "event") event = value;
      else if (field === "data") data.push(value);
      else if (line === "") {
        if (data.length) yield { event, data: data.join("\n") };
        event = "message";
        data = [];
      }
    }
  }
}

function fieldOf(line) {
  const colon = line.indexOf(":");
  if (colon < 0) return [line, ""];
  return [line.slice(0, colon), line.slice(colon + 1).replace(/^ /, "")];
}

// not every browser lets a stream be iterated yet
async function* chunksOf(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}
