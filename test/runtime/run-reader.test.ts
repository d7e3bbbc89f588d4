/** Reading a run again and again: the same as reading all of it, at the price of what is new. In-memory etcd. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryCoordination, type StoreImage } from "../../src/adapters/memory/coordination.ts";
import { systemClock } from "../../src/adapters/system/clock.ts";
import { encodeJson } from "../../src/core/json.ts";
import { keysOf } from "../../src/core/keys.ts";
import type { Running } from "../../src/core/membership.ts";
import { firstOrigin, type Origin } from "../../src/core/origin.ts";
import { RandomStream } from "../../src/core/random.ts";
import type { EpochRecord } from "../../src/core/records.ts";
import type { Entry, Operation } from "../../src/ports/coordination.ts";
import type { Log } from "../../src/ports/log.ts";
import { RunReader } from "../../src/runtime/run-reader.ts";
import { readRun } from "../../src/runtime/run-reading.ts";
import { running, state } from "../fixtures/cluster-view.ts";

const quiet: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, with: () => quiet };
const keys = keysOf("digits", 1);
const stepsPerEpoch = 4;

const put = (key: string, value: unknown): Operation => ({ kind: "put", key, value: encodeJson(value) });
const epoch = (number: number, lineage = 1, digest = ""): Operation =>
  put(keys.epoch(lineage, number), {
    epoch: number,
    state: { ...state(number * stepsPerEpoch, digest, number), lineage },
    // All that is read of it.
  } as EpochRecord);
const forms = (generation: number): Operation => put(keys.generation, running(["a"], generation) satisfies Running);

/** A store, who reads it again and again, and the entries that were told to the reader. */
function opened() {
  const store = new MemoryCoordination({ clock: systemClock, log: quiet, leaseMarginMs: 1 });
  const coordination = store.connect();
  const told: Entry[] = [];
  const list = coordination.list.bind(coordination);
  coordination.list = async (prefix, known) => {
    const listing = await list(prefix, known);
    told.push(...listing.entries);
    return listing;
  };
  const other = store.connect();
  return {
    store,
    told,
    reader: new RunReader(coordination, keys),
    write: (...operations: Operation[]) => other.transact([], operations),
    whole: async () => readRun((await other.list(keys.prefix)).entries, keys),
  };
}

test("the record of an epoch is asked for once, and what was saved when not at all", async () => {
  const { told, reader, write } = opened();
  await write(forms(1), epoch(0), epoch(1), put(keys.save(1, 4), {}));
  await reader.read();
  for (const number of [2, 3]) await write(epoch(number), put(keys.save(1, number * stepsPerEpoch), {}));
  assert.deepEqual(
    (await reader.read()).epochs.map((record) => record.epoch),
    [0, 1, 2, 3],
  );
  await reader.read();
  const asked = told.filter(({ key }) => key.startsWith(keys.epochs) || key.startsWith(keys.saves));
  assert.deepEqual(
    asked.map(({ key }) => key),
    [0, 1, 2, 3].map((number) => keys.epoch(1, number)),
  );
});

test("records that a Running takes away, and that are written anew, are read anew", async () => {
  const { reader, write } = opened();
  await write(forms(1), epoch(1, 1, "one"), epoch(2, 1, "one"));
  await reader.read();
  await write(forms(2), { kind: "delete", key: keys.epoch(1, 2) });
  await write(epoch(2, 1, "other"));
  assert.deepEqual(
    (await reader.read()).epochs.map(({ state: { digest } }) => digest),
    ["one", "other"],
  );
});

test("whatever is written, taken away and put back, it reads what is there", async () => {
  for (let seed = 0; seed < 300; seed++) {
    const { store, reader, write, whole } = opened();
    const random = new RandomStream(seed, "report");
    let [generation, lineage] = [1, 1];
    let backup: StoreImage | null = null;
    await write(forms(generation));
    for (let event = 0; event < 40; event++) {
      const there = (await whole()).epochs.filter((record) => record.state.lineage === lineage);
      const committed = Math.max(-1, ...there.map((record) => record.epoch));
      switch (random.nextBelow(8)) {
        case 0: {
          const from = random.nextBelow(committed + 2);
          const gone = there.filter((record) => record.epoch >= from);
          const taken = gone.map((record): Operation => ({ kind: "delete", key: keys.epoch(lineage, record.epoch) }));
          await write(forms(++generation), ...taken);
          break;
        }
        case 1: {
          const from = { checkpoint: null, state: { ...state(committed * stepsPerEpoch, "", committed), lineage } };
          const origin: Origin = { ...firstOrigin, lineage: ++lineage, from };
          await write(put(keys.origin, origin), put(keys.lineage(lineage), origin), forms(++generation));
          break;
        }
        case 2:
          backup = store.image();
          break;
        case 3:
          store.restore(backup);
          generation += 10;
          lineage = (await whole()).origin.lineage;
          await write(forms(generation));
          break;
        default: {
          // Seldom one that is missing before those that are there.
          const missing = Array.from({ length: committed + 1 }, (_, i) => i).filter(
            (number) => !there.some((record) => record.epoch === number),
          );
          const number =
            random.nextBelow(3) === 0 ? (missing[0] ?? committed + 1) : committed + 1 + random.nextBelow(2);
          await write(epoch(number, lineage, `${event}`));
        }
      }
      if (random.nextBelow(3) > 0) assert.deepEqual(await reader.read(), withoutPast(await whole()), `seed ${seed}`);
    }
    store.close();
  }
});

/** As the reader has it: epochs are not among its entries. */
function withoutPast(reading: ReturnType<typeof readRun>): typeof reading {
  const entries = [...reading.entries].filter(([key]) => !key.startsWith(keys.epochs) && !key.startsWith(keys.saves));
  return { ...reading, entries: new Map(entries) };
}
