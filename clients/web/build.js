// Puts the client and onnxruntime-web into dist/, which `lstm-lm serve --browser-client` serves.

import { cpSync, mkdirSync, readdirSync, rmSync } from "node:fs";

const folder = (path) => new URL(path, import.meta.url);
const ORT = "node_modules/onnxruntime-web";
// one thread: no file of it needs a worker, and no page needs cross-origin isolation
const ORT_FILES = ["ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"];

rmSync(folder("dist"), { recursive: true, force: true });
mkdirSync(folder("dist"));
for (const name of readdirSync(folder("src"))) cpSync(folder(`src/${name}`), folder(`dist/${name}`));
for (const name of ORT_FILES) cpSync(folder(`${ORT}/dist/${name}`), folder(`dist/${name}`));
console.log(`dist: ${readdirSync(folder("dist")).length} files`);
