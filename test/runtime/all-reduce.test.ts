/** Frames that a member should not send: each is refused with its reason, and changes no number. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "../../src/adapters/system/clock.ts";
import { bucketLayout, chunkOf, plainValues } from "../../src/core/bucket-layout.ts";
import { encodeHeader, type FrameHeader, headerBytes } from "../../src/core/frame.ts";
import { plainMemory } from "../../src/core/row-memory.ts";
import type { StreamEvents, Transport } from "../../src/ports/transport.ts";
import { usualTimes } from "../../src/core/lateness.ts";
import { AllReduce } from "../../src/runtime/all-reduce.ts";
import { Staging } from "../../src/runtime/staging.ts";

const values = 6;
const statistics = 2;
const world = 2;
const generation = 7;
const layout = bucketLayout(plainValues(values), statistics);
const round = { step: 5, pass: 0 } as const;
const names = ["a", "b"];

/** Rank 0 of two, with a shard each, in the middle of a round. */
function reducing() {
  let events: StreamEvents | null = null;
  const transport: Transport = {
    address: "0",
    join(_membership, told) {
      events = told;
      return { send: () => {}, sendAll: () => {}, close: () => {} };
    },
    serveState: () => {},
    copyState: () => Promise.reject(new Error("nobody is there")),
    close: async () => {},
  };
  const failures: string[] = [];
  const allReduce = new AllReduce({
    ...{
      transport,
      layout,
      shards: world,
      clock: systemClock,
      usual: usualTimes(),
      onOpen: () => {},
      onEarly: () => {},
    },
    ...{ memory: plainMemory, staging: new Staging(plainMemory) },
    membership: { generation, rank: 0, address: "0", addresses: names, workerIds: names },
    onFailure: (rank, reason) => failures.push(`${names[rank]}: ${reason}`),
  });
  const row = (value: number) => ({
    values: new Float32Array(values).fill(value),
    statistics: new Float64Array(statistics).fill(value),
  });
  const into = row(0);
  const done = allReduce.reduce(round, [{ node: { begin: 0, end: 1 }, sum: row(1) }], into);
  /** What rank 1 says: its shard's sum of a bucket, or the total of its own chunk, all of them 2. */
  const say = (kind: FrameHeader["kind"], bucket: number, changes: Partial<FrameHeader> = {}, extraBytes = 0) => {
    const { begin, end } = chunkOf(layout.buckets[bucket] ?? layout.buckets[0]!, world, kind === "partial" ? 0 : 1);
    const numbers =
      layout.buckets[bucket]?.kind === "float64" ? new Float64Array(end - begin) : new Float32Array(end - begin);
    const payload = new Uint8Array(numbers.fill(kind === "partial" ? 2 : 3).buffer);
    const node = kind === "partial" ? { begin: 1, end: 2 } : { begin: 0, end: 2 };
    const bytes = payload.byteLength + extraBytes;
    const head = encodeHeader({ kind, generation, round, bucket, node, rank: 1, ...changes }, bytes);
    const room = events!.place(1, head, bytes);
    if (!room) return false;
    room.set(payload);
    events!.onMessage(1, head, room);
    return true;
  };
  return { say, place: (head: Uint8Array, bytes: number) => events!.place(1, head, bytes), failures, into, done };
}

test("what a member should send is added up", async () => {
  const { say, failures, into, done } = reducing();
  for (const kind of ["partial", "total"] as const) {
    for (const bucket of layout.buckets.keys()) assert.ok(say(kind, bucket), `${kind} ${bucket}`);
  }
  await done;
  assert.deepEqual(failures, []);
  assert.deepEqual([...into.values, ...into.statistics], new Array(values + statistics).fill(3));
});

test("frames of another generation, step, rank, place or size, and those that come again, are refused with the reason", () => {
  const cases: readonly [say: (of: ReturnType<typeof reducing>) => boolean, expected: RegExp][] = [
    [({ say }) => say("partial", 0, { generation: generation - 1 }), /a frame of generation 6/],
    [({ say }) => say("partial", 0, { generation: generation + 1 }), /a frame of generation 8/],
    [({ say }) => say("partial", 0, { rank: 0 }), /a frame of rank 0/],
    [({ say }) => say("partial", 99), /bucket 99/],
    [({ say }) => say("partial", 0, { round: { step: 4, pass: 0 } }), /a frame of step 4 at step 5/],
    [({ say }) => say("partial", 0, { round: { step: 7, pass: 0 } }), /a frame of step 7 at step 5/],
    [({ say }) => say("total", 0, { round: { step: 6, pass: 0 } }), /a total of step 6 at another step/],
    [({ say }) => say("partial", 0, {}, 4), /bytes for chunk 0 of bucket 0/],
    [({ say }) => say("total", 0, {}, 2 ** 31), /bytes for chunk 1 of bucket 0/],
    [({ say }) => say("partial", 0, { node: { begin: 0, end: 1 } }), /which are not its own/],
    [({ say }) => say("partial", 0) && say("partial", 0), /the sum of shards .* twice/],
    [({ say }) => say("total", 0) && say("total", 0), /the total of chunk 1 twice/],
    [({ place }) => place(new Uint8Array(headerBytes), 8) !== null, /it does not begin like one/],
  ];
  for (const [sayIt, expected] of cases) {
    const of = reducing();
    assert.equal(sayIt(of), false, String(expected));
    assert.equal(of.failures.length, 1);
    assert.match(of.failures[0]!, expected);
  }
});
