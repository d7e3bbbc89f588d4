/** When a leader says that it cannot publish, and what its token stands for: stores in memory, and storage that fails. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { MemoryCoordination } from "../../src/adapters/memory/coordination.ts";
import { LockstepError } from "../../src/core/errors.ts";
import { encodeJson } from "../../src/core/json.ts";
import { keysOf } from "../../src/core/keys.ts";
import { initialProgress } from "../../src/core/progress.ts";
import type { JobRecord } from "../../src/core/records.ts";
import type { CheckpointContent, CheckpointStorage } from "../../src/ports/checkpoint-storage.ts";
import type { Coordination, Operation } from "../../src/ports/coordination.ts";
import type { Log } from "../../src/ports/log.ts";
import { Leadership } from "../../src/runtime/leadership.ts";
import type { Point } from "../../src/runtime/point.ts";
import { asLeader, RunView } from "../../src/runtime/run-view.ts";
import { ManualClock } from "../fixtures/manual-clock.ts";

const keys = keysOf("digits", 1);
const attempts = 12;
const neverMs = 3_600_000;
const quiet: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, with: () => quiet };
const etcdIsAway = new LockstepError("coordination-unavailable", "etcd gave no answer.");

/** A leader with one point to publish, which tries as often as the run's keys are read. */
async function tryAgainAndAgain(
  context: TestContext,
  write: () => Promise<never>,
  disturbed: (coordination: Coordination) => Coordination = (coordination) => coordination,
  record: (written: number) => void = () => {},
) {
  const clock = new ManualClock();
  const store = new MemoryCoordination({ clock, log: quiet, leaseMarginMs: 1 });
  context.after(() => store.close());
  const coordination = store.connect();
  const lease = await coordination.grantLease(neverMs);
  const put = (key: string, value: unknown): Operation => ({ kind: "put", key, value: encodeJson(value) });
  const generation = { kind: "running", generation: 1, members: [{ workerId: "a.1" }] };
  await coordination.transact(
    [],
    [put(keys.generation, generation), { ...put(keys.leader, { workerId: "a.1", generation: 1 }), lease } as Operation],
  );
  const view = new RunView(coordination, keys, 1, neverMs, quiet);
  context.after(() => view.close());
  await view.refresh();
  let written = 0;
  const alarms: unknown[] = [];
  const storage: Partial<CheckpointStorage> = {
    write: () => {
      written++;
      return write();
    },
  };
  const leadership = new Leadership({
    ...{
      workerId: "a.1",
      keys,
      view,
      clock,
      log: quiet,
      pollMs: neverMs,
      lease: () => lease,
      newId: () => "1",
      seen: () => 1,
    },
    record: { job: "digits", run: 1 } as JobRecord, // nothing else of it is looked at
    coordination: disturbed(coordination),
    storage: storage as CheckpointStorage, // nothing but `write` is called before something is published
    onFailure: (error) => alarms.push(error),
    recording: { record: async () => record(written) },
  });
  const progress = initialProgress(1, 1);
  const state = { lineage: 1, era: 1, step: 0, epoch: 0, digest: "" };
  const point: Point = {
    ...{ kind: "boundary", periodic: false, release: null, name: "epoch-0", generation: 1, progress, state },
    ...{ weightsDigest: "", end: null, agreed: true, content: () => ({}) as CheckpointContent },
  };
  leadership.add(point);
  for (let i = 0; i < attempts; i++) await leadership.tend();
  await leadership.resign();
  return { alarms: alarms.length, written };
}

test("a leader whose storage fails again and again says that it cannot publish", async (context) => {
  const full = new Error("ENOSPC: no space left on device");
  const { alarms, written } = await tryAgainAndAgain(context, () => Promise.reject(full));
  assert.ok(written >= attempts, `${written} attempts`);
  assert.ok(alarms > 0);
});

test("an epoch is shown to whoever watches before its checkpoint: who leads next has it as long as it is not published", async (context) => {
  const writtenBefore: number[] = [];
  const full = new Error("ENOSPC: no space left on device");
  await tryAgainAndAgain(
    context,
    () => Promise.reject(full),
    undefined,
    (written) => writtenBefore.push(written),
  );
  assert.equal(writtenBefore[0], 0);
});

test("a leader that etcd does not answer waits for it, and does not put it down to its storage", async (context) => {
  let asked = 0;
  const away = (coordination: Coordination): Coordination =>
    new Proxy(coordination, {
      get(target, name) {
        if (name !== "get") return Reflect.get(target, name, target).bind(target);
        return () => {
          asked++;
          return Promise.reject(etcdIsAway);
        };
      },
    });
  const { alarms } = await tryAgainAndAgain(context, () => Promise.reject(etcdIsAway), away);
  assert.ok(asked >= attempts, `asked ${asked} times`);
  assert.equal(alarms, 0);
});

test("storage that has to ask etcd, and gets no answer, is no storage that fails", async (context) => {
  const { alarms, written } = await tryAgainAndAgain(context, () => Promise.reject(etcdIsAway));
  assert.ok(written >= attempts, `${written} attempts`);
  assert.equal(alarms, 0);
});

test("rule 7: a token of an era that is over fits no leader of the next, though its revision comes again", async (context) => {
  const clock = new ManualClock();
  const [before, after] = [1, 2].map(() => {
    const store = new MemoryCoordination({ clock, log: quiet, leaseMarginMs: 1 });
    context.after(() => store.close());
    return store.connect();
  });
  const put = (key: string, value: string): Operation => ({ kind: "put", key, value });
  const lead = async (coordination: Coordination, first: Operation) => {
    await coordination.transact([], [first]);
    return (await coordination.transact([], [put(keys.leader, "a.1")])).revision;
  };
  const token = await lead(before!, put(keys.record, "{}"));
  // etcd has lost its data, and begins to count anew.
  assert.equal(await lead(after!, put(keys.origin, "era 2")), token);
  const late = asLeader(keys, token, { origin: null });
  const [then, now] = await Promise.all([before, after].map((one) => one!.transact(late, [put(keys.latest, "{}")])));
  assert.deepEqual([then!.succeeded, now!.succeeded], [true, false]);
});
