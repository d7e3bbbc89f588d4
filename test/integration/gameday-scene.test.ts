/** What a gameday reads out of lines that come in another order than they were written. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { GamedayCluster } from "../../src/cli/gameday/cluster.ts";
import { Logbook } from "../../src/cli/gameday/logbook.ts";
import { Scene, type Standing } from "../../src/cli/gameday/scene.ts";
import { firstStepMessage } from "../../src/core/log-reading.ts";

const line = (atMs: number, message: string, fields: object = {}) =>
  JSON.stringify({ time: new Date(atMs).toISOString(), level: "info", message, ...fields });

test("a recovery has the time of its decision, though the coordinator's word of it comes after the first steps", async () => {
  const book = new Logbook();
  const cluster = { book, options: { workers: 2 }, processes: { failure: new Promise(() => {}) } };
  const limits = { budgetMs: 1000, slack: 1 };
  const scene = new Scene(cluster as unknown as GamedayCluster, limits, () => {}, new Promise<never>(() => {}));
  const recovered = scene.recovered(1000, { generation: 1 } as Standing, ["worker-0", "worker-1"]);
  const first = { generation: 2, step: 8 };
  book.add("worker-0", line(1200, firstStepMessage, first));
  book.add("worker-1", line(1210, firstStepMessage, first));
  // Whoever would not wait for the decision has read the lines by now.
  await new Promise((resolve) => setImmediate(resolve));
  book.add("coordinator", line(1150, "running", { generation: 2 }));
  const { times } = await recovered;
  assert.deepEqual([times.form, times.firstStep], [150, 210]);
});
