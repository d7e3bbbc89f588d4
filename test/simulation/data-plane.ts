/** How many messages one worker sends in a step, and how many bytes: counted on the all-reduce, with nobody else there. */
import { bucketLayout, chunkOf, plainValues } from "../../src/core/bucket-layout.ts";
import type { Reduction } from "../../src/core/contribution.ts";
import { encodeHeader, type FrameHeader } from "../../src/core/frame.ts";
import { largestSubtrees, shardsOfRank } from "../../src/core/reduce-tree.ts";
import { plainMemory } from "../../src/core/row-memory.ts";
import type { StreamEvents, Transport } from "../../src/ports/transport.ts";
import { usualTimes } from "../../src/core/lateness.ts";
import { AllReduce } from "../../src/runtime/all-reduce.ts";
import { Staging } from "../../src/runtime/staging.ts";

/** One bucket of gradients, and loss, samples and votes. */
const values = 2 ** 20;
const statistics = 3;
const round = { step: 0, pass: 0 } as const;

export async function countMessages(world: number): Promise<{ messages: number; bytes: number }> {
  const counts = { messages: 0, bytes: 0 };
  const count = (head: Uint8Array, payload: Uint8Array, times: number) => {
    counts.messages += times;
    counts.bytes += times * (head.byteLength + payload.byteLength);
  };
  let events: StreamEvents | null = null;
  const transport: Transport = {
    address: "0",
    join(_membership, told) {
      events = told;
      return {
        send: (_rank, head, payload) => count(head, payload, 1),
        sendAll: (head, payload) => count(head, payload, world - 1),
        close: () => {},
      };
    },
    serveState: () => {},
    copyState: () => Promise.reject(new Error("nobody is there")),
    close: async () => {},
  };
  const names = Array.from({ length: world }, (_, i) => String(i));
  const layout = bucketLayout(plainValues(values), statistics);
  const reduction = new AllReduce({
    ...{ memory: plainMemory, staging: new Staging(plainMemory) },
    ...{
      transport,
      layout,
      shards: world,
      onOpen: () => {},
      onEarly: () => {},
      clock: stillClock,
      usual: usualTimes(),
    },
    membership: { generation: 1, rank: 0, address: names[0]!, addresses: names, workerIds: names },
    onFailure: (rank, reason) => {
      throw new Error(`${rank}: ${reason}`);
    },
  });
  const row = (): Reduction => ({ values: new Float32Array(values), statistics: new Float64Array(statistics) });
  const own = largestSubtrees(world, shardsOfRank(world, world, 0)).map((node) => ({ node, sum: row() }));
  const done = reduction.reduce(round, own, row());
  const told = (header: FrameHeader, payload: Uint8Array) => {
    const head = encodeHeader(header, payload.byteLength);
    events!.onMessage(header.rank, head, events!.place(header.rank, head, payload.byteLength)!);
  };
  for (const bucket of layout.buckets) {
    const elementBytes = bucket.kind === "float32" ? 4 : 8;
    const chunkBytes = (owner: number) => {
      const { begin, end } = chunkOf(bucket, world, owner);
      return new Uint8Array((end - begin) * elementBytes);
    };
    const header = { generation: 1, round, bucket: bucket.index };
    for (let rank = 1; rank < world; rank++) {
      for (const node of largestSubtrees(world, shardsOfRank(world, world, rank))) {
        const partial = chunkBytes(0);
        if (partial.byteLength > 0) told({ ...header, kind: "partial", node, rank }, partial);
      }
    }
    for (let rank = 1; rank < world; rank++) {
      const total = chunkBytes(rank);
      const node = { begin: 0, end: world };
      if (total.byteLength > 0) told({ ...header, kind: "total", node, rank }, total);
    }
  }
  await done;
  reduction.close();
  return counts;
}

const stillClock = { monotonicMs: () => 0, wallMs: () => 0, sleep: () => new Promise<void>(() => {}) };
