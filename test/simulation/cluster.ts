/**
 * The processes of a cluster, put together from production code as src/cli does it, on simulated ports; and a supervisor
 * that starts again what died, as `launch` does. A slot is a place where processes live one after another: "w1", "c1".
 */
import { type FailureBudget, failureBudget } from "../../src/core/failure-budget.ts";
import { plainMemory } from "../../src/core/row-memory.ts";
import { Coordinator } from "../../src/runtime/coordinator.ts";
import { FreezableCompute } from "../../src/runtime/freezable-compute.ts";
import { openRun } from "../../src/runtime/open-run.ts";
import { pin } from "../../src/runtime/pins.ts";
import { PeerExchange } from "../../src/runtime/peer-exchange.ts";
import { Trainer } from "../../src/runtime/trainer.ts";
import { Worker } from "../../src/runtime/worker.ts";
import { clockOf } from "./clock.ts";
import type { Disk } from "./disk.ts";
import type { SimulatedEtcd } from "./etcd.ts";
import { SimulatedEtcdClient } from "./etcd-client.ts";
import { EndsOfProcesses } from "./liveness.ts";
import type { Network } from "./network.ts";
import type { Bounds, Observer } from "./observer.ts";
import { checksumEvery, type JobShape, TinyProgram, tinyData, tinyInfo, tinyJob } from "./program.ts";
import type { Chance } from "./random.ts";
import { Channel, type ComputeTime, computeOver, exchangeOver, openOver, reduceOver } from "./threads.ts";
import { SimulatedTransport } from "./transport.ts";
import { findRun, jobName, keys, watched } from "./worker-process.ts";
import { OwnDisks } from "./own-disks.ts";
import { Actor, type World } from "./world.ts";
import { surroundingsOf } from "../../src/adapters/replicas/surroundings.ts";
import { keepTidy } from "../../src/runtime/own-checkpoints.ts";
import { noSettings } from "../../src/core/settings.ts";

export interface ClusterShape {
  readonly job: JobShape;
  readonly workers: number;
  /** With fewer it pauses, more stand by; null: one is enough, and every shard may have its own. */
  readonly bounds: Bounds | null;
  readonly coordinators: number;
  readonly budgetMs: number;
  readonly stepMs: number;
  /** How many others keep a copy of each checkpoint, each on a disk of its own; 0: all share one. */
  readonly replicas: number;
  /** Coordinators see the checkpoints, so that what etcd loses can be rebuilt though every worker has died. */
  readonly hasArchive: boolean;
  /** A process that is started again listens where the one before did. */
  readonly keepsAddresses: boolean;
  /** Workers send what is there of a step's gradients while they compute the rest, as they do with large models. */
  readonly opensRounds: boolean;
}

export interface ClusterParts {
  readonly world: World;
  readonly etcd: SimulatedEtcd;
  readonly network: Network;
  readonly disk: Disk;
  readonly observer: Observer;
}

interface Slot {
  readonly name: string;
  readonly kind: "worker" | "coordinator";
  /** Whether somebody should be there. */
  wanted: boolean;
  process: Process | null;
  starts: number;
  /** Dies whenever it is started, until then. */
  crashesUntilMs: number;
}

export interface Process {
  readonly actor: Actor;
  /** Where it listens. */
  readonly address: string;
  readonly time: ComputeTime | null;
  readonly program: TinyProgram | null;
  worker: Worker | null;
}

export class Cluster {
  readonly budget: FailureBudget;
  readonly slots = new Map<string, Slot>();
  #shape: ClusterShape;
  readonly #parts: ClusterParts;
  readonly #chance: Chance;
  #ids = 0;
  #pins = 0;
  #isHealed = false;
  readonly #ends: EndsOfProcesses;
  readonly #disks: OwnDisks;
  /** The next start asks for another S. */
  #allowsChange = false;
  /** Workers wait for the first coordinator that has looked at the run. */
  #opensAnew = false;

  constructor(shape: ClusterShape, parts: ClusterParts) {
    this.#shape = shape;
    this.#parts = parts;
    this.#chance = parts.world.chance("cluster");
    this.budget = failureBudget(shape.budgetMs);
    this.#disks = new OwnDisks(parts);
    if (shape.replicas > 0) parts.disk.separate();
    const isThere = (address: string) =>
      [...this.slots.values()].some(({ process }) => process?.address === address) ||
      parts.network.at(address) === "silent";
    this.#ends = new EndsOfProcesses(parts.world, isThere);
    for (let i = 1; i <= shape.coordinators; i++) this.add("coordinator", `c${i}`);
    for (let i = 1; i <= shape.workers; i++) this.add("worker", `w${i}`);
  }

