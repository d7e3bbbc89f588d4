/** The thread in which callbacks run: one that a callback has ended is replaced, and what comes later is told. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { MemoryCoordination } from "../../src/adapters/memory/coordination.ts";
import { loadJob } from "../../src/adapters/job-file/load-job.ts";
import { systemClock } from "../../src/adapters/system/clock.ts";
import { startCallbacks } from "../../src/cli/callbacks.ts";
import { keysOf } from "../../src/core/keys.ts";
import { firstOrigin } from "../../src/core/origin.ts";
import type { Coordinator } from "../../src/runtime/coordinator.ts";
import { useUser } from "../fixtures/cli.ts";
import { quietLog } from "../fixtures/etcd.ts";

const user = useUser();

const callbacks = `callbacks: { onEpochEnd: ({ epoch }) => {
    appendFileSync(new URL("told.txt", import.meta.url), epoch + "\\n");
    if (epoch === 1) Promise.reject(new Error("nobody waits for this"));
    if (epoch === 2) process.exit(7);
  } },`;

test("what a callback leaves behind ends its thread, and every later epoch is told by another one", async (context) => {
  const file = await user().write(
    "ends.ts",
    `import { appendFileSync } from "node:fs";
import { csv, defineJob } from "lockstep";
export default defineJob({
  name: "ends",
  data: csv("small.csv", { label: "class" }),
  model: (tf, { features }) => tf.sequential({ layers: [tf.layers.dense({ units: 1, inputShape: [...features] })] }),
  compile: { optimizer: { kind: "sgd", learningRate: 0.01 }, loss: "meanSquaredError" },
  batchSize: 4,
  epochs: 4,
  ${callbacks}
});
`,
  );
  const { job } = await loadJob(file);
  const store = new MemoryCoordination({ clock: systemClock, log: quietLog, leaseMarginMs: 100 });
  context.after(() => store.close());
  const history = [1, 2, 3, 4].map((epoch) => ({ epoch, step: epoch, metrics: { loss: 1 }, improved: false }));
  const policy = { monitor: "loss", mode: "min", minDelta: 0, initialValueThreshold: null };
  // All that is read of a coordinator.
  const active = {
    hasRead: true,
    vitals: () => ({ isActive: true }),
    reading: { origin: firstOrigin },
    record: { run: 1 },
    status: () => ({ job: "ends", state: "training", epochs: 4, history, early: null, policy }),
  } as unknown as Coordinator;
  const place = { coordination: store.connect(), keys: keysOf("ends", 1), pollMs: 5, log: quietLog };
  const running = startCallbacks({ job, jobPath: file, active, ...place });
  await running!.close(30_000);
  const told = (await readFile(user().at("told.txt"), "utf8")).trim().split("\n");
  // The one that ends the thread at once is called a second time, and not for ever.
  assert.deepEqual([...new Set(told)], ["1", "2", "3", "4"]);
  assert.ok(told.length <= 6, told.join());
});
