/** Standard error is turned away while TensorFlow's libraries are loaded, and is there again afterwards, whoever loads at the same time. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { findProgram, runProgram } from "../../src/adapters/system/programs.ts";
import { quietLoaderName } from "../../src/adapters/tfjs/native-addon.ts";
import { prepareEngine } from "../../src/adapters/tfjs/prepare-engine.ts";

/** Two threads that load a library each; each library greets, and takes half a second for it. */
const program = `import { Worker, isMainThread, workerData } from "node:worker_threads";
const [loader, ...libraries] = process.argv.slice(2);
if (isMainThread) {
  const ready = new Int32Array(new SharedArrayBuffer(4));
  const start = (library) =>
    new Worker(new URL(import.meta.url), { argv: process.argv.slice(2), workerData: { library, ready } });
  const ended = libraries.map((library) => new Promise((resolve) => start(library).once("exit", resolve)));
  await Promise.all(ended);
  process.stderr.write("heard");
} else {
  const { library, ready } = workerData;
  const target = { exports: {} };
  process.dlopen(target, loader);
  // The addon itself is loaded by one thread after the other.
  Atomics.add(ready, 0, 1);
  Atomics.notify(ready, 0);
  for (let count; (count = Atomics.load(ready, 0)) < libraries.length; ) Atomics.wait(ready, 0, count);
  const why = target.exports.load(library) ?? target.exports.load(library);
  if (why !== null) throw new Error(why);
}
`;
const greeting = `#include <unistd.h>
__attribute__((constructor)) static void greet() { if (write(2, "greeting", 8) == 8) usleep(500000); }
`;

test("two threads that load at once leave standard error as it was", async (context) => {
  const choice = await prepareEngine({ engine: "native", device: "cpu" }, () => {}).catch(() => null);
  const loader = join(dirname(choice?.bindingPath ?? ""), quietLoaderName);
  const compiler = findProgram("g++");
  if (!existsSync(loader) || compiler === null) return context.skip("this machine compiles no addon");
  const folder = await mkdtemp(join(tmpdir(), "lockstep-quiet-"));
  context.after(() => rm(folder, { recursive: true, force: true }));
  await writeFile(join(folder, "greeting.cc"), greeting);
  await writeFile(join(folder, "program.mjs"), program);
  const libraries = ["one.so", "two.so"].map((name) => join(folder, name));
  for (const library of libraries) {
    const built = await runProgram(compiler, ["-shared", "-fPIC", "-o", library, join(folder, "greeting.cc")]);
    assert.ok(built.succeeded, built.failure);
  }
  const ran = await runProgram("/bin/sh", [
    "-c",
    'exec "$@" 2>&1',
    "sh",
    ...[process.execPath, join(folder, "program.mjs"), loader, ...libraries],
  ]);
  assert.ok(ran.succeeded, ran.failure);
  assert.equal(ran.output.trim(), "heard");
});
