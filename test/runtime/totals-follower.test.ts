/** What an observer makes of what members have said before they fall silent. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { bucketLayout, chunkOf, plainValues } from "../../src/core/bucket-layout.ts";
import type { Reduction, Round } from "../../src/core/contribution.ts";
import { encodeHeader } from "../../src/core/frame.ts";
import type { StreamEvents, Transport } from "../../src/ports/transport.ts";
import { TotalsFollower } from "../../src/runtime/totals-follower.ts";

const values = 6;
const statistics = 2;
const world = 2;
const layout = bucketLayout(plainValues(values), statistics);
const room = (): Reduction => ({ values: new Float32Array(values), statistics: new Float64Array(statistics) });

function follow() {
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
  const names = ["a", "b"];
  const follower = new TotalsFollower({
    ...{ transport, layout, onOpen: () => {} },
    membership: { generation: 1, rank: null, address: "0", addresses: names, workerIds: names },
    onFailure: (rank, reason) => failures.push(`${names[rank]}: ${reason}`),
  });
  /** A member's totals of a step: its own chunk of every bucket, filled with the step's number. */
  const say = (rank: number, round: Round) => {
    for (const bucket of layout.buckets) {
      const { begin, end } = chunkOf(bucket, world, rank);
      if (begin === end) continue;
      const row = bucket.kind === "float32" ? new Float32Array(end - begin) : new Float64Array(end - begin);
      const payload = new Uint8Array(row.fill(round.step).buffer);
      const whole = { begin: 0, end: world };
      const head = encodeHeader(
        { generation: 1, round, bucket: bucket.index, kind: "total", node: whole, rank },
        payload.byteLength,
      );
      const into = events!.place(rank, head, payload.byteLength)!;
      into.set(payload);
      events!.onMessage(rank, head, into);
    }
  };
  return { follower, failures, say, end: (rank: number) => events!.onBroken(rank, "it closed its outbox") };
}

const step = (number: number): Round => ({ step: number, pass: 0 });

test("what all members have said before they leave is followed to the last step; then, and not before, it is over", async () => {
  const { follower, failures, say, end } = follow();
  const [first, second, third] = [room(), room(), room()];
  const begun = follower.reduce(step(1), [], first);
  for (const number of [1, 2]) for (const rank of [0, 1]) say(rank, step(number));
  for (const rank of [0, 1]) end(rank);
  await begun;
  await follower.reduce(step(2), [], second);
  assert.deepEqual([[...first.values], [...second.values]], [Array(values).fill(1), Array(values).fill(2)]);
  assert.deepEqual(failures, []);
  void follower.reduce(step(3), [], third);
  assert.deepEqual(failures, ["a: it closed its outbox", "b: it closed its outbox"]);
});

test("a member that leaves in the middle of a step ends the following, once its totals are missing", async () => {
  const { follower, failures, say, end } = follow();
  void follower.reduce(step(1), [], room());
  say(0, step(1));
  end(0);
  assert.deepEqual(failures, []);
  end(1);
  assert.deepEqual(failures, ["b: it closed its outbox"]);
});

test("before there is a state to apply anything to, whoever leaves ends the following at once", () => {
  const { failures, say, end } = follow();
  say(0, step(1));
  end(0);
  assert.deepEqual(failures, ["a: it closed its outbox"]);
});
