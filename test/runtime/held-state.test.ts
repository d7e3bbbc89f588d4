/** What others are given of a state, and who waits for a trainer that never stops. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { failureBudget } from "../../src/core/failure-budget.ts";
import { encodeJson } from "../../src/core/json.ts";
import type { Running } from "../../src/core/membership.ts";
import type { Origin } from "../../src/core/origin.ts";
import { initialProgress } from "../../src/core/progress.ts";
import type { Compute, Exchange } from "../../src/ports/compute.ts";
import type { StateSnapshot } from "../../src/ports/transport.ts";
import { GenerationObserver, type GenerationObserverOptions } from "../../src/runtime/generation-observer.ts";
import { HeldState } from "../../src/runtime/held-state.ts";
import { bothDigestsOf } from "../../src/runtime/state.ts";
import { ManualClock, settled } from "../fixtures/manual-clock.ts";

const layout = { weightCount: 2, trainableCount: 2, slotNames: [] };
const snapshotAt = (step: number): StateSnapshot => ({
  progress: encodeJson({ ...initialProgress(1, 1), step }),
  values: Float32Array.of(step, -step),
});

/** A trainer that stands at step 3, or computes for ever: then it answers nothing. */
function trainer({ hangs = false } = {}): Compute {
  let state = snapshotAt(3);
  const refuse = () => Promise.reject(new Error("nobody asks for this"));
  return {
    initialize: async () => {},
    restore: async (to) => {
      state = to;
    },
    snapshot: async () => (hangs ? new Promise<never>(() => {}) : state),
    run: () => new Promise(() => {}),
    freeze: async () => (hangs ? new Promise<never>(() => {}) : undefined),
    voteToStop: refuse,
    voteToSave: refuse,
    gradient: refuse,
  };
}

const origin: Origin = {
  ...{ lineage: 2, era: 1, reason: "it was asked for", best: null, after: 0 },
  from: { checkpoint: null, state: { lineage: 1, era: 1, step: 3, epoch: 0, digest: "" } },
};

test("what a lineage begins from is given away until the first step or the next report, and no longer", async () => {
  for (const over of ["stepped", "reported"] as const) {
    const held = new HeldState(trainer(), layout);
    await held.initialize({ lineage: 1, era: 1 });
    await held.begin(origin);
    assert.equal((await held.source())?.name.lineage, 1);
    assert.equal((await held.copy())?.name.lineage, 2);
    held[over]();
    assert.equal((await held.source())?.name.lineage, 2, over);
  }
});

test("an observer whose trainer hangs waits for it no longer than its generation lasts", async () => {
  const clock = new ManualClock();
  const held = new HeldState(trainer({ hangs: true }), layout);
  await held.initialize({ lineage: 1, era: 1 });
  const copied = snapshotAt(4);
  const { state: digest } = await bothDigestsOf(copied, layout);
  let copies = 0;
  const exchange: Exchange = {
    join: async () => {},
    leave: async () => {},
    serveState: () => {},
    copyState: async () => {
      copies++;
      return { ...copied, digest };
    },
    close: async () => {},
  };
  const log = { debug() {}, info() {}, warn() {}, error() {} };
  const options = {
    ...{ exchange, held, clock, log, budget: failureBudget(), address: "w1:1", coordination: {}, keys: {} },
    ...{ record: { shards: 2 }, onState: () => assert.fail("it has no state while its trainer computes") },
  } as unknown as GenerationObserverOptions; // what the way to here reads
  const running = { generation: 2, members: [{ address: "w2:1", workerId: "w2" }] } as unknown as Running;
  const over = new AbortController();
  let ended: unknown = null;
  const following = new GenerationObserver(options, running).follow(over.signal).catch((error: unknown) => {
    ended = error;
  });
  await clock.advance(0);
  assert.equal(copies, 1);
  over.abort(new Error("the generation is over"));
  await clock.advance(failureBudget().watchMs);
  await settled();
  assert.match(String(ended), /the generation is over/);
  await following;
});
