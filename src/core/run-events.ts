/** A launch as a program sees it that runs one: what it asks for, what it is told, and how it takes part. */
import type { RunResult } from "./run-result.ts";
import type { ParamValue } from "./settings.ts";
import type { CheckpointPointer, ClusterState, ClusterStatus, EpochHistory } from "./status.ts";

/** As the options of `lockstep launch`, whose help says what each of them means. */
export interface LaunchOptions {
  /** The job file: its processes load it, so it has to be a file. */
  readonly job: string | URL;
  /** How many, or "MIN:MAX". Default 1. */
  readonly workers?: number | string;
  readonly spares?: number;
  readonly shards?: number;
  readonly epochs?: number;
  /** What the job is called, instead of the name in its file. */
  readonly name?: string;
  /** Fields of the job file by their paths, as { "compile.optimizer.learningRate": 0.01 }. */
  readonly set?: Readonly<Record<string, unknown>>;
  /** Parameters of the job file. */
  readonly params?: Readonly<Record<string, ParamValue>>;
  readonly data?: string;
  readonly directory?: string;
  readonly checkpoints?: string;
  readonly replicas?: number;
  /** "auto" (default), "never", "best", "latest", or a checkpoint's id. */
  readonly resume?: string;
  readonly run?: number;
  readonly allowChange?: boolean;
  readonly threads?: number;
  readonly engine?: "native" | "wasm" | "cpu";
  readonly device?: "cpu" | "gpu";
  /** Seconds. */
  readonly failureBudget?: number;
  readonly maxRestarts?: number;
  readonly etcd?: string;
  readonly tls?: boolean;
  readonly logLevel?: "debug" | "info" | "warn" | "error";
}

export interface RunWorker {
  /** Name and incarnation. */
  readonly id: string;
  /** Null while it is not a member. */
  readonly rank: number | null;
  readonly leader: boolean;
}

export type RunEvent =
  /** Set-up progress, a decision, a warning; for people. */
  | { readonly type: "message"; readonly text: string }
  /** The cluster has another membership or state. */
  | {
      readonly type: "generation";
      readonly generation: number;
      readonly state: ClusterState;
      readonly reason: string;
      readonly workers: readonly RunWorker[];
    }
  | { readonly type: "joined" | "left"; readonly worker: string }
  /** An epoch is committed. One comes again with other values after the run went back behind it. */
  | {
      readonly type: "epoch";
      readonly epoch: number;
      readonly epochs: number;
      readonly step: number;
      /** Named as in Keras. */
      readonly metrics: Readonly<Record<string, number>>;
      readonly improved: boolean;
    }
  /** A checkpoint is published: `latest` names it now, or `best`. */
  | { readonly type: "checkpoint"; readonly as: "latest" | "best"; readonly checkpoint: CheckpointPointer }
  | { readonly type: "finished"; readonly result: RunResult };

export type RunEventType = RunEvent["type"];
export type RunEventOf<Type extends RunEventType> = Extract<RunEvent, { readonly type: Type }>;

/** A run under way. Its processes end with the program that launched it. */
export interface Run extends AsyncIterable<RunEvent> {
  readonly job: string;
  /** Its number. */
  readonly run: number;
  /** Calls back with every event of this type from now on; returns what ends that. What the listener throws is the program's. */
  on<Type extends RunEventType>(type: Type, listener: (event: RunEventOf<Type>) => void): () => void;
  status(): Promise<ClusterStatus>;
  /** As many workers as that, at most as many as there are shards. Resolves once it is asked for. */
  scale(workers: number): Promise<void>;
  /** Asks for an orderly end: the step is finished and a checkpoint published. Resolves when all processes have ended. */
  stop(): Promise<void>;
  /** The result. Rejects with a LockstepError: "interrupted" when it was stopped, else what it failed with. */
  readonly finished: Promise<RunResult>;
}

/** The words of `lockstep launch` that ask for the same, without the job file. */
export function launchWords({ job: _, name, set = {}, params = {}, ...options }: LaunchOptions): string[] {
  const pairs = (option: string, values: Readonly<Record<string, unknown>>) =>
    Object.entries(values).flatMap(([key, value]) => [
      option,
      `${key}=${typeof value === "string" ? value : JSON.stringify(value)}`,
    ]);
  const words = Object.entries(options).flatMap(([option, value]: [string, unknown]) => {
    const word = `--${option.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
    if (value === undefined || value === false) return [];
    return value === true ? [word] : [word, String(value)];
  });
  return [
    ...words,
    ...(name === undefined ? [] : ["--job", name]),
    ...pairs("--set", set),
    ...pairs("--param", params),
  ];
}

/** Finds what is new in snapshots of the status, which may repeat, skip or lag behind. */
export class RunEvents {
  #generation = "";
  #workers: readonly string[] = [];
  readonly #epochs = new Map<number, EpochHistory>();
  readonly #published = { latest: "", best: "" };

  news(status: ClusterStatus): RunEvent[] {
    const { generation, state, reason, epochs, history } = status;
    const workers = status.processes.flatMap(({ role, workerId, rank, leader }) =>
      role === "worker" && workerId !== null ? [{ id: workerId, rank, leader }] : [],
    );
    const ids = workers.map(({ id }) => id);
    const events: RunEvent[] = [
      ...ids.filter((id) => !this.#workers.includes(id)).map((worker) => ({ type: "joined" as const, worker })),
      ...this.#workers.filter((id) => !ids.includes(id)).map((worker) => ({ type: "left" as const, worker })),
    ];
    this.#workers = ids;
    const membership = JSON.stringify([generation, state]);
    if (membership !== this.#generation) events.push({ type: "generation", generation, state, reason, workers });
    this.#generation = membership;
    for (const record of history) {
      const known = this.#epochs.get(record.epoch);
      if (known && known.step === record.step && sameMetrics(known.metrics, record.metrics)) continue;
      this.#epochs.set(record.epoch, record);
      const { epoch, step, metrics, improved } = record;
      events.push({ type: "epoch", epoch, epochs, step, metrics, improved });
    }
    for (const as of ["latest", "best"] as const) {
      const checkpoint = status[as];
      if (!checkpoint || checkpoint.id === this.#published[as]) continue;
      this.#published[as] = checkpoint.id;
      events.push({ type: "checkpoint", as, checkpoint });
    }
    return events;
  }
}

function sameMetrics(one: Readonly<Record<string, number>>, other: Readonly<Record<string, number>>): boolean {
  const names = Object.keys(one);
  return names.length === Object.keys(other).length && names.every((name) => Object.is(one[name], other[name]));
}