  add(kind: Slot["kind"], name: string): void {
    const slot: Slot = { name, kind, wanted: true, process: null, starts: 0, crashesUntilMs: 0 };
    this.slots.set(name, slot);
    this.#startLater(slot, this.#chance.between(0, 50));
  }

  /** The living process in a slot, or null. */
  processIn(name: string): Process | null {
    return this.slots.get(name)?.process ?? null;
  }

  namesOf(kind: Slot["kind"]): string[] {
    return [...this.slots.values()].filter((slot) => slot.kind === kind && slot.process).map(({ name }) => name);
  }

  get isEmptyOfWorkers(): boolean {
    return this.namesOf("worker").length === 0;
  }

  /** SIGKILL; or, with its machine, a power cut. False when nobody was there. */
  kill(name: string, withMachine = false): boolean {
    const slot = this.slots.get(name);
    if (!slot?.process) return false;
    this.#parts.world.trace.note(slot.process.actor.name, withMachine ? "loses its machine" : "is killed");
    this.#end(slot, withMachine);
    this.#startLater(slot, this.#chance.between(250, 2000));
    return true;
  }

  stop(name: string, forMs: number): boolean {
    const { world, network } = this.#parts;
    const process = this.processIn(name);
    if (!process || process.actor.stopper) return false;
    world.trace.note(process.actor.name, `is stopped for ${Math.round(forMs)} ms`);
    process.actor.stop();
    this.#parts.observer.slept(process.actor.name);
    network.stopped(process.actor);
    world.after(forMs, null, () => {
      if (process.actor.isDead) return;
      world.trace.note(process.actor.name, "goes on");
      world.release(process.actor);
    });
    return true;
  }

  /** Its compute thread never gets anywhere again; agent and exchange answer. */
  hang(name: string): boolean {
    const process = this.processIn(name);
    if (!process?.time || process.time.hangs) return false;
    this.#parts.world.trace.note(process.actor.name, "will never end its next computation");
    process.time.hangs = true;
    this.#parts.observer.hung(process.actor.name);
    return true;
  }

  /** Turns over a bit of the weights in one worker's memory. */
  flip(name: string, weight: number, bit: number): boolean {
    const process = this.processIn(name);
    if (!process?.program) return false;
    this.#parts.world.trace.note(process.actor.name, "a bit of its weights turns over");
    this.#parts.observer.flipped(process.actor.name);
    process.program.flip(weight, 12 + (bit % 18));
    return true;
  }

  /** Dies now, and again whenever it is started, for a while. */
  crashLoop(name: string, forMs: number): boolean {
    const slot = this.slots.get(name);
    if (!slot) return false;
    slot.crashesUntilMs = this.#parts.world.nowMs + forMs;
    return this.kill(name);
  }

  /** The faults are over: who left on purpose is asked back, now and later. */
  heal(): void {
    this.#isHealed = true;
    for (const slot of this.slots.values()) {
      slot.crashesUntilMs = 0;
      if (slot.process?.actor.stopper) this.#parts.world.release(slot.process.actor);
      this.want(slot.name);
    }
    this.#killLonelyHungs();
  }

  want(name: string): void {
    const slot = this.slots.get(name);
    if (!slot || slot.wanted) return;
    slot.wanted = true;
    if (!slot.process) this.#startLater(slot, 0);
  }

  /** Ctrl-C: everyone is asked to leave. */
  drainAll(): boolean {
    return this.namesOf("worker").filter((name) => this.drain(name)).length > 0;
  }

