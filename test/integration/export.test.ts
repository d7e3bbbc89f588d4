import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { exportModel } from "../../src/adapters/tfjs/export-model.ts";
import { findProgram, runProgram } from "../../src/adapters/system/programs.ts";
import { exitCodes, LockstepError } from "../../src/core/errors.ts";
import { loadCheckpoint } from "../../src/index.ts";
import { findBrowser, openPage, servePages } from "../fixtures/browser.ts";
import { testEngine } from "../fixtures/engine.ts";
import { classData, useTrained } from "../fixtures/trained.ts";

const trained = useTrained();
const limit = { timeout: 300_000 };
const require = createRequire(import.meta.url);
const fixture = (name: string) => fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url));

/** The first raw rows of the data, and what `predict` makes of them with this checkpoint. */
async function expectedOutputs(id: string): Promise<{ rows: number[][]; outputs: number[] }> {
  const { user, job } = await trained();
  const file = await user.write("few.csv", classData(9));
  const { code, stdout, stderr } = await user.run("predict", job, "--data", file, "--checkpoint", id);
  assert.equal(code, 0, stderr);
  const cells = (text: string) =>
    text
      .trimEnd()
      .split("\n")
      .slice(1)
      .map((line) => line.split(","));
  return {
    rows: cells(classData(9)).map((row) => row.slice(0, 6).map(Number)),
    outputs: cells(stdout).flatMap((row) => row.slice(1).map(Number)),
  };
}

function assertClose(actual: readonly number[], expected: readonly number[]): void {
  assert.equal(actual.length, expected.length);
  for (const [i, value] of actual.entries()) assert.ok(Math.abs(value - expected[i]!) < 1e-5, `${i}: ${value}`);
}

interface Told {
  readonly outputs: number[];
  readonly weightsDigest: string;
  readonly metadata: { readonly lockstep: Readonly<Record<string, unknown>> };
}

/** Exports the newest checkpoint once, and serves it with an input and a page that loads both. */
let exported: Promise<{ folder: string; id: string }> | null = null;
async function exportOnce(): Promise<{ folder: string; id: string }> {
  const { user, job, ids } = await trained();
  const folder = user.at("web");
  const { code, stdout, stderr } = await user.run(
    "checkpoints",
    "export",
    job,
    "latest",
    "--to",
    "tfjs",
    "--output",
    folder,
  );
  assert.equal(code, 0, stderr);
  assert.match(stdout, /web\/model\.json/);
  assert.deepEqual(readdirSync(folder).sort(), ["group1-shard1of1.bin", "model.json"]);
  return { folder, id: ids.at(-1)! };
}

async function served(context: TestContext) {
  exported ??= exportOnce();
  const { folder, id } = await exported;
  const { checkpoints } = await trained();
  const expected = await expectedOutputs(id);
  const { encodeFeatures, manifest } = await loadCheckpoint(join(checkpoints, id));
  const { values, shape } = encodeFeatures(expected.rows);
  const server = await servePages(context, {
    "/": { content: "" },
    "/index.html": { content: page },
    "/tf.js": require.resolve("@tensorflow/tfjs/dist/tf.min.js"),
    "/input.json": { content: JSON.stringify({ values: [...values], shape }) },
    ...Object.fromEntries(readdirSync(folder).map((name) => [`/${name}`, join(folder, name)])),
  });
  const check = (told: Told) => {
    assertClose(told.outputs, expected.outputs);
    assert.equal(told.weightsDigest, manifest.weightsDigest);
    assert.deepEqual([told.metadata.lockstep.checkpoint, told.metadata.lockstep.exactness], [id, "bit-exact"]);
    assert.ok(told.metadata.lockstep.preprocessing);
  };
  return { server, check };
}

