/** Callbacks are told of committed epochs in order, by one coordinator after the other, and nothing that was told is forgotten. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { MemoryCoordination } from "../../src/adapters/memory/coordination.ts";
import { systemClock } from "../../src/adapters/system/clock.ts";
import type { CallbackCall, Told, ToldRun } from "../../src/core/callbacks.ts";
import { decodeJson } from "../../src/core/json.ts";
import { keysOf } from "../../src/core/keys.ts";
import type { Coordination } from "../../src/ports/coordination.ts";
import { CallbackTeller } from "../../src/runtime/callback-teller.ts";
import { quietLog } from "../fixtures/etcd.ts";

const keys = keysOf("told", 1);
const limitMs = 10_000;

function runOf(epochs: number): ToldRun {
  const history = Array.from({ length: epochs }, (_, i) => {
    return { epoch: i + 1, step: 4 * (i + 1), metrics: { loss: 1 }, improved: false };
  });
  const policy = { monitor: "loss", mode: "min", minDelta: 0, initialValueThreshold: null } as const;
  const status = { job: "told", state: "training", epochs: 9, history, early: null, policy } as const;
  return { run: 1, status, lineage: 1, from: 0 };
}

function coordinationOf(context: TestContext): Coordination {
  const store = new MemoryCoordination({ clock: systemClock, log: quietLog, leaseMarginMs: 100 });
  context.after(() => store.close());
  return store.connect();
}

function tellerOf(coordination: Coordination, read: () => ToldRun | null, call: (call: CallbackCall) => Promise<void>) {
  return new CallbackTeller({ coordination, keys, clock: systemClock, log: quietLog, pollMs: 5, read, call });
}

async function toldIn(coordination: Coordination): Promise<Told> {
  return decodeJson<Told>((await coordination.get(keys.told))!.value);
}

const epochOf = ({ event }: CallbackCall) => (event as { epoch: number }).epoch;

test("who coordinates next goes on behind what was told; what is thrown counts as told", async (context) => {
  const coordination = coordinationOf(context);
  const heard: number[] = [];
  const first = tellerOf(
    coordination,
    () => runOf(2),
    async (call) => {
      heard.push(epochOf(call));
      if (epochOf(call) === 1) throw new Error("nobody answers");
    },
  );
  await first.close(limitMs);
  const second = tellerOf(
    coordination,
    () => runOf(3),
    async (call) => void heard.push(epochOf(call)),
  );
  await second.close(limitMs);
  assert.deepEqual(heard, [1, 2, 3]);
  assert.equal((await toldIn(coordination)).epoch, 3);
});

test("a coordinator that was replaced in the middle of a call does not take back what the next one has told", async (context) => {
  const coordination = coordinationOf(context);
  let answer = () => {};
  let called = () => {};
  const isCalled = new Promise<void>((resolve) => {
    called = resolve;
  });
  const old: number[] = [];
  const slow = tellerOf(
    coordination,
    () => runOf(3),
    async (call) => {
      old.push(epochOf(call));
      called();
      if (old.length > 1) return;
      await new Promise<void>((resolve) => {
        answer = resolve;
      });
    },
  );
  await isCalled;
  const next: number[] = [];
  await tellerOf(
    coordination,
    () => runOf(3),
    async (call) => void next.push(epochOf(call)),
  ).close(limitMs);
  assert.deepEqual(next, [1, 2, 3]);
  answer();
  await slow.close(limitMs);
  assert.deepEqual(old, [1], "the rest was told meanwhile");
  assert.equal((await toldIn(coordination)).epoch, 3);
});
