/** What `npm run bench` makes of its words; the benchmarks themselves are not tests. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { measurePeer, peers } from "../../bench/recovery/peers.ts";
import { pairedRatio } from "../../bench/results.ts";
import { models } from "../../bench/step/models.ts";
import { Readings, rowsOf } from "../../bench/step/rows.ts";
import { exitCodes } from "../../src/core/errors.ts";

const main = fileURLToPath(new URL("../../bench/main.ts", import.meta.url));

function bench(...words: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, ["--import", "tsx", main, ...words], (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === "number" ? error.code : 0, stdout, stderr });
    });
  });
}

test("help lists the benchmarks, before a name and after it", { timeout: 60_000 }, async () => {
  for (const words of [["--help"], ["recovery", "--help"], []]) {
    const { code, stdout } = await bench(...words);
    assert.equal(code, 0);
    assert.match(stdout, /^Usage: npm run bench -- NAME .*\n\n {2}recovery .*\n {2}exactness /);
  }
});

test("wrong words are one sentence and the code for it, and nothing is measured", { timeout: 60_000 }, async () => {
  const cases: [words: string[], says: RegExp][] = [
    [["recovery", "--runs", "0"], /^--runs is "0"; a whole number from 1 was expected\.\n$/],
    [["recovery", "--rums", "3"], /'--rums'/],
    [["checkpoints", "--json", "file", "--saves", "1.5"], /^--saves is "1.5"; a whole number from 1 was expected\.\n$/],
    [["allreduce", "--worlds", "2,1"], /^--worlds is "1"; a whole number from 2 was expected\.\n$/],
    [
      ["step", "--models", "step-mlp"],
      /^--models has "step-mlp"; step-mlp512, step-mlp2048, step-cnn, step-lstm, step-gpt were expected\.\n$/,
    ],
    [["memory", "--steps", "99"], /^--steps is "99"; a whole number from 100 was expected\.\n$/],
    [["epochs", "--epochs", "500"], /^--epochs is "500"; a whole number from 700 was expected\.\n$/],
    [["views", "--views", "page"], /^--views has "page"; some of pages, metrics, tensorboard were expected/],
    [["recovry"], /^There is no benchmark "recovry"; there are .*\n {2}Did you mean recovery\?\n$/],
  ];
  for (const [words, says] of cases) {
    const { code, stdout, stderr } = await bench(...words);
    assert.deepEqual([code, stdout], [exitCodes.usage, ""], words.join(" "));
    assert.match(stderr, says);
  }
});

test("figures that were taken in pairs give the median of their ratios, and how sure it is", () => {
  const beside = Array.from({ length: 20 }, (_, i) => 100 + i * 10);
  const samples = beside.map((value, i) => value * (0.9 + i / 100));
  assert.equal(pairedRatio(samples, beside), "0.995 ×, 0.950 to 1.040 with 95 % confidence, 20 pairs");
  assert.equal(pairedRatio([1, 3], [2, 2]), "1.000 ×, 0.500 to 1.500 with 95 % confidence, 2 pairs");
});

test("every ratio of the step benchmark says how many times better, beside whom it was measured", () => {
  const readings = new Readings();
  for (const ms of [100, 80, 120]) readings.add("lockstep", "step-cnn", 1, ms);
  readings.add("lockstep", "step-cnn", 2, 50);
  readings.add("torch DDP", "step-cnn", 2, 75);
  readings.add("bare step", "step-cnn", 1, 96);
  readings.add("model.fit", "step-cnn", 1, 160);
  const cnn = models.filter(({ work }) => work === "step-cnn");
  const told = rowsOf(cnn, [1, 2], readings).map(({ work, world, value, unit, peer, peerValue, ratio, goal, met }) =>
    [work, world, value, unit, peer, peerValue, ratio, goal, met].map((one) => String(one)).join(" "),
  );
  assert.deepEqual(told, [
    "step-cnn 1 100 ms null null null null null",
    "fit-cnn 1 1280 samples/s model.fit 800 1.6 1.3 true",
    `machinery-cnn 1 100 ms bare step 96 0.96 ${1 / 1.05} true`,
    "step-cnn 2 50 ms torch DDP 75 1.5 1.25 true",
    "scaling-cnn 2 2560 samples/s W = 1 1280 2 1.6 true",
  ]);
});

test("the runs that a peer has made count, whatever becomes of the next one", { timeout: 60_000 }, async () => {
  const cache = await mkdtemp(join(tmpdir(), "lockstep-bench-test-"));
  const before = process.env.XDG_CACHE_HOME;
  process.env.XDG_CACHE_HOME = cache;
  try {
    // In place of the environment's Python: a program that prints two runs and fails.
    const bin = join(cache, "lockstep", "peers", "bin");
    await mkdir(bin, { recursive: true });
    const run = '{"step_ms": 5, "survivors_ms": 70, "start_ms": null}';
    await writeFile(join(bin, "python"), `#!/bin/sh\necho '${run}'\necho '${run}'\nexit 3\n`, { mode: 0o755 });
    const said: string[] = [];
    const readings = await measurePeer(peers[0]!, 3, (line) => said.push(line));
    assert.deepEqual(readings, {
      ...{ peer: "torchrun", runs: 2, steps: [5, 5], nextStep: [70, 70], startToStep: [] },
      failure: "it ended with 3",
    });
    assert.deepEqual(said, ["torchrun: run 1 of 3", "torchrun: run 2 of 3"]);
  } finally {
    if (before === undefined) delete process.env.XDG_CACHE_HOME;
    else process.env.XDG_CACHE_HOME = before;
    await rm(cache, { recursive: true, force: true });
  }
});