const page = `<!doctype html><script src="tf.js"></script><script type="module">
const tell = (result) => fetch("/result", { method: "POST", body: JSON.stringify(result) });
try {
  await tf.setBackend("cpu");
  const model = await tf.loadLayersModel("model.json");
  const { values, shape } = await (await fetch("input.json")).json();
  const outputs = Array.from(model.predict(tf.tensor(values, shape)).dataSync());
  const parts = model.weights.map((weight) => weight.read().dataSync());
  const bytes = new Uint8Array(await new Blob(parts).arrayBuffer());
  const hash = [...new Uint8Array(await crypto.subtle.digest("SHA-256", bytes))];
  const weightsDigest = "sha256:" + hash.map((byte) => byte.toString(16).padStart(2, "0")).join("");
  await tell({ outputs, weightsDigest, metadata: model.getUserDefinedMetadata(), agent: navigator.userAgent });
} catch (error) {
  await tell({ error: String(error?.stack ?? error) });
}
</script>`;

test(
  "export --to tfjs: tf.loadLayersModel in Node has the same weights and predicts the same",
  limit,
  async (context) => {
    const { server, check } = await served(context);
    const { stdout } = await promisify(execFile)(process.execPath, [fixture("load-exported.mjs"), server.url]);
    check(JSON.parse(stdout) as Told);
  },
);

test(
  "export --to tfjs: tf.loadLayersModel in a browser has the same weights and predicts the same",
  limit,
  async (context) => {
    const browser = findBrowser();
    if (browser === null) return context.skip("there is no chromium or google-chrome on PATH");
    const { server, check } = await served(context);
    const { gone } = await openPage(context, browser, `${server.url}/index.html`);
    const told = (await Promise.race([server.result, gone])) as Told & { error?: string; agent: string };
    assert.equal(told.error, undefined);
    assert.match(told.agent, /Chrom/);
    check(told);
  },
);

test("export --to safetensors: Python's stock library opens it, and finds the same bits", limit, async (context) => {
  const { user, ids, checkpoints } = await trained();
  const file = user.at("made", "for-it", "weights.safetensors");
  const { code, stdout, stderr } = await user.run(
    ...["checkpoints", "export", ids.at(-1)!, "--checkpoints", checkpoints, "--to", "safetensors", "--output", file],
  );
  assert.equal(code, 0, stderr);
  assert.match(stdout, /8 tensors, .* kB, in .*weights\.safetensors/);
  const python = await pythonWithSafetensors(user.at("python"));
  if (typeof python !== "string") return context.skip(python.reason);
  const program = `import hashlib, json, sys
from safetensors import deserialize, safe_open
data = open(sys.argv[1], "rb").read()
tensors = [[name, info["shape"], info["dtype"], hashlib.sha256(bytes(info["data"])).hexdigest()] for name, info in deserialize(data)]
header = json.loads(data[8:8 + int.from_bytes(data[:8], "little")])
print(json.dumps({"tensors": tensors, "metadata": header["__metadata__"]}))`;
  const run = await runProgram(python, ["-c", program, file]);
  assert.ok(run.succeeded, run.failure);
  const found = JSON.parse(run.output) as {
    tensors: [string, number[], string, string][];
    metadata: Record<string, string>;
  };
  const { weights, manifest } = await loadCheckpoint(join(checkpoints, ids.at(-1)!));
  const expected = weights.map(({ name, shape, values }) => [
    ...[
      name,
      shape,
      "F32",
      createHash("sha256")
        .update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
        .digest("hex"),
    ],
  ]);
  const byName = (a: readonly unknown[], b: readonly unknown[]) => (String(a[0]) < String(b[0]) ? -1 : 1);
  assert.deepEqual(found.tensors.sort(byName), expected.sort(byName));
  assert.deepEqual([found.metadata.checkpoint, found.metadata.weightsDigest], [manifest.id, manifest.weightsDigest]);
});

/** A Python environment with the library, made for this test; or why there is none. */
async function pythonWithSafetensors(folder: string): Promise<string | { reason: string }> {
  const system = findProgram("python3");
  if (system === null) return { reason: "there is no python3 on PATH" };
  const made = await runProgram(system, ["-m", "venv", folder]);
  if (!made.succeeded) return { reason: `python3 -m venv failed: ${made.failure}` };
  const python = join(folder, "bin", "python");
  const words = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "safetensors==0.8.0"];
  const installed = await runProgram(python, words, { timeoutMs: 120_000 });
  return installed.succeeded ? python : { reason: `pip could not install safetensors: ${installed.failure}` };
}

