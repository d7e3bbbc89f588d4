/** What faults are made of: a cluster that is whole, somebody to do something to, and the evidence afterwards. */
import { systemClock } from "../../adapters/system/clock.ts";
import type { Finding } from "../../core/gameday.ts";
import {
  firstStepMessage,
  isStep,
  type LogLine,
  type Recovery,
  recoveryFrom,
  repeatedSteps,
} from "../../core/log-reading.ts";
import { memberIds } from "../../core/membership.ts";
import type { GamedayCluster } from "./cluster.ts";
import { defaultLimitMs } from "./logbook.ts";
import { nameOf, type Observation } from "./observer.ts";

/** What a fault says of itself; the rest of a finding is known to whoever runs it. */
export type Told = Pick<Finding, "target" | "proof"> & Partial<Pick<Finding, "times" | "stepsLost" | "details">>;

/** A cluster of which everyone trains. */
export interface Standing {
  readonly generation: number;
  /** Worker ids by name, in rank order. */
  readonly members: ReadonlyMap<string, string>;
  readonly pids: ReadonlyMap<string, number>;
  readonly leader: string;
  readonly token: number;
  readonly stepsPerEpoch: number;
  readonly now: Observation;
}

export interface SceneLimits {
  readonly budgetMs: number;
  /** Multiplies the limits of the promises, for a machine that has other things to do. */
  readonly slack: number;
}

export class Scene {
  readonly cluster: GamedayCluster;
  readonly limits: SceneLimits;
  readonly say: (line: string) => void;
  /** Workers that are to be in. */
  readonly expected: Set<string>;
  readonly #problems: string[] = [];
  /** Rejects when the user ends the gameday. */
  readonly #ended: Promise<never>;

  constructor(cluster: GamedayCluster, limits: SceneLimits, say: (line: string) => void, ended: Promise<never>) {
    this.#ended = ended;
    this.cluster = cluster;
    this.limits = limits;
    this.say = say;
    this.expected = new Set(Array.from({ length: cluster.options.workers }, (_, i) => `worker-${i}`));
  }

