/**
 * One seed, one simulated life of a cluster: first faults, under which nothing unsafe may happen; then everything is
 * mended, and the job must be finished within a bound.
 */
import { failureBudget } from "../../src/core/failure-budget.ts";
import type { SaveFrequency } from "../../src/core/job.ts";
import type { WireFormat } from "../../src/core/wire.ts";
import { Cluster, type ClusterShape } from "./cluster.ts";
import { Disk } from "./disk.ts";
import { deafMs, SimulatedEtcd } from "./etcd.ts";
import { withGuards } from "./guards.ts";
import { Injector } from "./injector.ts";
import { Network } from "./network.ts";
import { Observer, type Violation } from "./observer.ts";
import type { Chance } from "./random.ts";
import { Chance as SeededChance } from "./random.ts";
import type { JobShape } from "./program.ts";
import { referenceOf } from "./reference.ts";
import { drawDiskFaults, drawSchedule, type Fault, withLostData, withSetBack } from "./schedule.ts";
import { Trace } from "./trace.ts";
import { keys } from "./worker-process.ts";
import { World } from "./world.ts";

/** Once nothing goes wrong any more, a job is finished within this, and twice as long as it takes undisturbed. */
const healingMs = 60_000;
/** Each hang is found by the others when a step takes ten times as long as usual, which nobody knows at first; then by its own agent. */
const hangMs = 300_000;

/** What was thought of later is rare or never in the seeds before it, by which planted bugs are known. */
const firstFreshSeed = 100_000;

export interface Scenario {
  readonly seed: number;
  readonly shape: ClusterShape;
  readonly horizonMs: number;
  readonly schedule: readonly Fault[];
  /** With which S the job goes on when it is done, for one more epoch; null: it does not. */
  readonly nextShards: number | null;
}

export interface Outcome {
  readonly seed: number;
  readonly violation: Violation | null;
  readonly faults: Readonly<Record<string, number>>;
  readonly standings: Readonly<Record<string, number>>;
  readonly trace: Trace;
  readonly events: number;
  readonly virtualMs: number;
}

export function scenarioOf(seed: number): Scenario {
  const chance = new SeededChance(seed, "scenario");
  const shards = chance.whole(1, 6);
  const horizonMs = Math.round(chance.between(6000, 25_000));
  const bounded = withBounds(new SeededChance(seed, "bounds"), drawShape(chance, seed, shards, horizonMs));
  const shape = withArchive(seed, withReplicas(seed, bounded));
  const drawn = drawSchedule(new SeededChance(seed, "schedule"), horizonMs);
  const disks = shape.replicas > 0 ? drawDiskFaults(new SeededChance(seed, "disks"), horizonMs) : [];
  // Where a bit turns over nobody dies, see `drawSchedule`.
  const isFlipped = drawn.some(({ kind }) => kind === "flip-bit");
  const faults = isFlipped ? drawn : [...drawn, ...disks];
  const era = new SeededChance(seed, "era");
  // By the coordinators, or by the workers who bring them.
  const areSeen = shape.hasArchive || shape.replicas > 0;
  const nextShards = drawNextShards(new SeededChance(seed, "shards"), shape);
  const lost = withLostData(faults, era, horizonMs, areSeen);
  const probability = seed < firstFreshSeed ? 0.01 : 0.1;
  const schedule = withSetBack(lost, new SeededChance(seed, "set back"), { horizonMs, probability });
  return { seed, shape, horizonMs, schedule, nextShards };
}

/** A run that stopped early is at its end with any S; and each copy of a checkpoint takes a worker, and so a shard. */
function drawNextShards(chance: Chance, { job, bounds, replicas }: ClusterShape): number | null {
  if (job.patience !== null || bounds !== null || !chance.is(0.15)) return null;
  return job.shards - 1 > replicas && chance.is(0.5) ? job.shards - 1 : job.shards + 1;
}