test("export writes over nothing, and says what is missing", limit, async () => {
  const { user, ids, job, checkpoints } = await trained();
  const taken = await user.write("taken.safetensors", "mine");
  const place = ["--checkpoints", checkpoints];
  const cases: [words: string[], code: number, says: RegExp][] = [
    [
      [ids[0]!, "--to", "safetensors", "--output", taken, ...place],
      exitCodes.usage,
      /is there already; nothing is written over/,
    ],
    [[ids[0]!, "--to", "onnx", ...place], exitCodes.usage, /--to is "onnx"; one of tfjs, safetensors was expected/],
    [[ids[0]!, ...place], exitCodes.usage, /--to is missing/],
    [[ids[0]!, "--to", "tfjs", ...place], exitCodes.usage, /--to tfjs needs the job file/],
    [["--to", "safetensors", ...place], exitCodes.usage, /Which checkpoint\?/],
    [
      [ids[0]!, "--to", "safetensors", "--output", join(taken, "x"), ...place],
      exitCodes.usage,
      /taken\.safetensors\/x cannot be written: /,
    ],
  ];
  for (const [words, code, says] of cases) {
    const outcome = await user.run("checkpoints", "export", ...words);
    assert.deepEqual([outcome.code, outcome.stdout], [code, ""], outcome.stderr);
    assert.match(outcome.stderr, says);
  }
  assert.equal(readFileSync(taken, "utf8"), "mine");
  const damaged = user.at("damaged");
  cpSync(checkpoints, damaged, { recursive: true });
  const weights = join(damaged, ids[0]!, "weights.safetensors");
  const bytes = readFileSync(weights);
  bytes[bytes.length - 1]! ^= 1;
  writeFileSync(weights, bytes);
  const outcome = await user.run(
    ...["checkpoints", "export", job, ids[0]!, "--to", "tfjs", "--output", user.at("never"), "--checkpoints", damaged],
  );
  assert.equal(outcome.code, exitCodes["corrupt-checkpoint"], outcome.stderr);
  assert.match(outcome.stderr, /weights\.safetensors is not what was written/);
  assert.ok(!existsSync(user.at("never")));
});

test(
  "loadCheckpoint gives manifest, weights and pre-processing, fills a model, and refuses what is corrupt or misfits",
  limit,
  async () => {
    const { user, ids, checkpoints } = await trained();
    const { tf } = await testEngine();
    const id = ids.at(-1)!;
    const model = (units: number) =>
      tf.sequential({
        layers: [
          tf.layers.dense({ units, activation: "relu", inputShape: [6] }),
          tf.layers.batchNormalization(),
          tf.layers.dropout({ rate: 0.2 }),
          tf.layers.dense({ units: 4, activation: "softmax" }),
        ],
      });
    const [first, second] = [model(8), model(8)];
    const loaded = await loadCheckpoint(join(checkpoints, id), { tf, model: second });
    assert.equal(loaded.manifest.id, id);
    assert.deepEqual(
      [0, 1, 2, 3].map((i) => tryOr(() => loaded.decodeLabel(i))),
      [null, 10, 20, 30],
    );
    const digest = createHash("sha256");
    for (const weight of second.getWeights())
      digest.update(new Uint8Array(weight.dataSync<"float32">().slice().buffer));
    assert.equal(`sha256:${digest.digest("hex")}`, loaded.manifest.weightsDigest);
    const { rows, outputs } = await expectedOutputs(id);
    const { values, shape } = loaded.encodeFeatures(rows);
    assertClose([...(second.predict(tf.tensor(values, shape)) as ReturnType<typeof tf.tensor>).dataSync()], outputs);
    assert.throws(() => loaded.encodeFeatures([[1, 2]]), /Row 0 has 2 values; the model takes 6/);

    const renamed = user.at("my-best-model");
    cpSync(join(checkpoints, id), renamed, { recursive: true });
    await assert.rejects(
      loadCheckpoint(renamed),
      new RegExp(`my-best-model holds the checkpoint ${id}, under another name`),
    );

    const before = first.getWeights().map((weight) => [...weight.dataSync()]);
    const wide = model(16);
    const failure = async (run: Promise<unknown>) => {
      const error = await run.then(
        () => null,
        (thrown: unknown) => thrown,
      );
      assert.ok(error instanceof LockstepError, String(error));
      return error;
    };
    const misfit = await failure(loadCheckpoint(join(checkpoints, id), { tf, model: wide }));
    assert.deepEqual(
      [misfit.code, /does not fit the model: .*kernel has the shape \[6, 8\]/.test(misfit.message)],
      ["incompatible", true],
    );
    const damaged = user.at("loaded", id);
    cpSync(join(checkpoints, id), damaged, { recursive: true });
    writeFileSync(
      join(damaged, "state.json"),
      readFileSync(join(damaged, "state.json"), "utf8").replace("progress", "Progress"),
    );
    const corrupt = await failure(loadCheckpoint(damaged, { tf, model: first }));
    assert.deepEqual([corrupt.code, corrupt.message.includes("state.json")], ["corrupt-checkpoint", true]);
    assert.deepEqual(
      first.getWeights().map((weight) => [...weight.dataSync()]),
      before,
      "all weights or none",
    );
    for (const folder of [user.at("nowhere"), checkpoints, ""]) {
      const absent = await failure(loadCheckpoint(folder));
      assert.deepEqual(
        [absent.code, /There is no checkpoint .*; a folder/.test(absent.message)],
        ["usage", true],
        folder,
      );
    }
    for (const url of ["s3://", "s3://bucket", "s3:bucket/id"]) {
      const wrong = await failure(loadCheckpoint(url));
      assert.deepEqual([wrong.code, /is no checkpoint in object storage/.test(wrong.message)], ["usage", true], url);
    }
  },
);

