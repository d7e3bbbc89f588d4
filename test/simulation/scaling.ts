/**
 * What grows with the cluster: `npm run simulate -- --scaling`. The agents, the coordinator and etcd are those of the
 * simulation; instead of a data plane of a million messages a step, every worker takes its steps on its own, and what one
 * worker says to its peers is counted on the all-reduce itself, see data-plane.ts.
 */
import assert from "node:assert/strict";
import { failureBudget } from "../../src/core/failure-budget.ts";
import { encodeJson } from "../../src/core/json.ts";
import { afterEpoch, afterStep, initialProgress, type Progress } from "../../src/core/progress.ts";
import type { Generation } from "../../src/core/membership.ts";
import type { Assignment, Compute, RunOutcome } from "../../src/ports/compute.ts";
import type { Entry } from "../../src/ports/coordination.ts";
import type { Clock } from "../../src/ports/clock.ts";
import type { StateSnapshot } from "../../src/ports/transport.ts";
import { Coordinator } from "../../src/runtime/coordinator.ts";
import { openRun } from "../../src/runtime/open-run.ts";
import { digestOf } from "../../src/runtime/state.ts";
import { Worker } from "../../src/runtime/worker.ts";
import { clockOf } from "./clock.ts";
import { countMessages } from "./data-plane.ts";
import { Disk } from "./disk.ts";
import { SimulatedEtcd } from "./etcd.ts";
import { SimulatedEtcdClient } from "./etcd-client.ts";
import { type JobShape, tinyInfo, tinyJob } from "./program.ts";
import { Trace } from "./trace.ts";
import { findRun, jobName, keys } from "./worker-process.ts";
import { Actor, World } from "./world.ts";
import { noSettings } from "../../src/core/settings.ts";

const worlds = [4, 64, 512, 1000];
const stepsPerEpoch = 4;
const epochs = 3;
const stepMs = 1000;
const budget = failureBudget();

/** Requests to etcd. */
interface Counts {
  readonly reads: number;
  readonly writes: number;
}

interface Row {
  readonly world: number;
  readonly step: Counts;
  readonly boundary: Counts;
  readonly change: Counts;
  readonly renewals: number;
}

export async function printScaling(say: (text: string) => void): Promise<void> {
  say(
    "| workers | messages a worker sends in a step, for 4 MiB | bytes it sends | etcd writes in a step | writes (reads) in an epoch's end | writes (reads) when a member dies | lease renewals a second |",
  );
  say("|---|---|---|---|---|---|---|");
  for (const world of worlds) {
    const { messages, bytes } = await countMessages(world);
    const sent = `${messages} | ${(bytes / 2 ** 20).toFixed(1)} MiB`;
    const { step, boundary, change, renewals } = await countEtcd(world);
    say(
      `| ${world} | ${sent} | ${step.writes} | ${boundary.writes} (${boundary.reads}) | ${change.writes} (${change.reads}) | ${renewals} |`,
    );
  }
}

/**
 * Requests to etcd: in the steps between two boundaries, at a boundary, and when a member dies. Fails with a process that ends
 * before that: the world goes on without it, and what is waited for never happens.
 */
