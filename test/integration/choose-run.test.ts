/** Which run a start goes on with, and from which checkpoint, by the little that a person says. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryCoordination } from "../../src/adapters/memory/coordination.ts";
import { systemClock } from "../../src/adapters/system/clock.ts";
import { createLog } from "../../src/adapters/system/log.ts";
import { type ErrorCode, LockstepError } from "../../src/core/errors.ts";
import { encodeJson } from "../../src/core/json.ts";
import { keysOf, runKey } from "../../src/core/keys.ts";
import type { CheckpointPointer } from "../../src/core/status.ts";
import { openRun, type RunRequest } from "../../src/runtime/open-run.ts";
import type { RunArchive } from "../../src/runtime/rebuild-run.ts";
import { plainRequest } from "../fixtures/run-request.ts";

const log = createLog({ stream: process.stderr, format: "text", level: "error" });
const request = plainRequest;
/** Folders of these runs; whether there is anything in them does not matter while etcd knows the run. */
const folders = (newest: number): RunArchive => ({
  newestRun: () => Promise.resolve(newest),
  checkpointsOf: () => Promise.resolve([]),
  copiesOf: () => Promise.resolve([]),
  isReplicated: () => Promise.resolve(false),
  check: () => Promise.reject(new Error("nothing is there")),
  load: () => Promise.reject(new Error("nothing is there")),
});
const refused = (code: ErrorCode, says: RegExp) => (error: unknown) =>
  error instanceof LockstepError && error.code === code && says.test(error.message);

/** A job of two runs, of which the second is the newest. */
async function twoRuns() {
  const store = new MemoryCoordination({ clock: systemClock, log, leaseMarginMs: 100 });
  const client = store.connect();
  const open = async (wish: Partial<RunRequest>) => {
    const { record, notices } = await openRun(client, { ...request, archive: folders(2), ...wish });
    return { run: record.run, notices };
  };
  await open({ archive: null });
  await open({ archive: null, resume: "never" });
  return { store, client, open };
}

test("an older run that is asked for is the one that the job goes on with, and a new one gets a number of its own", async () => {
  const { store, open } = await twoRuns();
  assert.deepEqual(await open({}), { run: 2, notices: [] });
  assert.deepEqual(await open({ run: 1 }), {
    run: 1,
    notices: ["The job goes on with run 1 from here on, and no longer with run 2."],
  });
  // From then on nobody has to say so again, though the newest folder is the other run's.
  assert.deepEqual(await open({}), { run: 1, notices: [] });
  assert.deepEqual(await open({ run: 1 }), { run: 1, notices: [] });
  assert.deepEqual(await open({ resume: "same" }), { run: 1, notices: [] });
  assert.equal((await open({ resume: "never" })).run, 3);
  assert.equal((await open({})).run, 3);
  store.close();
});

test("nobody leaves a run that is under way, nor goes to one that there never was", async () => {
  const { store, client, open } = await twoRuns();
  const keys = keysOf("one", 2);
  const key = runKey("one");
  for (const [there, value, says] of [
    [keys.member("w1.a"), { workerId: "w1.a", name: "w1" }, /Run 2 of "one" is under way: w1 is there\./],
    [keys.coordinator, {}, /Run 2 of "one" is under way: its coordinator is there\./],
  ] as const) {
    await client.transact([], [{ kind: "put", key: there, value: encodeJson(value) }]);
    await assert.rejects(open({ run: 1 }), refused("job-running", says));
    await client.transact([], [{ kind: "delete", key: there }]);
  }
  await assert.rejects(open({ run: 7 }), refused("usage", /The job "one" has no run 7\. It has runs 1 to 2\./));
  assert.equal((await client.get(key))?.value, "2", "a start that was refused has changed nothing");
  const changed = { run: 1, fields: { "job.seed": "8" } };
  await assert.rejects(open(changed), refused("incompatible", /job\.seed was/));
  assert.equal((await client.get(key))?.value, "2");
  store.close();
});

test("an etcd that was put back from before the newest run does not make an older one go on", async () => {
  const { store, client, open } = await twoRuns();
  await client.transact([], [{ kind: "delete", key: keysOf("one", 2).record }]);
  await client.transact([], [{ kind: "put", key: runKey("one"), value: "1" }]);
  await assert.rejects(open({}), refused("incompatible", /runs\/2\/.*holds no record/));
  assert.equal((await open({ resume: "never" })).run, 3, "the number of what lies in the newest folder is not free");
  store.close();
});

test("a checkpoint to resume from is named by any part of its id that no other one has", async () => {
  const { store, client, open } = await twoRuns();
  const keys = keysOf("one", 2);
  const pointer = (id: string, step: number): CheckpointPointer => ({
    ...{ id, location: id, lineage: 1, era: 1, step, epoch: 1, stepInEpoch: 0, generation: 1 },
    ...{ stateDigest: `sha256:${step}`, weightsDigest: "", manifestSha256: "0a", monitor: "loss", value: 0.5 },
    of: { monitor: "loss", mode: "min", data: "d" },
  });
  const all = [
    pointer("one-2-step-00000004-g1-t9-abcdefgh", 4),
    pointer("one-2-step-00000008-g1-t9-abcdwxyz", 8),
    pointer("one-2-step-00000012-g1-t9-stuvwxyz", 12),
  ];
  await client.transact(
    [],
    [
      { kind: "put", key: keys.latest, value: encodeJson(all[2]) },
      ...all.map((one) => {
        const value = encodeJson({ state: "live", pointer: one });
        return { kind: "put", key: keys.checkpoint(one.id), value } as const;
      }),
    ],
  );
  const back = async (checkpoint: string) => (await open({ resume: { checkpoint } })).notices;
  await assert.rejects(back("abcd"), refused("usage", /"abcd" is a part of 2 checkpoints' ids\./));
  await assert.rejects(back("00000099"), refused("usage", /Run 2 of "one" has no checkpoint 00000099\./));
  await assert.rejects(back("gh"), refused("usage", /has no checkpoint gh/));
  assert.deepEqual(await back("abcdefgh"), [
    `Lineage 2 begins: resumed from ${all[0]!.id} at step 4, where latest was at step 12.`,
  ]);
  store.close();
});