function tryOr<T>(run: () => T): T | null {
  try {
    return run();
  } catch {
    return null;
  }
}

test("a model of more than 4 MiB is exported in several shards, in which nothing is lost", limit, async (context) => {
  const { user } = await trained();
  const { tf } = await testEngine();
  const model = tf.sequential({ layers: [tf.layers.dense({ units: 200_000, inputShape: [6] })] });
  const hash = createHash("sha256");
  for (const weight of model.getWeights()) hash.update(weight.dataSync<"float32">());
  const files = await exportModel(tf, model, user.at("large"), { lockstep: {} });
  assert.deepEqual(
    files.map(({ name, sizeBytes }) => (name === "model.json" ? name : `${name} ${sizeBytes}`)),
    ["model.json", "group1-shard1of2.bin 4194304", "group1-shard2of2.bin 1405696"],
  );
  const server = await servePages(context, {
    "/input.json": { content: JSON.stringify({ values: [1, 2, 3, 4, 5, 6], shape: [1, 6] }) },
    ...Object.fromEntries(files.map(({ name }) => [`/${name}`, user.at("large", name)])),
  });
  const options = { maxBuffer: 64 * 1024 * 1024 };
  const { stdout } = await promisify(execFile)(process.execPath, [fixture("load-exported.mjs"), server.url], options);
  assert.equal((JSON.parse(stdout) as Told).weightsDigest, `sha256:${hash.digest("hex")}`);
});

test("plain JavaScript imports loadCheckpoint from the package", limit, async () => {
  const { user, ids, checkpoints } = await trained();
  mkdirSync(user.at("app", "node_modules"), { recursive: true });
  symlinkSync(fileURLToPath(new URL("../..", import.meta.url)), user.at("app", "node_modules", "lockstep"));
  const program = await user.write(
    join("app", "main.mjs"),
    `import * as lockstep from "lockstep";
const { manifest, weights } = await lockstep.loadCheckpoint(process.argv[2]);
console.log(JSON.stringify({ id: manifest.id, weights: weights.length, names: Object.keys(lockstep) }));`,
  );
  const { stdout } = await promisify(execFile)(process.execPath, [program, join(checkpoints, ids[0]!)]);
  const { id, weights, names } = JSON.parse(stdout) as { id: string; weights: number; names: string[] };
  assert.deepEqual([id, weights], [ids[0], 8]);
  assert.deepEqual(names.sort(), Object.keys(await import("../../src/index.ts")).sort());
});