  /** The same for another cluster. */
  of(cluster: GamedayCluster): Scene {
    return new Scene(cluster, this.limits, this.say, this.#ended);
  }

  /** Problems since this was asked last. */
  takeProblems(): readonly string[] {
    return this.#problems.splice(0);
  }

  /** Notes a problem unless this holds. */
  check(holds: boolean, otherwise: string): void {
    if (!holds) this.#problems.push(otherwise);
  }

  /** Notes a problem when something took longer than it may, or never happened. */
  checkTime(what: string, ms: number | null, limitMs: number): void {
    const { slack } = this.limits;
    const limit = `${limitMs} ms${slack === 1 ? "" : ` × ${slack}`}`;
    if (ms === null) this.check(false, `${what}: not seen; at most ${limit} were expected`);
    else this.check(ms <= limitMs * slack, `${what}: ${Math.round(ms)} ms; at most ${limit} were expected`);
  }

  /** Waits until all workers that are to be in train together, and one of them leads. */
  async whole(limitMs = defaultLimitMs): Promise<Standing> {
    const what = `${[...this.expected].join(", ")} training together`;
    const isWhole = ({ generation, leader }: Observation) =>
      generation?.kind === "running" &&
      leader !== null &&
      generation.members.length === this.expected.size &&
      generation.members.every(({ workerId }) => this.expected.has(nameOf(workerId)));
    const now = await this.#orFailure(this.cluster.observer.until(what, (now) => (isWhole(now) ? now : null), limitMs));
    const generation = now.generation!.generation;
    for (const name of this.expected) await this.firstStep(name, generation);
    const members = new Map(memberIds(now.generation).map((id) => [nameOf(id), id]));
    return {
      generation,
      members,
      pids: new Map([...members.keys()].map((name) => [name, this.cluster.child(name).pid])),
      leader: nameOf(now.leader!.workerId),
      token: now.leader!.token,
      stepsPerEpoch: now.members[0]?.stepsPerEpoch ?? 1,
      now,
    };
  }

  /** A worker's first step in this generation or a later one. */
  async firstStep(name: string, generation: number): Promise<LogLine> {
    return this.line(
      `the first step of ${name} in generation ${generation}`,
      0,
      (line) => line.process === name && line.message === firstStepMessage && Number(line.generation) >= generation,
    );
  }

  /** A log line of this moment or later, of anybody. */
  async line(
    what: string,
    sinceMs: number,
    matches: (line: LogLine) => boolean,
    limitMs = defaultLimitMs,
  ): Promise<LogLine> {
    return this.#orFailure(this.cluster.book.when({ what, sinceMs, limitMs }, matches));
  }

  async until<T>(what: string, answer: (now: Observation) => T | null, limitMs?: number): Promise<T> {
    return this.#orFailure(this.cluster.observer.until(what, answer, limitMs));
  }

  /** Waits for the step in the middle of an epoch; the moment after it is the middle of the next step. */
  async midEpoch(name: string, { stepsPerEpoch }: Standing): Promise<LogLine> {
    const middle = Math.floor(stepsPerEpoch / 2);
    return this.line(
      `${name} in the middle of an epoch`,
      systemClock.wallMs(),
      (line) => line.process === name && isStep(line) && Number(line.step) % stepsPerEpoch === middle,
    );
  }

  /** Waits until an epoch after this one is committed. */
  async epochAfter(epoch: number, limitMs?: number): Promise<Observation> {
    return this.until(`a committed epoch after ${epoch}`, (now) => (now.epoch > epoch ? now : null), limitMs);
  }

  /** Ends processes by SIGKILL, and keeps them from being started again. Returns when they are gone. */
  async kill(...names: readonly string[]): Promise<{ atMs: number; proof: string }> {
    const { processes } = this.cluster;
    const children = names.map((name) => this.cluster.child(name));
    for (const name of names) processes.hold(name);
    const atMs = systemClock.wallMs();
    for (const child of children) child.kill("SIGKILL");
    const exits = await Promise.all(children.map((child) => child.exited));
    const dead = exits.every(({ signal }) => signal === "SIGKILL");
    const who = names.map((name, i) => `${name} (pid ${children[i]!.pid})`).join(" and ");
    this.check(dead, `${who} did not end by SIGKILL`);
    return { atMs, proof: `${who} ended by SIGKILL` };
  }

  /** Waits until the survivors have taken a step without those who are gone. */
  async recovered(atMs: number, before: Standing, survivors: readonly string[]): Promise<Recovery> {
    const firsts = await Promise.all(survivors.map((name) => this.firstStep(name, before.generation + 1)));
    const generation = Math.min(...firsts.map((line) => Number(line.generation)));
    // Processes' lines come each by a pipe of its own: a worker's first step may be heard of before the decision that it followed.
    const isDecision = (line: LogLine) => line.message === "running" && line.generation === generation;
    await this.line(`the coordinator's word that generation ${generation} runs`, atMs, isDecision);
    return this.recovery(atMs, before, survivors);
  }

  recovery(atMs: number, { generation }: Standing, survivors: readonly string[]): Recovery {
    const recovery = recoveryFrom(this.cluster.book.lines, { atMs, generation, survivors });
    if (recovery.stepsLost !== null) {
      this.check(recovery.stepsLost === 0, `${recovery.stepsLost} committed steps were lost`);
    }
    return recovery;
  }

  /** Committed steps that somebody who stayed has taken again since then; a problem if there are any. */
  stepsRepeated(atMs: number): number {
    const repeated = repeatedSteps(this.cluster.book.lines, atMs);
    this.check(repeated === 0, `${repeated} committed steps were taken again`);
    return repeated;
  }

  /** Whoever led meanwhile, and died: the checkpoint of each of these epochs is published, once. */
  async checkPublished(from: number, to: number): Promise<void> {
    await this.until(`the checkpoint of epoch ${to}`, ({ latest }) => (latest && latest.epoch >= to ? latest : null));
    for (const problem of await this.cluster.observer.publishedOnce(from, to)) this.check(false, problem);
  }

  /** Starts those again who were kept from it, and waits until everyone trains. */
  async bringBack(...names: readonly string[]): Promise<Standing> {
    for (const name of names) this.cluster.processes.release(name);
    return this.whole();
  }

  /** Notes a problem for every one of these who has not the process, or the id, that it had. */
  checkKept(before: Standing, after: Standing, names: readonly string[]): void {
    for (const name of names) {
      this.check(before.pids.get(name) === after.pids.get(name), `${name} was started again`);
      this.check(before.members.get(name) === after.members.get(name), `${name} was evicted or joined anew`);
    }
  }

  /** Undoes whatever a fault that failed has left behind. */
  async restore(): Promise<void> {
    const { cluster } = this;
    cluster.network.heal();
    await Promise.allSettled(cluster.etcd.members.map((member) => member.restart())); // refused by those that run
    for (const name of cluster.processes.names()) {
      cluster.processes.child(name)?.kill("SIGCONT");
      cluster.processes.release(name);
    }
    for (const name of this.expected) {
      if (!cluster.isAlive(name) && cluster.processes.isGivenUp(name)) await cluster.startWorker(name);
    }
  }

  #orFailure<T>(promise: Promise<T>): Promise<T> {
    return Promise.race([promise, this.cluster.processes.failure, this.#ended]);
  }
}

/** The members but for those. */
export function othersOf({ members }: Standing, ...gone: readonly string[]): readonly string[] {
  return [...members.keys()].filter((name) => !gone.includes(name));
}

/** A member that does not lead; the last one, so that ranks do not matter. */
export function followerOf(standing: Standing): string {
  return othersOf(standing, standing.leader).at(-1)!;
}
