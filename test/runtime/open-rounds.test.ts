/** A round that is opened: what of a worker's sum is there is sent while the rest is computed, finished on the way. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { bucketLayout } from "../../src/core/bucket-layout.ts";
import type { Contribution, Reduction } from "../../src/core/contribution.ts";
import { decodeHeader } from "../../src/core/frame.ts";
import { floatsIn, plainMemory, shortsIn } from "../../src/core/row-memory.ts";
import type { Clock } from "../../src/ports/clock.ts";
import type { Transport } from "../../src/ports/transport.ts";
import { usualTimes } from "../../src/core/lateness.ts";
import { AllReduce } from "../../src/runtime/all-reduce.ts";
import { Staging } from "../../src/runtime/staging.ts";

/** Gradients that travel in 16 bits, statistics of a layer in 32, and the numbers beside them: a bucket each. */
const values = 6;
const gradients = { count: 4, wire: "bfloat16" } as const;
/** Two parameters that lie in the first bucket, and one in the second. */
const partEnds = [1, 4, 6];
const layout = bucketLayout({ count: values, gradients, partEnds }, 2);
const round = { step: 3, pass: 0 } as const;
const names = ["a", "b"];

const row = (value: number): Reduction => ({
  values: new Float32Array(values).fill(value),
  statistics: new Float64Array(2).fill(value),
});

/** Rank 0 of two with four shards; both of its own are added up by whoever reduces. Time passes when `look` says so. */
function opened() {
  const sent: { bucket: number; numbers: number[] }[] = [];
  const transport: Transport = {
    address: "0",
    join: () => ({
      send(_rank, head, payload) {
        const { bucket } = decodeHeader(head, payload.byteLength);
        const bytes = payload.slice();
        if (bucket === 2) return void sent.push({ bucket, numbers: [...new Float64Array(bytes.buffer)] });
        const bits = bucket === 0 ? Uint32Array.from(shortsIn(bytes), (short) => short * 65_536) : null;
        sent.push({ bucket, numbers: [...(bits ? new Float32Array(bits.buffer) : floatsIn(bytes))] });
      },
      sendAll: () => {},
      close: () => {},
    }),
    serveState: () => {},
    copyState: () => Promise.reject(new Error("nobody is there")),
    close: async () => {},
  };
  let nowMs = 0;
  let wake = () => {};
  const clock: Clock = {
    monotonicMs: () => nowMs,
    wallMs: () => nowMs,
    sleep: (_ms, signal) =>
      new Promise<void>((resolve, reject) => {
        wake = resolve;
        signal?.addEventListener("abort", () => reject(new Error("aborted")));
      }),
  };
  const allReduce = new AllReduce({
    ...{ transport, layout, clock, shards: 4, usual: usualTimes(), onOpen: () => {}, onEarly: () => {} },
    ...{ memory: plainMemory, staging: new Staging(plainMemory) },
    membership: { generation: 1, rank: 0, address: "0", addresses: ["a:1", "b:1"], workerIds: names },
    onFailure: (rank, reason) => assert.fail(`${names[rank]}: ${reason}`),
  });
  const [first, second] = [row(1), row(0)];
  const own: Contribution[] = [{ node: { begin: 0, end: 2 }, sum: first, rest: [second] }];
  const written = new Int32Array(new SharedArrayBuffer(4 * partEnds.length));
  const into = row(0);
  allReduce.open({ round, own, into, partEnds, written });
  const look = async () => {
    nowMs += 5;
    wake();
    await new Promise(setImmediate);
  };
  /** What another thread does: the second shard's numbers of a part, and then that they are there. */
  const write = (part: number, value: number) => {
    second.values.fill(value, partEnds[part - 1] ?? 0, partEnds[part]);
    Atomics.store(written, part, 1);
  };
  return { allReduce, own, into, second, sent, look, write };
}

test("a bucket is sent when all its parts are there, rounded and added up, and the others with the rest of the round", async () => {
  const { allReduce, own, into, second, sent, look, write } = opened();
  await look();
  assert.deepEqual(sent, []);
  write(2, 5);
  await look();
  assert.deepEqual(sent.splice(0), [{ bucket: 1, numbers: [6] }], "the half of the bucket that the peer adds up");
  write(1, 2 ** -9); // less than half of a bfloat16's last bit beside 1
  await look();
  assert.deepEqual(sent, [], "its first parameter is not there");
  write(0, 3);
  second.statistics.fill(7);
  void allReduce.reduce(round, own, into);
  assert.deepEqual(sent.splice(0), [
    { bucket: 0, numbers: [1, 1] },
    { bucket: 2, numbers: [8] },
  ]);
  await look();
  assert.deepEqual(sent, [], "once each");
  allReduce.close();
});

test("while its worker computes, an opened round waits for nobody, and is looked at as computing", async () => {
  const { allReduce, own, into } = opened();
  const missing = () => allReduce.waiting?.missing ?? null;
  assert.equal(missing(), null);
  assert.equal(allReduce.resting(false)?.sinceMs, 0);
  void allReduce.reduce(round, own, into);
  assert.deepEqual(missing(), [1]);
  assert.equal(allReduce.resting(false), null);
  allReduce.close();
});

test("what becomes of a round whose generation ends is not sent", async () => {
  const { allReduce, sent, look, write } = opened();
  allReduce.close();
  for (const part of partEnds.keys()) write(part, 1);
  await look();
  assert.deepEqual(sent, []);
});
