/**
 * The layers: cli → runtime → ports → core, and adapters → ports → core. Only the command line, which puts everything
 * together, knows both the runtime and the adapters. The core is pure: nothing in it knows the time, draws a number,
 * waits for anything or touches the machine.
 */
import assert from "node:assert/strict";
import path from "node:path";
import { test } from "node:test";
import { codeOf, filesBelow, importsOf, textOf } from "./sources.ts";

/** What each layer may import, itself included. `index.ts` is the surface that job files see. */
const mayImport: Readonly<Record<string, readonly string[]>> = {
  core: ["core"],
  ports: ["core", "ports"],
  runtime: ["core", "ports", "runtime"],
  // The loader of job files gives them the public surface, by its URL.
  adapters: ["core", "ports", "adapters", "index"],
  cli: ["core", "ports", "runtime", "adapters", "cli"],
  // Whoever uses a checkpoint in a program of their own gets it from the adapter that reads it, and its types from the port.
  index: ["core", "ports", "adapters"],
};

/** Packages whose types the core and the ports speak of; only their types. */
const typePackages = ["@tensorflow/tfjs"];

const sources = filesBelow("src", ".ts");

function layerOf(file: string): string {
  const [, layer = ""] = file.split("/");
  return layer.replace(/\.ts$/, "");
}

/** Imports of a file that its layer does not allow, each as a sentence. */
function wrongImports(file: string, source: string): string[] {
  const layer = layerOf(file);
  const wrong: string[] = [];
  for (const { specifier, typeOnly } of importsOf(source)) {
    const say = (why: string) => wrong.push(`${file} imports "${specifier}": ${why}`);
    if (specifier.startsWith(".")) {
      const target = path.posix.join(path.posix.dirname(file), specifier);
      const inside = target.startsWith("src/");
      // Whoever launches from a program comes in by this one door, which job files do not open.
      const isDoor =
        layer === "index" && source.includes(`await import("${specifier}")`) && target.endsWith("cli/library.ts");
      if (inside && !isDoor && !mayImport[layer]?.includes(layerOf(target)))
        say(`${layer} does not know ${layerOf(target)}`);
      if (!inside && layer !== "adapters" && layer !== "cli") say(`${layer} stays inside src`);
    } else if (layer === "core" || layer === "ports" || layer === "index") {
      if (!typeOnly || !typePackages.includes(specifier)) say(`${layer} has no dependencies`);
    } else if (layer === "runtime" && !typeOnly && !specifier.startsWith("node:")) {
      say("packages are known to the adapters");
    }
  }
  return wrong;
}

/** Words that a pure module has no use for, outside of comments and quoted text. */
const impure: readonly [string, RegExp][] = [
  ["reads the clock", /\bDate\b|\bperformance\b|\bhrtime\b/],
  ["draws its own random numbers", /\bMath\s*\.\s*random\b|\bcrypto\b|\brandomUUID\b/],
  // As a type, `Promise` says what others do: a job's report may wait.
  [
    "waits",
    /\basync\b|\bawait\b|\bPromise\s*[.(]|\bnew\s+Promise\b|\bsetTimeout\b|\bsetInterval\b|\bsetImmediate\b|\bqueueMicrotask\b/,
  ],
  ["touches the machine", /\bprocess\s*\.|\bglobalThis\b|\bfetch\s*\(|\brequire\s*\(|\bconsole\b/],
];

function impurities(file: string, source: string): string[] {
  const code = codeOf(source);
  return impure.flatMap(([what, pattern]) => {
    const found = pattern.exec(code);
    return found === null
      ? []
      : [`${file}, line ${code.slice(0, found.index).split("\n").length}, ${what}: ${found[0]}`];
  });
}

test("every import goes in the direction of the layers", () => {
  assert.deepEqual(
    sources.flatMap((file) => wrongImports(file, textOf(file))),
    [],
  );
});

test("the core is pure", () => {
  const core = sources.filter((file) => layerOf(file) === "core");
  assert.ok(core.length > 20, "the core was found");
  assert.deepEqual(
    core.flatMap((file) => impurities(file, textOf(file))),
    [],
  );
});

test("every file in src belongs to a layer", () => {
  assert.deepEqual(
    sources.filter((file) => !(layerOf(file) in mayImport)),
    [],
  );
});

test("nothing in src has a default export", () => {
  const offenders = sources.filter((file) => /\bexport\s+default\b|\bas\s+default\b/.test(codeOf(textOf(file))));
  assert.deepEqual(offenders, []);
});

test("no file in src is longer than a reader's patience: 400 lines", () => {
  const long = sources
    .map((file) => ({ file, lines: textOf(file).trimEnd().split("\n").length }))
    .filter(({ lines }) => lines > 400)
    .map(({ file, lines }) => `${file}: ${lines} lines`);
  assert.deepEqual(long, []);
});

test("these rules see what breaks them", () => {
  const broken: readonly [file: string, source: string][] = [
    ["src/core/a.ts", 'import { readFile } from "node:fs/promises";'],
    ["src/core/a.ts", 'import type { Clock } from "../ports/clock.ts";'],
    ["src/core/a.ts", 'import * as tf from "@tensorflow/tfjs";'],
    ["src/core/a.ts", 'export { x } from "../runtime/x.ts";'],
    ["src/core/a.ts", 'const x = await import("../cli/main.ts");'],
    ["src/ports/a.ts", 'import {\n  type A,\n  b,\n} from "../adapters/etcd/b.ts";'],
    ["src/runtime/a.ts", 'import "../adapters/etcd/b.ts";'],
    ["src/runtime/a.ts", 'import { Etcd3 } from "etcd3";'],
    ["src/runtime/a.ts", 'export * from "../cli/common.ts";'],
    ["src/adapters/etcd/a.ts", 'import type { Worker } from "../../runtime/worker.ts";'],
    ["src/adapters/etcd/a.ts", 'new Thread(new URL("../../cli/threads/x.ts", import.meta.url));'],
    ["src/index.ts", 'export { launch } from "./cli/launch.ts";'],
  ];
  for (const [file, source] of broken) assert.equal(wrongImports(file, source).length, 1, `${file}: ${source}`);
  const allowed: readonly [file: string, source: string][] = [
    ["src/core/a.ts", 'import type * as tfjs from "@tensorflow/tfjs";\nimport { b } from "./b.ts";'],
    ["src/core/a.ts", '// import { b } from "../ports/b.ts";\nconst words = "imported from";'],
    ["src/runtime/a.ts", 'import { createHash } from "node:crypto";\nimport type { Clock } from "../ports/clock.ts";'],
    ["src/adapters/etcd/a.ts", 'import { Etcd3 } from "etcd3";'],
  ];
  for (const [file, source] of allowed) assert.deepEqual(wrongImports(file, source), []);
  for (const source of [
    "const t = Date.now();",
    "const t = new Date();",
    "const r = Math.random();",
    "setTimeout(f, 1);",
    "export async function f() {}",
    "Promise.resolve();",
    "new Promise<void>((resolve) => resolve());",
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the sample is code in a template
    "const text = `${performance.now()}`;",
    "process.exit(1);",
  ]) {
    assert.equal(impurities("src/core/a.ts", source).length, 1, source);
  }
  assert.deepEqual(impurities("src/core/a.ts", '// await Date.now()\n/* a Promise */ const s = "process.exit";'), []);
});
