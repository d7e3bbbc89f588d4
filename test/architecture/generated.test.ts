import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { root } from "./sources.ts";

/** Every file below a folder by its path in it, with its text. */
async function contents(folder: string): Promise<Record<string, string>> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true });
  const files = entries
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath ?? entry.path, entry.name));
  const texts = files.sort().map(async (file) => [path.relative(folder, file), await readFile(file, "utf8")]);
  return Object.fromEntries(await Promise.all(texts));
}

test("docs/api.md is made of the docstrings as they are", async (context) => {
  const folder = await mkdtemp(path.join(tmpdir(), "lockstep-api-"));
  context.after(() => rm(folder, { recursive: true, force: true }));
  const fresh = path.join(folder, "api.md");
  await promisify(execFile)(process.execPath, [path.join(root, "scripts/generate-api.mjs"), fresh]);
  const text = await readFile(fresh, "utf8");
  for (const name of ["launch", "defineJob", "RunEvent"]) assert.ok(text.includes(`### ${name}\n`), name);
  assert.ok((await readFile(path.join(root, "docs/api.md"), "utf8")) === text, "run `npm run api`");
});

/** Of TypeScript and JavaScript, and what a type calls its own parameters. */
const known = new Set(
  "Accuracy ArrayLike AsyncIterable Defaults Extract Float32Array Name Omit Pick Promise Readonly Record Type URL Value".split(
    " ",
  ),
);

test("every type that docs/api.md names is in it too, and can be imported", async () => {
  const text = await readFile(path.join(root, "docs/api.md"), "utf8");
  const documented = new Set(Array.from(text.matchAll(/^### (\w+)/gm), ([, name]) => name!));
  const code = Array.from(text.matchAll(/```ts\n([\s\S]*?)```/g), ([, block]) => block!)
    .join("\n")
    .replace(/\/\*\*[\s\S]*?\*\/|\/\/.*|"[^"]*"/g, "");
  const named = new Set(code.match(/\b[A-Z]\w+\b/g));
  assert.ok(named.has("RunResult"));
  assert.deepEqual([...named].filter((name) => !documented.has(name) && !known.has(name)).sort(), []);
});

test("the generated types are those of proto/ as it is", { timeout: 180_000 }, async (context) => {
  const folder = await mkdtemp(path.join(tmpdir(), "lockstep-proto-"));
  context.after(() => rm(folder, { recursive: true, force: true }));
  const generator = path.join(root, "scripts/generate-proto-types.mjs");
  await promisify(execFile)(process.execPath, [generator, folder]);
  const fresh = await contents(folder);
  assert.ok(Object.keys(fresh).length > 5, "the generator wrote files");
  assert.deepEqual(await contents(path.join(root, "src/adapters/grpc/generated")), fresh, "run `npm run proto`");
});
