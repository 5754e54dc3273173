// A parser for server-sent events. EventSource itself only supports GET.

/** Yields each event of `stream` as `{event, data}`. */
export async function* parseEvents(stream) {
  let rest = "";
  let event = "message";
  let data = [];
  for await (const text of readChunks(stream)) {
    const lines = (rest + text).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    for (const line of lines) {
      const [field, value] = parseField(line);
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

function parseField(line) {
  const colon = line.indexOf(":");
  if (colon < 0) return [line, ""];
  return [line.slice(0, colon), line.slice(colon + 1).replace(/^ /, "")];
}

// not every browser can iterate over a stream
async function* readChunks(stream) {
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
