/** How long a forming generation is waited for: the pure rule, and a coordinator that counts with it. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { MemoryCoordination } from "../../src/adapters/memory/coordination.ts";
import { failureBudget } from "../../src/core/failure-budget.ts";
import { decodeJson, encodeJson } from "../../src/core/json.ts";
import { keysOf } from "../../src/core/keys.ts";
import { type Generation, type Member, memberIds } from "../../src/core/membership.ts";
import type { JobRecord } from "../../src/core/records.ts";
import type { Report } from "../../src/core/state-order.ts";
import type { Log } from "../../src/ports/log.ts";
import { Coordinator } from "../../src/runtime/coordinator.ts";
import { FormingPatience } from "../../src/runtime/forming-patience.ts";
import { ManualClock } from "../fixtures/manual-clock.ts";

const quiet: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, with: () => quiet };

test("the limit doubles each time that somebody was late", () => {
  const patience = new FormingPatience(1000);
  const limits = [patience.limitMs(0)];
  for (const nowMs of [1000, 3000, 7000]) {
    patience.late(nowMs);
    limits.push(patience.limitMs(nowMs));
  }
  assert.deepEqual(limits, [1000, 2000, 4000, 8000]);
});

test("however often somebody was late, the limit has an end", () => {
  const patience = new FormingPatience(1000);
  for (let i = 0; i < 100; i++) patience.late(0);
  assert.equal(patience.limitMs(0), 64_000);
});

test("the limit is as it was once nobody has been late for four times as long", () => {
  const patience = new FormingPatience(1000);
  patience.late(0);
  patience.late(0);
  assert.equal(patience.limitMs(16_000), 4000);
  assert.equal(patience.limitMs(16_001), 1000);
  patience.late(20_000);
  assert.equal(patience.limitMs(20_000), 2000, "it begins to grow from there");
});

test("who is late once is counted once, though the decision to go on without it has to be taken again", async (context) => {
  const { clock, isFormed, formingMs } = await lateMembers(context, { failing: 2 });
  await clock.advance(1.5 * formingMs);
  assert.deepEqual(await isFormed(), ["a", "c"], "b has not reported, and is left out");
  await clock.advance(formingMs);
  assert.deepEqual(await isFormed(), ["a", "c"], "c has twice as long");
  await clock.advance(formingMs);
  assert.deepEqual(await isFormed(), ["a"], "and not four times as long");
});

/**
 * Of three members that are to form generation 1 b does not report, and of those of generation 2 c does not.
 * @param failing how often something changes just before generation 2 is written
 */
async function lateMembers(context: TestContext, { failing }: { failing: number }) {
  const clock = new ManualClock();
  const store = new MemoryCoordination({ clock, log: quiet, leaseMarginMs: 1 });
  context.after(() => store.close());
  const [keys, budget, coordination] = [keysOf("digits", 1), failureBudget(), store.connect()];
  const put = (key: string, value: unknown) => ({ kind: "put", key, value: encodeJson(value) }) as const;
  const record = {
    ...{
      job: "digits",
      run: 1,
      shards: 3,
      workers: { start: 3, min: 1, max: 3 },
      budgetMs: budget.budgetMs,
      threads: 1,
    },
    ...{ fields: {}, epochs: 1, replicas: 0, mayChange: false, start: 1 },
  } as unknown as JobRecord; // nobody asks what it keeps
  const member = (workerId: string): Member => ({
    ...{ workerId, name: workerId, address: workerId, pid: 1, fingerprint: {}, start: 1, leaving: false, store: null },
    ...{ hasState: false, seen: 0, trainedIn: 0, stepsPerEpoch: 1, stepMs: 0, brings: [] },
  });
  const report = (generation: number, workerId: string) =>
    put(keys.report(generation, workerId), { workerId, state: null, trainedIn: 0, isCopy: false } satisfies Report);
  await coordination.transact(
    [],
    [
      put(keys.record, record),
      ...["a", "b", "c"].map((id) => put(keys.member(id), member(id))),
      ...[report(1, "a"), report(1, "c"), report(2, "a")],
    ],
  );
  let failed = 0;
  const disturbed = store.connect();
  const transact = disturbed.transact.bind(disturbed);
  disturbed.transact = (conditions, then) => {
    const isSecond = then.some(
      (one) => one.kind === "put" && one.key === keys.generation && decodeJson<Generation>(one.value).generation === 2,
    );
    return isSecond && failed++ < failing
      ? Promise.resolve({ succeeded: false, revision: 0 })
      : transact(conditions, then);
  };
  const coordinator = new Coordinator({
    ...{
      record,
      keys,
      budget,
      coordination: disturbed,
      clock,
      log: quiet,
      archive: null,
      brought: () => assert.fail(),
    },
    self: { address: "coordinator", pid: 1, name: "coordinator" },
    liveness: { watch: () => ({ close: () => {} }) },
  });
  const over = new AbortController();
  const running = coordinator.run(over.signal);
  context.after(async () => {
    over.abort();
    await running;
  });
  await clock.advance(0);
  return {
    clock,
    formingMs: budget.formingMs,
    isFormed: async () => {
      const entry = await coordination.get(keys.generation);
      return memberIds(entry && decodeJson<Generation>(entry.value));
    },
  };
}
