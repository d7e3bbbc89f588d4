/** A simulated cluster keeps every promise of PROTOCOL.md, whatever a few hundred seeds do to it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { countEtcd, SteppingCompute } from "./scaling.ts";
import { allKinds, describeFault, supportedFaults } from "./schedule.ts";
import { scenarioOf, simulate } from "./simulation.ts";
import { Trace } from "./trace.ts";
import { World } from "./world.ts";

/** Each of these broke something once; CHANGELOG and the commits' messages say what. */
const remembered = [
  270, 299, 328, 1406, 1954, 25, 450, 765, 10, 296, 380, 479, 776, 1223, 980387, 981360, 551126166, 258, 294, 1375,
  41316, 61453, 90195, 3887, 902483, 700445, 703465, 902666, 704986, 905069, 910540, 712144, 913447, 717052, 914965,
  915967, 1795677612047, 772792, 773722, 773857, 880017, 100100, 300249, 310025, 100345, 1795837286101,
];
const fixed = Array.from({ length: 150 }, (_, i) => i + 1);
const freshCount = 200;
const firstFresh = Math.floor(Date.now() / 1000) * 1000;

test("between two events every promise settles, however long the chain", async () => {
  const world = new World(1, new Trace());
  const seen: string[] = [];
  world.after(1, null, () => {
    void (async () => {
      for (let i = 0; i < 1000; i++) await null;
      seen.push("chain");
    })();
  });
  world.after(1, null, () => seen.push("next event"));
  await world.run(() => false);
  assert.deepEqual(seen, ["chain", "next event"]);
});

test("the same seed gives the same trace", async () => {
  for (const seed of [3, 16, 57]) {
    const [first, second] = [await simulate(scenarioOf(seed)), await simulate(scenarioOf(seed))];
    assert.equal(first.trace.hash(), second.trace.hash(), `seed ${seed}`);
    assert.equal(first.events, second.events);
  }
});

test("fixed seeds keep every promise, and every supported fault happens", async () => {
  const faults: Record<string, number> = {};
  for (const seed of [...new Set([...fixed, ...remembered])]) {
    for (const [kind, count] of Object.entries(await check(seed))) faults[kind] = (faults[kind] ?? 0) + count;
  }
  const missing = allKinds.filter((kind) => supportedFaults[kind] && !faults[kind]);
  assert.deepEqual(missing, [], "every kind of fault was injected");
});

test(`${freshCount} fresh seeds, from ${firstFresh}, keep every promise`, async () => {
  for (let i = 0; i < freshCount; i++) await check(firstFresh + i);
});

test("training goes on while a save is written: the leader takes steps between the first byte and the rename", async () => {
  const scenario = scenarioOf(1);
  const job = { ...scenario.shape.job, epochs: 2, trainingSamples: 60, batchSize: 3, saveFreq: { steps: 2 } } as const;
  const shape = { ...scenario.shape, job: { ...job, patience: null }, stepMs: 8 };
  const { violation, trace, standings } = await simulate({ ...scenario, shape, schedule: [] });
  assert.equal(violation, null, violation?.why);
  assert.ok(standings.saved! >= 5, `${standings.saved} saves`);
  let writer: string | null = null;
  let besides = 0;
  for (const line of trace.text()) {
    const [, who, what, id] = /^ *[\d.]+ +(\S+) +(writes|has written|step) (\S+)/.exec(line) ?? [];
    if (what === "writes" && !id!.includes("step-00000000-")) writer = who!;
    else if (what === "has written") writer = null;
    else if (what === "step" && who === writer) besides++;
  }
  assert.ok(besides >= 10, `${besides} steps beside writing`);
});

test("more members than a transaction takes operations agree on an epoch, and go on without one of them", async () => {
  const { boundary, change } = await countEtcd(140);
  assert.equal(boundary.writes, 2 * 140 + 6);
  assert.ok(change.writes > 2 * 140, "suspicions, reports, and what takes them away");
});

test("a cluster that is counted fails with a worker of it, instead of going on for ever", async () => {
  const broken = new Error("there is no state");
  class BrokenCompute extends SteppingCompute {
    override snapshot(): Promise<never> {
      return Promise.reject(broken);
    }
  }
  const counting = countEtcd(2, (clock, shape) => new BrokenCompute(clock, shape));
  await assert.rejects(counting, { message: /^w\d has ended/, cause: broken });
});

test("a schedule can be read", () => {
  const fault = { kind: "kill-worker", atMs: 5, forMs: 7, target: 1, other: 2, on: null } as const;
  assert.equal(describeFault(fault), "kill-worker at 5 ms, target 1, other 2, for 7 ms");
});

async function check(seed: number): Promise<Readonly<Record<string, number>>> {
  const { violation, faults } = await simulate(scenarioOf(seed));
  const again = `npm run simulate -- --seed ${seed} --trace`;
  assert.equal(violation, null, `${violation?.invariant}: ${violation?.why}; see ${again}`);
  return faults;
}