function drawShape(chance: Chance, seed: number, shards: number, horizonMs: number): ClusterShape {
  const batchSize = chance.whole(3, 9);
  const steps = chance.whole(2, 5);
  const epochs = chance.whole(2, 4);
  const hasValidation = chance.is(0.6);
  const policy = new SeededChance(seed, "policy");
  const job = {
    seed,
    trainingSamples: batchSize * (steps - 1) + chance.whole(1, batchSize),
    validationSamples: hasValidation ? chance.whole(1, 8) : 0,
    ...{ batchSize, epochs, shards },
    monitor: hasValidation && chance.is(0.8) ? "val_loss" : "loss",
    mode: chance.is(0.7) ? ("min" as const) : ("max" as const),
    hasSchedule: chance.is(0.3),
    wire: drawWire(seed),
    saveFreq: drawSaves(policy),
    patience: policy.is(0.25) ? policy.whole(1, 2) : null,
  };
  return {
    job,
    // Now and then one more than there are shards for: it stands by.
    workers: Math.min(5, chance.whole(1, chance.is(0.2) ? shards + 1 : shards)),
    bounds: null,
    coordinators: chance.is(0.4) ? 2 : 1,
    budgetMs: chance.is(0.5) ? 5000 : 3000,
    stepMs: (horizonMs / (epochs * steps)) * chance.between(0.1, 1),
    replicas: 0,
    hasArchive: false,
    keepsAddresses: chance.is(0.3),
    opensRounds: seed >= firstFreshSeed && new SeededChance(seed, "open rounds").is(0.3),
  };
}

function drawWire(seed: number): WireFormat {
  const chance = new SeededChance(seed, "wire");
  return seed >= firstFreshSeed && chance.is(0.3) ? chance.pick(["bfloat16", "float16"] as const) : "float32";
}

/** So short that many saves wait for the disk at once. */
function drawSaves(chance: Chance): SaveFrequency {
  if (!chance.is(0.4)) return "epoch";
  return chance.is(0.6) ? { steps: chance.whole(1, 3) } : { minutes: chance.between(0.002, 0.05) };
}

/** In every fifth seed the workers share no disk. */
function withReplicas(seed: number, shape: ClusterShape): ClusterShape {
  const most = Math.min(2, (shape.bounds?.max ?? shape.job.shards) - 1);
  if (seed % 5 !== 2 || most < 1) return shape;
  return { ...shape, replicas: new SeededChance(seed, "replicas").whole(1, most) };
}

/** Where workers share a disk, most coordinators see it too. */
function withArchive(seed: number, shape: ClusterShape): ClusterShape {
  const hasArchive = shape.replicas === 0 && new SeededChance(seed, "archive").is(0.8);
  return { ...shape, hasArchive };
}

/** Some are started as `--workers MIN:MAX` with spares: they pause below MIN, and who is beyond MAX stands by. */
function withBounds(chance: Chance, shape: ClusterShape): ClusterShape {
  const { shards } = shape.job;
  if (shards < 2 || !chance.is(0.3)) return shape;
  const max = chance.whole(2, shards);
  return { ...shape, bounds: { min: chance.whole(2, max), max }, workers: Math.min(6, max + chance.whole(0, 2)) };
}