  /** As `lockstep checkpoints pin` does, in a process of its own; too late for one that is condemned. */
  pin(id: string): void {
    const { world } = this.#parts;
    const actor = new Actor(`operator~${++this.#pins}`);
    world.trace.note(actor.name, `pins ${id}`);
    pin({ coordination: this.#client(actor, 0), keys }, id, actor.name, { note: "kept on purpose" }).catch(
      (error: unknown) => world.trace.note(actor.name, `has not pinned it: ${String(error)}`),
    );
  }

  drain(name: string): boolean {
    const slot = this.slots.get(name);
    const worker = slot?.process?.worker;
    if (!slot || !worker || slot.process?.actor.stopper) return false;
    this.#parts.world.trace.note(slot.process!.actor.name, "is asked to leave");
    slot.wanted = false;
    worker.drain().catch((error: unknown) => this.#parts.world.trace.note(name, `leaving not announced: ${error}`));
    return true;
  }

  /** The run was stopped in order, and somebody starts it again: coordinators first, as `launch` does. */
  #startAnew(): void {
    this.#parts.world.trace.note("-", "all have stopped; the job is started again");
    this.#opensAnew = true;
    for (const name of this.namesOf("coordinator")) this.kill(name);
  }

  /** The job is done, and somebody starts it again, with this one. */
  goOn(job: JobShape): void {
    this.#parts.world.trace.note("-", `all have finished; the job is started again with S = ${job.shards}`);
    this.#shape = { ...this.#shape, job };
    this.#allowsChange = true;
    this.#opensAnew = true;
    // Those that stand by would start it once more.
    for (const slot of this.slots.values()) slot.wanted = slot.name === "c1";
    for (const name of this.namesOf("coordinator")) this.kill(name);
  }

  #opened(): void {
    if (!this.#opensAnew) return;
    this.#opensAnew = false;
    for (const slot of this.slots.values()) if (slot.kind === "worker" || !this.#allowsChange) this.want(slot.name);
  }

  /** Nobody sees that a worker hangs when it is alone; somebody ends it by hand. */
  #killLonelyHungs(): void {
    const workers = this.namesOf("worker");
    if (workers.every((name) => this.processIn(name)?.time?.hangs)) for (const name of workers) this.kill(name);
  }

  #startLater(slot: Slot, ms: number): void {
    this.#parts.world.after(ms, null, () => {
      if (!slot.wanted || slot.process) return;
      if (slot.kind === "worker") this.#startWorker(slot);
      else this.#startCoordinator(slot);
      const { process } = slot;
      if (this.#parts.world.nowMs >= slot.crashesUntilMs) return;
      this.#parts.world.after(this.#chance.between(10, 3000), null, () => {
        if (slot.process === process) this.kill(slot.name);
      });
    });
  }

  /** The process is gone, and with it everything that it would have done. */
  #end(slot: Slot, withMachine = false): void {
    if (!slot.process) return;
    const { actor, address } = slot.process;
    slot.process = null;
    this.#parts.observer.gone(actor.name);
    actor.die();
    this.#parts.network.died(actor, withMachine);
    // A machine that is gone says nothing.
    if (!withMachine) this.#ends.tell(address);
  }

  #open(slot: Slot): { actor: Actor; origin: number } {
    slot.starts++;
    const actor = new Actor(`${slot.name}~${slot.starts}`);
    this.#parts.world.trace.note(actor.name, "starts");
    return { actor, origin: this.#chance.below(1e6) };
  }

  #client(actor: Actor, origin: number): SimulatedEtcdClient {
    const { world, etcd, observer } = this.#parts;
    return new SimulatedEtcdClient({
      ...{ world, etcd, actor, budget: this.budget },
      clock: clockOf(world, actor, origin),
      log: world.trace.logOf(actor.name),
      onSend: (then) => observer.sent(actor.name, then),
    });
  }

  #startCoordinator(slot: Slot): void {
    const { world, disk } = this.#parts;
    const { actor, origin } = this.#open(slot);
    slot.process = { actor, address: actor.name, time: null, program: null, worker: null };
    const log = world.trace.logOf(actor.name);
    const clock = clockOf(world, actor, origin);
    const coordination = this.#client(actor, origin);
    const { job, workers, bounds, hasArchive } = this.#shape;
    const archive = hasArchive ? disk.archiveFor(actor) : null;
    const main = async () => {
      await clock.sleep(this.#chance.between(50, 400));
      const { record, keys } = await openRun(coordination, {
        job: jobName,
        resume: "auto",
        settings: noSettings,
        startName: null,
        run: null,
        shards: job.shards,
        threads: 1,
        workers: bounds?.min ?? Math.min(workers, job.shards),
        bounds,
        budgetMs: this.budget.budgetMs,
        fields: {},
        epochs: job.epochs,
        checkpoint: tinyJob(job).checkpoint,
        replicas: this.#shape.replicas,
        allowChange: this.#allowsChange,
        archive,
        nowMs: clock.wallMs(),
        defaultThreads: () => 1,
      });
      this.#opened();
      const self = { address: actor.name, pid: slot.starts, name: actor.name };
      const coordinator = new Coordinator({
        ...{ record, keys, coordination, clock, log, self, archive },
        brought: (members) => disk.broughtFor(actor, members),
        budget: this.budget,
        liveness: this.#ends.livenessFor(actor),
      });
      await coordinator.run(new AbortController().signal);
    };
    main().catch((error: unknown) => {
      log.warn("ends", { error: String(error) });
      if (slot.process?.actor !== actor) return;
      this.#end(slot);
      this.#startLater(slot, this.#chance.between(250, 1000));
    });
  }

  #startWorker(slot: Slot): void {
    const { world, network, disk, observer } = this.#parts;
    const { job: shape, stepMs } = this.#shape;
    const { actor, origin } = this.#open(slot);
    const computeActor = new Actor("compute", actor);
    const exchangeActor = new Actor("exchange", actor);
    const clock = clockOf(world, actor, origin);
    const log = world.trace.logOf(actor.name);
    const chance = world.chance(actor.name);
    const program = new TinyProgram(shape);
    const time: ComputeTime = {
      ...{ busyUntilMs: 0, hangs: false, opened: null },
      stepMs: () => stepMs * chance.between(0.8, 1.3),
    };
    const address = this.#shape.keepsAddresses ? `${slot.name}:1` : `${slot.name}:${slot.starts}`;
    const process: Process = { actor, address, time, program, worker: null };
    slot.process = process;
    let generation = 0;
    const trainer = new Trainer({
      ...{ checksumEvery, memory: plainMemory },
      program,
      job: tinyJob(shape),
      data: tinyData(shape),
      shards: shape.shards,
      clock,
      onStep: (report) => {
        observer.stepped(actor.name, generation, report.progress.step, trainer.snapshot());
        fromCompute.tell(() => process.worker?.stepped(report));
      },
    });
    const transport = new SimulatedTransport({
      ...{ world, network, address, actor: exchangeActor, connectMs: this.budget.connectMs },
    });
    const channel = (from: Actor, to: Actor, busy?: () => number) => new Channel(world, from, to, busy);
    const toAgent = channel(exchangeActor, actor);
    const fromCompute = channel(computeActor, actor);
    const exchange = new PeerExchange({
      ...{ transport, budget: this.budget, memory: plainMemory },
      clock: clockOf(world, exchangeActor, origin),
      size: {
        shards: shape.shards,
        values: {
          count: program.reducedCount,
          gradients: { count: program.trainableCount, wire: shape.wire },
          partEnds: program.partEnds,
        },
        statistics: trainer.statisticsCount,
        validates: shape.validationSamples > 0,
      },
      onBroken: (broken) =>
        toAgent.tell(() => {
          observer.missesPeer(actor.name, broken.generation);
          process.worker?.peerBroken(broken);
        }),
    });
    const toExchange = channel(computeActor, exchangeActor);
    const inner = new FreezableCompute(trainer, {
      reduce: reduceOver(world, computeActor, toExchange, time, (work) => exchange.reduce(work)),
      ...(this.#shape.opensRounds && {
        open: openOver(world, computeActor, toExchange, time, (opening) => exchange.openRound(opening)),
      }),
      computes: (generation, computing) => toExchange.tell(() => exchange.computes(generation, computing)),
    });
    const compute = watched(
      computeOver(
        channel(actor, computeActor, () => time.busyUntilMs),
        inner,
      ),
      {
        onRun: (number) => {
          generation = number;
          observer.trains(actor.name, number);
        },
        onEnd: () => observer.trains(actor.name, null),
        onStop: () => observer.stops(actor.name),
        onState: (progress, values) => observer.tookState(actor.name, progress, values),
        initialValues: program.values,
      },
    );
    const coordination = this.#client(actor, origin);
    let stopped = false;
    const main = async () => {
      await clock.sleep(this.#chance.between(200, 1500));
      const record = await findRun(coordination, (ms) => clock.sleep(ms), this.budget.pollMs / 4);
      const own =
        record.replicas === 0
          ? null
          : this.#disks.open({
              ...{ actor, name: slot.name, address: `${address}/store`, run: `${jobName}/${record.run}`, log },
              replicas: record.replicas,
              surroundings: (store) => surroundingsOf(store, keys, coordination),
            });
      if (own) keepTidy({ coordination, keys, record, storage: own.local, pollMs: 10_000, log });
      const worker = new Worker({
        name: slot.name,
        address,
        pid: slot.starts,
        store: own?.store ?? null,
        record,
        info: tinyInfo(shape, trainer.statisticsCount, trainer.stepsPerEpoch),
        keys,
        budget: this.budget,
        coordination,
        storage: own?.storage ?? disk.of(actor),
        compute,
        exchange: exchangeOver(channel(actor, exchangeActor), toAgent, exchange),
        clock,
        log,
        newId: () => `i${++this.#ids}`,
        onStanding: () => {},
        onWishes: () => {},
      });
      process.worker = worker;
      const end = await worker.run();
      log.info("left", { why: end });
      observer.left(actor.name, end);
      // As `launch` does: who ended in order is not started again. When the faults are over, somebody does it by hand.
      slot.wanted = end === "started anew" || (this.#isHealed && end !== "finished");
      stopped = end === "stopped";
    };
    void main()
      .catch((error: unknown) => {
        log.error("ends", { error: error instanceof Error ? error.stack : String(error) });
        observer.failed(actor.name, error, process.worker !== null);
      })
      .then(() => {
        this.#end(slot);
        if (slot.wanted) this.#startLater(slot, this.#chance.between(250, 2000));
        if (stopped && this.isEmptyOfWorkers) this.#startAnew();
      });
  }
}
