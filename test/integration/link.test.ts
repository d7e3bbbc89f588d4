/** Two machines with a network between them: what one computes is on its way before all of it is there. */
import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { messageOf } from "../../src/core/errors.ts";
import { Link, LinkedCluster } from "../fixtures/link.ts";
import { parsePrometheus, sampleOf } from "../fixtures/prometheus-text.ts";
import { smallData, smallJob } from "../fixtures/small-job.ts";
import { undisturbedDigest } from "../fixtures/undisturbed.ts";

/** The third layer's weights are a bucket, and those of the second one, which come some milliseconds later, another. */
const layers = `[
    tf.layers.dense({ units: 1024, activation: "relu", inputShape: [...features] }),
    tf.layers.dense({ units: 1024, activation: "relu" }),
    tf.layers.dense({ units: 1024, activation: "relu" }),
    tf.layers.dense({ units: 3, activation: "softmax" }),
  ]`;
const epochs = 6;
const stepsPerEpoch = 4;

test("between machines gradients are sent while the rest is computed, and the weights are those of one machine", {
  timeout: 180_000,
}, async (context) => {
  const link = await Link.open("1gbit").catch((error: unknown) => messageOf(error));
  if (typeof link === "string") return context.skip(`there are no network namespaces here: ${link}`);
  const folder = await mkdtemp(join(tmpdir(), "lockstep-link-"));
  const cluster = new LinkedCluster(link);
  try {
    const jobFile = join(folder, "small.ts");
    await writeFile(jobFile, smallJob({ batchSize: 256, layers }));
    await writeFile(join(folder, "small.csv"), smallData(1024, 64));
    const worker = ["--http", "127.0.0.1:0", "--on-finish", "wait"];
    await cluster.start({ folder, jobFile, worker, coordinator: ["--epochs", String(epochs)] });
    for (const side of [0, 1] as const) {
      const name = `worker-${side}`;
      await cluster.whenLine(name, ({ step }) => step === (epochs - 1) * stepsPerEpoch);
      const { http } = await cluster.whenLine(name, ({ message }) => message === "serving HTTP");
      const scrape = `fetch("http://${http}/metrics").then((reply) => reply.text()).then(console.log)`;
      const metrics = parsePrometheus(await link.run(side, process.execPath, "-e", scrape));
      assert.ok(sampleOf(metrics, "lockstep_exchange_early_buckets_total")! > 0, name);
    }
    for (const name of ["worker-0", "worker-1"]) {
      await cluster.whenLine(name, ({ message, step }) => message === "left" && step === epochs * stepsPerEpoch);
    }
    const checkpoints = join(folder, "checkpoints");
    const manifests = (await readdir(checkpoints, { recursive: true })).filter((path) =>
      path.endsWith("manifest.json"),
    );
    const texts = await Promise.all(manifests.map((path) => readFile(join(checkpoints, path), "utf8")));
    const last = texts.map((text) => JSON.parse(text)).find(({ epoch }) => epoch === epochs);
    assert.equal(last.weightsDigest, await undisturbedDigest(jobFile, 2, epochs));
  } finally {
    await cluster.stop();
    await link.close();
    await rm(folder, { recursive: true, force: true });
  }
});