export function simulate({ seed, shape, horizonMs, schedule, nextShards }: Scenario): Promise<Outcome> {
  return withGuards(async (onUnhandled) => {
    const trace = new Trace();
    const world = new World(seed, trace);
    const { absenceMs } = failureBudget(shape.budgetMs);
    const observer = new Observer(trace, shape.job, referenceOf(shape.job), absenceMs, shape.bounds);
    onUnhandled((reason) => observer.fail("P6", `an unhandled rejection ends a process: ${reason}`));
    const etcd = new SimulatedEtcd(world);
    etcd.observe((write) => {
      observer.wrote(write);
      injector.wrote();
    });
    etcd.onDeaf = ({ name }) => observer.fail("P6", `${name} waits on a watch that a compaction has ended`);
    const network = new Network(world, shape.budgetMs / 2);
    const disk = new Disk(world, {
      onWriting: (process, id) => observer.writing(process, id),
      onWhole: (process, id) => observer.whole(process, id),
      onDelete: (process, id) => observer.deleting(process, id),
      onDeleteCopy: (process, id) => observer.deletingCopy(process, id),
    });
    observer.watchDisk(disk);
    const cluster = new Cluster(shape, { world, etcd, network, disk, observer });
    const injector = new Injector({ world, cluster, etcd, network, disk, observer }, schedule, shape.hasArchive);
    /** Whoever goes on with a job that is done takes that back first. */
    let mayBeDone = true;
    const isDone = () => mayBeDone && observer.store.has(keys.done) && cluster.isEmptyOfWorkers;
    let next = nextShards;
    const isOver = () => {
      if (observer.violation !== null) return true;
      mayBeDone ||= !observer.store.has(keys.done);
      if (!isDone()) return false;
      if (next === null || !isAtPeace) return true;
      observer.checkEnd();
      const job = goingOn(shape.job, next);
      next = null;
      mayBeDone = false;
      observer.goesOn(job, referenceOf({ ...job, shards: shape.job.shards }));
      cluster.goOn(job);
      expectDoneWithin(healingMs + 2 * stepsOf({ ...shape, job }) * shape.stepMs);
      return false;
    };
    const hangs = schedule.filter(({ kind }) => kind === "hang").length;
    /** Faults are over, and nothing has to be forgiven for one. */
    let isAtPeace = false;
    world.at(horizonMs, null, () => {
      injector.healAll();
      isAtPeace = !schedule.some(({ kind }) => hasConsequences.has(kind));
    });
    let deadlineMs = 0;
    const expectDoneWithin = (ms: number) => {
      const untilMs = world.nowMs + ms;
      deadlineMs = untilMs;
      world.at(untilMs, null, () => {
        if (untilMs === deadlineMs && !isDone())
          observer.fail("P6", `not finished at ${Math.round(untilMs)} ms: ${standing(observer)}`);
      });
    };
    expectDoneWithin(horizonMs + healingMs + 2 * stepsOf(shape) * shape.stepMs + hangs * hangMs);
    const checkWatches = () => {
      const wholeMs = etcd.upAtMs + deafMs;
      if (world.nowMs < wholeMs) return void world.at(wholeMs, null, checkWatches);
      const deaf = etcd.deafProcesses();
      if (deaf.length > 0) observer.fail("P6", `watches were not set up again: ${deaf.join(", ")}`);
    };
    world.at(horizonMs + deafMs, null, checkWatches);
    try {
      await world.run(isOver);
    } catch (error) {
      observer.fail("P6", String(error));
    }
    if (!observer.violation) observer.checkEnd();
    etcd.store.close();
    return {
      ...{ seed, trace, faults: observer.faults, standings: observer.standings, violation: observer.violation },
      events: world.events,
      virtualMs: world.nowMs,
    };
  });
}

/** One more epoch, with another S. */
function goingOn(job: JobShape, shards: number): JobShape {
  return { ...job, shards, epochs: job.epochs + 1, later: { afterEpoch: job.epochs, shards } };
}

/** After these, states may be others than those of the undisturbed run, or the run goes on elsewhere than where it was. */
const hasConsequences: ReadonlySet<Fault["kind"]> = new Set([
  ...(["flip-bit", "etcd-lost", "etcd-restored", "etcd-set-back", "corrupt-latest"] as const),
]);

function stepsOf({ job }: ClusterShape): number {
  return job.epochs * Math.ceil(job.trainingSamples / job.batchSize);
}

function standing({ store }: Observer): string {
  const brief = [keys.generation, keys.latest, keys.leader].map((key) => store.get(key) ?? "nothing");
  return brief.join(" | ");
}
