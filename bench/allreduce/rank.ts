/**
 * One worker's side of the all-reduce as it is in training: this thread stands for the one that computes, with its sums in
 * shared memory, and the product's own exchange thread sends, adds up and receives. Each line of input is JSON, each is
 * answered by a line; see group.ts. Its only word, if there is one, is the folder of its certificates.
 */
import { createInterface } from "node:readline";
import { MessageChannel } from "node:worker_threads";
import { builtModule } from "../../bin/build.mjs";
import { openChannel } from "../../src/adapters/system/thread-channel.ts";
import { startThread } from "../../src/adapters/system/thread.ts";
import { Arena, arenaMemory } from "../../src/adapters/wasm/arena.ts";
import type { ExchangeThreadData } from "../../src/cli/threads/exchange-thread.ts";
import { sentWork } from "../../src/cli/threads/sent-rows.ts";
import { plainValues } from "../../src/core/bucket-layout.ts";
import type { Reduction } from "../../src/core/contribution.ts";
import { sumTree } from "../../src/core/reduce-tree.ts";
import { plainMemory } from "../../src/core/row-memory.ts";
import { isShort, roundTo, type WireFormat } from "../../src/core/wire.ts";
import type { Membership } from "../../src/ports/transport.ts";
import { numbersOf } from "../../src/runtime/bucket-rows.ts";
import type { ReductionSize } from "../../src/runtime/peer-exchange.ts";
import type { Answer, Order } from "./group.ts";

/** Sums of loss and metrics, votes and counts travel with every step. */
const statistics = 8;
const budgetMs = 60_000;
/** Sums are looked at in every so many places. */
const checkedEvery = 9973;

/** A row to sum, of a job's size. */
interface Rows {
  readonly rank: number;
  readonly world: number;
  readonly generation: number;
  readonly own: Reduction;
  readonly into: Reduction;
  step: number;
}

const { port1, port2 } = new MessageChannel();
const shared = arenaMemory();
const arena = shared && new Arena(shared);
const data: ExchangeThreadData = { compute: port1, rows: shared };
let rows: Rows | null = null;
/** While the others go on to another size, their streams end. */
let isGoingOn = false;
const thread = startThread(
  new URL(await builtModule("cli/threads/exchange-thread")),
  data,
  {
    broken(broken: { rank: number; reason: string }) {
      if (!isGoingOn) throw new Error(`rank ${broken.rank}: ${broken.reason}`);
    },
  },
  (error) => {
    throw error;
  },
  [port1],
);
const channel = openChannel(port2, {});
const address = await thread.call<string>("listen", { listen: "127.0.0.1:0", tls: process.argv[2] ?? null, budgetMs });

const orders = createInterface({ input: process.stdin });
for await (const line of orders) {
  const answer = await follow(JSON.parse(line) as Order); // what group.ts writes
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await thread.stop();

async function follow(order: Order): Promise<Answer> {
  if (order.kind === "reduce") return { milliseconds: await reduce(order.repeats) };
  if (order.kind === "join") return await join(order);
  isGoingOn = true;
  return { address };
}

/** Sums rows of another size from now on, in a generation of its own; a first sum is compared with what it must be. */
async function join({ sizeBytes, wire, rank, addresses }: Extract<Order, { kind: "join" }>): Promise<Answer> {
  const world = addresses.length;
  const generation = (rows?.generation ?? 0) + 1;
  if (rows) await thread.call("leave");
  rows = { rank, world, generation, own: reductionOf(sizeBytes), into: reductionOf(sizeBytes), step: 0 };
  const { own, into } = rows;
  for (let i = 0; i < own.values.length; i++) own.values[i] = numberAt(rank, i);
  if (isShort(wire)) roundTo(wire, own.values);
  const size: ReductionSize = {
    shards: world,
    values: { ...plainValues(own.values.length), gradients: { count: own.values.length, wire } },
    statistics,
    validates: false,
  };
  await thread.call("open", size);
  const workerIds = addresses.map((_, of) => `worker-${of}`);
  const membership: Membership = { generation, rank, address: addresses[rank]!, addresses, workerIds };
  await thread.call("join", membership);
  isGoingOn = false;
  await step(rows);
  const root = { begin: 0, end: world };
  for (let i = 0; i < into.values.length; i += checkedEvery) {
    const sum = sumTree(
      root,
      ({ begin, end }) => (end - begin === 1 ? asItTravels(wire, numberAt(begin, i)) : "descend"),
      (left, right) => asItTravels(wire, left + right),
    );
    if (!Object.is(into.values[i], sum)) throw new Error(`sum ${i} is ${into.values[i]} and should be ${sum}`);
  }
  return { joined: true };
}

function reductionOf(sizeBytes: number): Reduction {
  const memory = arena ?? plainMemory;
  return {
    values: numbersOf({ kind: "float32" }, memory.allocate(sizeBytes)) as Float32Array, // of that kind
    statistics: numbersOf({ kind: "float64" }, memory.allocate(8 * statistics)) as Float64Array,
  };
}

/** Milliseconds of one all-reduce. One before them waits until all are there. */
async function reduce(repeats: number): Promise<number> {
  await step(rows!);
  const begun = performance.now();
  for (let n = 0; n < repeats; n++) await step(rows!);
  return (performance.now() - begun) / repeats;
}

async function step(rows: Rows): Promise<void> {
  const { generation, rank, own, into } = rows;
  const node = { begin: rank, end: rank + 1 }; // as many shards as workers
  const round = { step: rows.step, pass: 0 } as const;
  await channel.call("reduce", sentWork({ generation, round, own: [{ node, sum: own }], into }, arena));
  rows.step++;
}

function asItTravels(wire: WireFormat, number: number): number {
  const row = Float32Array.of(number);
  if (isShort(wire)) roundTo(wire, row);
  return row[0]!;
}

/** Different for every worker and place, and no sum of them is exact. */
function numberAt(rank: number, i: number): number {
  const mixed = Math.imul(i + 1, 0x9e3779b1) ^ Math.imul(rank + 1, 0x85ebca6b);
  return Math.fround(mixed / 2 ** 31 / 3);
}
