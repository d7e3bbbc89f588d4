/** A run that a program of one's own launches, in plain JavaScript, with the callbacks of its job file. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import type { RunEvent } from "../../src/index.ts";
import { root } from "../architecture/sources.ts";
import { useUser } from "../fixtures/cli.ts";
import { smallData } from "../fixtures/small-job.ts";

const user = useUser();

const job = `import { appendFileSync } from "node:fs";
import { csv, defineJob, oneHot } from "lockstep";
const tell = (name) => async (event) => {
  await new Promise((resolve) => setImmediate(resolve));
  appendFileSync(new URL("told.jsonl", import.meta.url), JSON.stringify({ name, ...event }) + "\\n");
  if (name === "onEpochEnd" && event.epoch === 2) throw new Error("nobody answers");
};
export default defineJob({ units: 8 }, ({ units }) => ({
  name: "own",
  data: csv("small.csv", { label: "class" }),
  preprocess: { label: oneHot(3) },
  model: (tf, { features }) => tf.sequential({ layers: [
    tf.layers.dense({ units, activation: "relu", inputShape: [...features] }),
    tf.layers.dense({ units: 3, activation: "softmax" }),
  ] }),
  compile: { optimizer: { kind: "sgd", learningRate: 0.01 }, loss: "categoricalCrossentropy" },
  batchSize: 4,
  epochs: 3,
  callbacks: { onEpochEnd: tell("onEpochEnd"), onBest: tell("onBest"), onFinish: tell("onFinish") },
}));
`;

const program = (lockstep: string) => `import { launch, LockstepError } from ${JSON.stringify(lockstep)};
const options = { job: new URL("own.mjs", import.meta.url), shards: 2, set: { batchSize: 8 }, params: { units: 5 } };
const refused = await launch({ ...options, params: { unit: 5 } }).catch((error) => error);
const run = await launch(options);
const heard = [];
run.on("epoch", ({ epoch }) => heard.push(epoch));
const events = [];
for await (const event of run) events.push(event);
const result = await run.finished;
const status = { code: refused.code, isOurs: refused instanceof LockstepError, hint: refused.hint };
console.log(JSON.stringify({ refused: status, job: run.job, run: run.run, heard, events, result }));
`;

test("a program launches a run, hears typed events of it and has its result; the job's callbacks see committed epochs", {
  timeout: 300_000,
}, async () => {
  await user().write("small.csv", smallData(80));
  await user().write("own.mjs", job);
  const file = await user().write("main.mjs", program(pathToFileURL(path.join(root, "bin/index.mjs")).href));
  const env = { ...process.env, XDG_STATE_HOME: user().at("state") };
  const { code, stdout, stderr } = await new Promise<{ code: unknown; stdout: string; stderr: string }>((resolve) => {
    execFile(process.execPath, [file], { cwd: user().folder, env, maxBuffer: 50_000_000 }, (error, stdout, stderr) =>
      resolve({ code: error?.code ?? 0, stdout, stderr }),
    );
  });
  assert.equal(code, 0, stderr);
  const { refused, job: name, run, heard, events, result } = JSON.parse(stdout);
  assert.deepEqual(refused, { code: "usage", isOurs: true, hint: "Did you mean units?" });
  assert.deepEqual([name, run, heard], ["own", 1, [1, 2, 3]]);
  const of = (type: RunEvent["type"]) => (events as RunEvent[]).filter((event) => event.type === type);
  assert.deepEqual(
    of("epoch").map((event) => [event.type === "epoch" && event.epoch, event.type === "epoch" && event.step]),
    [
      [1, 10],
      [2, 20],
      [3, 30],
    ],
    "eighty samples in batches of eight, as was set",
  );
  for (const type of ["generation", "joined", "checkpoint", "message", "finished"] as const) {
    assert.ok(of(type).length > 0, type);
  }
  assert.equal(events.at(-1).type, "finished", JSON.stringify(events.slice(-3)));
  assert.equal(result.epochs, 3);
  assert.match(result.weightsDigest, /^sha256:/);

  const told = (await readFile(user().at("told.jsonl"), "utf8"))
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  const ends = told.filter(({ name }) => name === "onEpochEnd");
  assert.deepEqual(
    ends.map(({ epoch, step }) => [epoch, step]),
    [
      [1, 10],
      [2, 20],
      [3, 30],
    ],
  );
  assert.deepEqual(
    ends.map(({ metrics }) => metrics.loss),
    result.history.map(({ loss }: { loss: number }) => loss),
    "what they see is what was committed; an error in one of them stopped nothing",
  );
  assert.equal(told.filter(({ name }) => name === "onBest").length, ends.filter(({ improved }) => improved).length);
  assert.deepEqual(
    told.filter(({ name }) => name === "onFinish").map(({ epoch }) => epoch),
    [3],
  );
  const failed = of("message").map((event) => event.type === "message" && event.text);
  assert.ok(
    failed.some((text) => text && /the callback onEpochEnd failed: nobody answers/.test(text)),
    failed.join("\n"),
  );
});