export async function countEtcd(
  count: number,
  computeOf: (clock: Clock, shape: JobShape) => Compute = (clock, shape) => new SteppingCompute(clock, shape),
): Promise<Row> {
  const trace = new Trace();
  const world = new World(1, trace, Number.POSITIVE_INFINITY);
  const etcd = new SimulatedEtcd(world);
  const shape: JobShape = {
    ...{
      seed: 1,
      trainingSamples: count * stepsPerEpoch,
      validationSamples: 0,
      batchSize: count,
      epochs,
      shards: count,
    },
    ...{ monitor: "loss", mode: "min", hasSchedule: false, wire: "float32", patience: null, saveFreq: "epoch" },
  };
  const nobody = { onWriting: () => {}, onWhole: () => {}, onDelete: () => {}, onDeleteCopy: () => {} };
  const disk = new Disk(world, nobody);
  let ended: Error | null = null;
  const onEnd = (name: string, cause: unknown) => {
    ended ??= new Error(`${name} has ended, and not everything is counted`, { cause });
  };
  const runUntil = (isOver: () => boolean) =>
    world.run(() => {
      if (ended) throw ended;
      return isOver();
    });
  const cluster = { world, etcd, trace, shape, disk, states: new Map<string, Compute>(), computeOf, onEnd };
  startCoordinator(cluster);
  const workers = Array.from({ length: count }, (_, i) => startWorker(cluster, i));
  // Asked after every event, and parsed only when it has changed.
  let parsed: { entry: Entry | null; generation: Generation | null } = { entry: null, generation: null };
  const generation = (): Generation | null => {
    const entry = etcd.store.get(keys.generation);
    // Written by the coordinator.
    if (entry !== parsed.entry) parsed = { entry, generation: entry && (JSON.parse(entry.value) as Generation) };
    return parsed.generation;
  };
  const isRunning = (number: number) => {
    const now = generation();
    return now?.kind === "running" && now.generation === number;
  };
  const published = (step: number) => etcd.store.get(keys.save(1, step)) !== null;
  const seen = () => ({ reads: etcd.counts.reads, writes: etcd.counts.writes });
  const between = (a: Counts, b: Counts): Counts => ({ reads: b.reads - a.reads, writes: b.writes - a.writes });
  // Until the first epoch's steps are under way, and nothing else is.
  await runUntil(() => isRunning(1) && published(0));
  const quietMs = world.nowMs + stepMs;
  await runUntil(() => world.nowMs >= quietMs);
  const atFirst = seen();
  const endMs = world.nowMs + (stepsPerEpoch - 2) * stepMs;
  await runUntil(() => world.nowMs >= endMs);
  const afterSteps = seen();
  await runUntil(() => published(stepsPerEpoch));
  const settledMs = world.nowMs + stepMs / 2;
  await runUntil(() => world.nowMs >= settledMs);
  const afterBoundary = seen();
  // One member dies, and all the others see their streams break.
  const victim = workers[count - 1]!;
  victim.actor.die();
  for (const { worker } of workers.slice(0, -1))
    worker()?.peerBroken({ generation: 1, rank: rankOf(generation(), victim.name), reason: "it died" });
  await runUntil(() => isRunning(2));
  const changedMs = world.nowMs + stepMs / 2;
  await runUntil(() => world.nowMs >= changedMs);
  return {
    world: count,
    step: between(atFirst, afterSteps),
    boundary: between(afterSteps, afterBoundary),
    change: between(afterBoundary, seen()),
    renewals: Math.round((count + 1) / (budget.leaseTtlMs / 3000)),
  };
}

function rankOf(generation: Generation | null, name: string): number {
  return generation!.members.findIndex(({ workerId }) => workerId.startsWith(`${name}.`));
}

interface Cluster {
  readonly world: World;
  readonly etcd: SimulatedEtcd;
  readonly trace: Trace;
  readonly shape: JobShape;
  readonly disk: Disk;
  readonly states: Map<string, Compute>;
  readonly computeOf: (clock: Clock, shape: JobShape) => Compute;
  readonly onEnd: (name: string, cause: unknown) => void;
}

function clientOf({ world, etcd, trace }: Cluster, actor: Actor): SimulatedEtcdClient {
  return new SimulatedEtcdClient({
    ...{ world, etcd, actor, budget, clock: clockOf(world, actor, 0), log: trace.logOf(actor.name) },
  });
}

function startCoordinator(cluster: Cluster): void {
  const { world, trace, shape, onEnd } = cluster;
  const actor = new Actor("c1~1");
  const coordination = clientOf(cluster, actor);
  const clock = clockOf(world, actor, 0);
  const main = async () => {
    const { record, keys } = await openRun(coordination, {
      ...{
        job: jobName,
        resume: "auto",
        settings: noSettings,
        startName: null,
        run: null,
        shards: shape.shards,
        threads: 1,
        workers: shape.shards,
        bounds: null,
      },
      ...{ budgetMs: budget.budgetMs, fields: {}, epochs: shape.epochs, checkpoint: tinyJob(shape).checkpoint },
      ...{ replicas: null, allowChange: false, archive: null, nowMs: 0, defaultThreads: () => 1 },
    });
    const coordinator = new Coordinator({
      ...{ record, keys, coordination, clock, budget, log: trace.logOf(actor.name), archive: null },
      brought: () => assert.fail("all share one disk"),
      self: { address: actor.name, pid: 1, name: actor.name },
      liveness: { watch: () => ({ close: () => {} }) },
    });
    await coordinator.run(new AbortController().signal);
  };
  void main().then(
    () => onEnd(actor.name, null),
    (error: unknown) => onEnd(actor.name, error),
  );
}

