import assert from "node:assert/strict";
import { test } from "node:test";
import { type CallbackCall, nextCall, type Told, type ToldRun } from "../../src/core/callbacks.ts";

/** A run with these losses by epoch; each that is smaller than all before is the best so far. */
function runOf(
  losses: readonly number[],
  more: Partial<ToldRun> & { readonly state?: "training" | "finished" } = {},
): ToldRun {
  const { state = "training", ...rest } = more;
  const history = losses.map((loss, i) => ({
    ...{ epoch: i + 1, step: 10 * (i + 1), metrics: { loss } },
    improved: losses.slice(0, i).every((before) => loss < before),
  }));
  const status = {
    job: "one",
    state,
    epochs: 3,
    history,
    early: null,
    policy: { monitor: "loss", mode: "min" as const },
  };
  return { run: 2, status, lineage: 1, from: 0, ...rest };
}

/** Everything that is told, one after the other, and where that leaves what was told. */
function tellAll(told: Told | null, run: ToldRun): { calls: CallbackCall[]; told: Told | null } {
  const calls: CallbackCall[] = [];
  for (let call = nextCall(told, run); call !== null; call = nextCall(told, run)) {
    calls.push(call);
    told = call.told;
  }
  return { calls, told };
}

const named = (calls: readonly CallbackCall[]) => calls.map(({ name, event }) => `${name} ${event.epoch}`);

test("every committed epoch is told once and in order, the best ones besides, and the end when it has come", () => {
  const first = tellAll(null, runOf([3, 2]));
  assert.deepEqual(named(first.calls), ["onEpochEnd 1", "onBest 1", "onEpochEnd 2", "onBest 2"]);
  const then = tellAll(first.told, runOf([3, 2, 2.5], { state: "finished" }));
  assert.deepEqual(named(then.calls), ["onEpochEnd 3", "onFinish 3"]);
  assert.deepEqual(then.calls[0]!.event, {
    ...{ job: "one", run: 2, epoch: 3, epochs: 3, step: 30, metrics: { loss: 2.5 }, improved: false },
    best: { epoch: 2, step: 20, monitor: "loss", value: 2 },
  });
  assert.deepEqual(tellAll(then.told, runOf([3, 2, 2.5], { state: "finished" })).calls, []);
  // It is trained on, and ends again.
  const more = tellAll(then.told, runOf([3, 2, 2.5, 1], { state: "finished" }));
  assert.deepEqual(named(more.calls), ["onEpochEnd 4", "onBest 4", "onFinish 4"]);
});

test("whoever coordinates next goes on after what was written down last: a call is made again, none is left out", () => {
  const run = runOf([3, 2, 1], { state: "finished" });
  const { calls } = tellAll(null, run);
  for (let lost = 0; lost < calls.length; lost++) {
    // The call was made, and its mark was lost with the coordinator.
    const told = calls[lost - 1]?.told ?? null;
    assert.deepEqual(named(tellAll(told, run).calls), named(calls).slice(lost));
  }
});

test("a run that goes back tells the epochs again that it trains again, and no others", () => {
  const { told } = tellAll(null, runOf([3, 2, 1], { state: "finished" }));
  const back = runOf([3, 2.2, 0.9], { lineage: 2, from: 1, state: "finished" });
  assert.deepEqual(named(tellAll(told, back).calls), [
    "onEpochEnd 2",
    "onBest 2",
    "onEpochEnd 3",
    "onBest 3",
    "onFinish 3",
  ]);
});
