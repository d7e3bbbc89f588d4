/** The thread that prepares batches ahead gives those that the computing thread would make, of a job's own data, augmented. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { startThread } from "../../src/adapters/system/thread.ts";
import { type JobRequest, openJob } from "../../src/cli/open-program.ts";
import { noSettings } from "../../src/core/settings.ts";
import { BatchesAhead } from "../../src/runtime/batches-ahead.ts";
import { root } from "../architecture/sources.ts";

const job = `import { dataset, defineJob, flip, standardize } from ${JSON.stringify(path.join(root, "bin/index.mjs"))};
const get = (index) => ({ features: [[[index], [2]], [[3], [index % 5]]], label: index % 3 });
export default defineJob({
  ...{ name: "ahead", seed: 3, batchSize: 8, epochs: 1, augment: [flip("horizontal")], classWeight: { 0: 1, 1: 2, 2: 3 } },
  data: dataset({ name: "numbers", length: 40, get }),
  preprocess: { features: standardize() },
  model: (tf) => tf.sequential({ layers: [tf.layers.flatten({ inputShape: [2, 2, 1] }), tf.layers.dense({ units: 3 })] }),
  compile: { optimizer: { kind: "sgd", learningRate: 0.1 }, loss: "sparseCategoricalCrossentropy" },
});
`;

test("batches from the thread are the computing thread's own, to the bit, epoch for epoch", async (context) => {
  const folder = await mkdtemp(path.join(tmpdir(), "lockstep-input-"));
  context.after(() => rm(folder, { recursive: true, force: true }));
  const jobPath = path.join(folder, "job.mjs");
  await writeFile(jobPath, job);
  const request: JobRequest = { jobPath, settings: noSettings, data: { directory: folder } };
  const { data } = await openJob(request);
  let opened = (_digest: string) => {};
  const digest = new Promise<string>((resolve) => {
    opened = resolve;
  });
  let failed: Error | null = null;
  const module = new URL("../../src/cli/threads/input-thread.ts", import.meta.url);
  const thread = startThread(module, { job: request }, { opened: (found: string) => opened(found) }, (error) => {
    failed = error;
  });
  context.after(() => thread.stop());
  assert.equal(await digest, data.digest);
  const ahead = new BatchesAhead({
    data,
    mostSamples: 4,
    patienceMs: 60_000,
    start: () => ({ isOpen: true, prepare: (asked) => thread.tell("prepare", asked), stop: () => {} }),
  });
  for (let i = 0; i < 20; i++) ahead.stepped(1, 2);
  const shards = (step: number) =>
    [0, 1].map((shard) => Uint32Array.of(0, 1, 2, 3).map((i) => 8 * step + 4 * shard + i));
  let ofTheThread = 0;
  for (const epoch of [0, 1]) {
    for (let step = 0; step < 5; step++) {
      ahead.expect(epoch, shards(step));
      // The thread answers a call behind all that it was asked before.
      await thread.call("prepared");
      ahead.expect(epoch, []);
      for (const positions of shards(step)) {
        const batch = ahead.take(positions, epoch);
        if (batch) ofTheThread++;
        assert.deepEqual(batch ?? data.training(positions, epoch), data.training(positions, epoch));
      }
    }
  }
  assert.equal(ofTheThread, 20);
  assert.equal(failed, null);
  assert.notDeepEqual(
    data.training(shards(0)[0]!, 0),
    data.training(shards(0)[0]!, 1),
    "epochs differ, or this shows less",
  );
});