function startWorker(cluster: Cluster, i: number) {
  const { world, trace, shape, disk, states, computeOf, onEnd } = cluster;
  const name = `w${i}`;
  const actor = new Actor(`${name}~1`);
  const coordination = clientOf(cluster, actor);
  const clock = clockOf(world, actor, 0);
  const compute = computeOf(clock, shape);
  states.set(name, compute);
  let worker: Worker | null = null;
  const main = async () => {
    const record = await findRun(coordination, (ms) => clock.sleep(ms), budget.pollMs);
    worker = new Worker({
      ...{
        name,
        address: name,
        pid: i,
        store: null,
        record,
        info: tinyInfo(shape, 3, stepsPerEpoch),
        keys,
        budget,
        coordination,
        compute,
      },
      ...{ storage: disk.of(actor), clock, log: trace.logOf(actor.name), onStanding: () => {}, onWishes: () => {} },
      newId: () => `i${i}`,
      exchange: {
        join: async () => {},
        leave: async () => {},
        serveState: () => {},
        copyState: async (from) => {
          const state = await states.get(from)!.snapshot();
          return { ...state, digest: digestOf(state) };
        },
        close: async () => {},
      },
    });
    await worker.run();
  };
  void main().then(
    () => onEnd(name, null),
    (error: unknown) => onEnd(name, error),
  );
  return { name, actor, worker: () => worker };
}

/** Takes a step a second, alone: all workers compute the same, so their states agree. */
export class SteppingCompute implements Compute {
  readonly #clock: Clock;
  readonly #shape: JobShape;
  readonly #values: Float32Array;
  #progress: Progress = initialProgress(1, 1);
  #frozen = new AbortController();

  constructor(clock: Clock, shape: JobShape) {
    this.#clock = clock;
    this.#shape = shape;
    const { weightCount, trainableCount, slotNames } = tinyInfo(shape, 3, stepsPerEpoch);
    this.#values = new Float32Array(weightCount + slotNames.length * trainableCount);
  }

  async initialize(): Promise<void> {}

  async restore({ progress }: StateSnapshot): Promise<void> {
    this.#progress = JSON.parse(progress) as Progress; // made by `snapshot`
  }

  async snapshot(into = new Float32Array(this.#values.length)): Promise<StateSnapshot> {
    into.set(this.#values);
    return { progress: encodeJson(this.#progress), values: into };
  }

  async run(_assignment: Assignment): Promise<RunOutcome> {
    this.#frozen = new AbortController();
    const { signal } = this.#frozen;
    const { batchSize } = this.#shape;
    while (this.#progress.stepInEpoch < stepsPerEpoch) {
      await this.#clock.sleep(stepMs, signal).catch(() => undefined);
      if (signal.aborted) return { kind: "aborted" };
      this.#progress = afterStep(
        this.#progress,
        { samples: batchSize, totals: { loss: batchSize } },
        {
          ...{
            seed: 1,
            samples: this.#shape.trainingSamples,
            batchSize,
            shards: this.#shape.shards,
            validation: null,
            data: "none",
          },
        },
      );
    }
    const { checkpoint, optimizer } = tinyJob(this.#shape);
    const rules = { policy: checkpoint, data: "none", learningRate: optimizer.learningRate, stepsPerEpoch, epochs };
    this.#progress = afterEpoch(this.#progress, null, rules);
    return { kind: "boundary" };
  }

  async freeze(): Promise<void> {
    this.#frozen.abort();
  }

  async voteToStop(): Promise<void> {}

  async voteToSave(): Promise<void> {}

  async gradient(): Promise<null> {
    return null;
  }
}
