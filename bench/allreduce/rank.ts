/**
 * One worker's side of the all-reduce as it is in training: this thread stands for the one that computes, with its sums in
 * shared memory, and the product's own exchange thread sends, adds up and receives. Each line of input is JSON, each is
 * answered by a line; see group.ts.
 */
import { createInterface } from "node:readline";
import { MessageChannel } from "node:worker_threads";
import { builtModule } from "../../bin/build.mjs";
import { openChannel } from "../../src/adapters/system/thread-channel.ts";
import { type RunningThread, startThread } from "../../src/adapters/system/thread.ts";
import { Arena, arenaMemory } from "../../src/adapters/wasm/arena.ts";
import type { ExchangeThreadData } from "../../src/cli/threads/exchange-thread.ts";
import { sentWork } from "../../src/cli/threads/sent-rows.ts";
import type { Reduction } from "../../src/core/contribution.ts";
import { sumTree } from "../../src/core/reduce-tree.ts";
import { plainMemory } from "../../src/core/row-memory.ts";
import type { Membership } from "../../src/ports/transport.ts";
import { numbersOf } from "../../src/runtime/all-reduce.ts";
import type { ReductionWork } from "../../src/runtime/freezable-compute.ts";
import type { ReductionSize } from "../../src/runtime/peer-exchange.ts";
import type { Answer, Order } from "./group.ts";

/** Sums of loss and metrics, votes and counts travel with every step. */
const statistics = 8;
const budgetMs = 60_000;
const generation = 1;
/** Sums are looked at in every so many places. */
const checkedEvery = 9973;

/** An exchange for one number of values: a job's never changes. */
interface Exchange {
  readonly thread: RunningThread;
  reduce(work: ReductionWork): Promise<void>;
  readonly rank: number;
  readonly world: number;
  readonly own: Reduction;
  readonly into: Reduction;
  step: number;
}

const exchanges = new Map<number, Omit<Exchange, "rank" | "world">>();
const joined = new Map<number, Exchange>();
const module = new URL(await builtModule("cli/threads/exchange-thread"));

const orders = createInterface({ input: process.stdin });
for await (const line of orders) {
  const answer = await follow(JSON.parse(line) as Order); // what group.ts writes
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await Promise.all([...exchanges.values()].map(({ thread }) => thread.stop()));

async function follow(order: Order): Promise<Answer> {
  if (order.kind === "open") return { address: await open(order.sizeBytes) };
  if (order.kind === "join") return await join(order.sizeBytes, order.rank, order.addresses);
  return { milliseconds: await reduce(order.sizeBytes, order.repeats) };
}

async function open(sizeBytes: number): Promise<string> {
  const { port1, port2 } = new MessageChannel();
  const rows = arenaMemory();
  const arena = rows && new Arena(rows);
  const memory = arena ?? plainMemory;
  const data: ExchangeThreadData = { compute: port1, rows };
  const handlers = {
    broken(broken: { rank: number; reason: string }) {
      throw new Error(`rank ${broken.rank}: ${broken.reason}`);
    },
  };
  const fail = (error: Error) => {
    throw error;
  };
  const thread = startThread(module, data, handlers, fail, [port1]);
  const channel = openChannel(port2, {});
  const address = await thread.call<string>("listen", { listen: "127.0.0.1:0", budgetMs });
  const row = (): Reduction => ({
    values: numbersOf({ kind: "float32" }, memory.allocate(sizeBytes)) as Float32Array, // of that kind
    statistics: numbersOf({ kind: "float64" }, memory.allocate(8 * statistics)) as Float64Array,
  });
  exchanges.set(sizeBytes, {
    ...{ thread, own: row(), into: row(), step: 0 },
    reduce: (work) => channel.call("reduce", sentWork(work, arena)),
  });
  return address;
}

/** Joins the others, and compares a first sum with what it must be, bit for bit. */
async function join(sizeBytes: number, rank: number, addresses: readonly string[]): Promise<Answer> {
  const world = addresses.length;
  const exchange: Exchange = { ...exchanges.get(sizeBytes)!, rank, world };
  joined.set(sizeBytes, exchange);
  const { own, into, thread } = exchange;
  for (let i = 0; i < own.values.length; i++) own.values[i] = numberAt(rank, i);
  const size: ReductionSize = { shards: world, values: own.values.length, statistics, validates: false };
  await thread.call("open", size);
  const workerIds = addresses.map((_, of) => `worker-${of}`);
  const membership: Membership = { generation, rank, address: addresses[rank]!, addresses, workerIds };
  await thread.call("join", membership);
  await step(exchange);
  const root = { begin: 0, end: world };
  for (let i = 0; i < into.values.length; i += checkedEvery) {
    const sum = sumTree(
      root,
      ({ begin, end }) => (end - begin === 1 ? numberAt(begin, i) : "descend"),
      (left, right) => Math.fround(left + right),
    );
    if (!Object.is(into.values[i], sum)) throw new Error(`sum ${i} is ${into.values[i]} and should be ${sum}`);
  }
  return { joined: true };
}

/** Milliseconds of one all-reduce. One before them waits until all are there. */
async function reduce(sizeBytes: number, repeats: number): Promise<number> {
  const exchange = joined.get(sizeBytes)!;
  await step(exchange);
  const begun = performance.now();
  for (let n = 0; n < repeats; n++) await step(exchange);
  return (performance.now() - begun) / repeats;
}

async function step(exchange: Exchange): Promise<void> {
  const { rank, own, into } = exchange;
  const node = { begin: rank, end: rank + 1 }; // as many shards as workers
  await exchange.reduce({
    ...{ generation, round: { step: exchange.step, pass: 0 }, own: [{ node, sum: own }], into },
  });
  exchange.step++;
}

/** Different for every worker and place, and no sum of them is exact. */
function numberAt(rank: number, i: number): number {
  const mixed = Math.imul(i + 1, 0x9e3779b1) ^ Math.imul(rank + 1, 0x85ebca6b);
  return Math.fround(mixed / 2 ** 31 / 3);
}
