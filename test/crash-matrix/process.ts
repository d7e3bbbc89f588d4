/**
 * One process of a job as the matrix sees it: its calls to the disk and its transactions are *points*, at each of which
 * it can be failed, stopped for a while, or ended. A process that is stopped does nothing at all: its keepalives rest too.
 */
import { relative } from "node:path";
import type { FileSystem } from "../../src/adapters/fs/file-system.ts";
import type { Keys } from "../../src/core/keys.ts";
import type { Clock } from "../../src/ports/clock.ts";
import type { Coordination, Operation } from "../../src/ports/coordination.ts";
import { type Call, disturbed } from "../fixtures/disturbed-file-system.ts";

/** "sync STAGING/state.json", "transact publish", "reply publish"; counted, as some occur more than once: "#2". */
export type PointName = string;

export interface Point {
  readonly name: PointName;
  readonly operation: Call["operation"] | "transact" | "reply";
}

export interface Disturbance {
  /** Called at each point, before what is named there happens; what it throws, the call fails with. */
  readonly at?: (point: Point) => unknown;
  /** What becomes of the buffers of a read or write; fewer of them are a short read or write. */
  readonly alter?: (point: Point, buffers: readonly Uint8Array[]) => readonly Uint8Array[];
  readonly afterWrite?: (point: Point) => unknown;
}

export interface ProcessOptions {
  readonly name: string;
  readonly keys: Keys;
  readonly directory: string;
  readonly disk: FileSystem;
  /** A client of etcd that lives by this process' clock, so that its keepalives rest when the process is stopped. */
  readonly connect: (clock: Clock) => Coordination;
  readonly clock: Clock;
  /** Whether a checkpoint has this id that was there before the process did what is looked at. */
  readonly isOld: (id: string) => boolean;
}

export class Process {
  readonly name: string;
  readonly fileSystem: FileSystem;
  readonly coordination: Coordination;
  readonly clock: Clock;
  readonly #options: ProcessOptions;
  #disturbance: Disturbance = {};
  #counts = new Map<string, number>();
  #stopped: Promise<void> | null = null;
  #wake = () => {};

  constructor(options: ProcessOptions) {
    this.#options = options;
    this.name = options.name;
    // Of each file: two are written at once.
    const points = new Map<string, Point>();
    this.fileSystem = disturbed(options.disk, {
      before: async (call) => {
        const point = this.#pointOf(call);
        points.set(call.path, point);
        await this.#pass(point);
      },
      alter: ({ path }, buffers) => this.#disturbance.alter?.(points.get(path)!, buffers) ?? buffers,
      afterWrite: ({ path }) => this.#disturbance.afterWrite?.(points.get(path)!),
    });
    this.clock = this.#clockOf(options.clock);
    this.coordination = this.#coordinationOf(options.connect(this.clock));
  }

  /** From here on its points are counted anew, and this happens at them. */
  disturb(disturbance: Disturbance): void {
    this.#disturbance = disturbance;
    this.#counts = new Map();
  }

  stop(): void {
    this.#stopped ??= new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  continue(): void {
    this.#stopped = null;
    this.#wake();
  }

  async #pass(point: Point): Promise<void> {
    await this.#disturbance.at?.(point);
    await this.#awake();
  }

  async #awake(): Promise<void> {
    while (this.#stopped) await this.#stopped;
  }

  #pointOf({ operation, path }: Call): Point {
    const [folder = "", file] = relative(this.#options.directory, path).split("/");
    const place = folder.startsWith(".staging-") ? "STAGING" : this.#options.isOld(folder) ? "OLD" : folder && "NEW";
    return this.#counted(operation, `${operation} ${[place || "ROOT", ...(file ? [file] : [])].join("/")}`);
  }

  #counted(operation: Point["operation"], text: string): Point {
    const count = (this.#counts.get(text) ?? 0) + 1;
    this.#counts.set(text, count);
    return { operation, name: count === 1 ? text : `${text} #${count}` };
  }

  #coordinationOf(inner: Coordination): Coordination {
    const awake = async <T>(act: () => Promise<T>): Promise<T> => {
      await this.#awake();
      return act();
    };
    return {
      get rollbacks() {
        return inner.rollbacks;
      },
      get: (key) => awake(() => inner.get(key)),
      read: (keys) => awake(() => inner.read(keys)),
      list: (prefix) => awake(() => inner.list(prefix)),
      transact: async (conditions, then) => {
        const what = this.#nameOf(then);
        await this.#pass(this.#counted("transact", `transact ${what}`));
        const result = await inner.transact(conditions, then);
        await this.#pass(this.#counted("reply", `reply ${what}`));
        return result;
      },
      grantLease: (ttlMs) => awake(() => inner.grantLease(ttlMs)),
      revokeLease: (leaseId) => awake(() => inner.revokeLease(leaseId)),
      watch: (prefix, pollMs, onHint) => inner.watch(prefix, pollMs, onHint),
      close: () => inner.close(),
    };
  }

  #nameOf(operations: readonly Operation[]): string {
    const { keys } = this.#options;
    const puts = (key: string) => operations.some((operation) => operation.kind === "put" && operation.key === key);
    if (puts(keys.leader)) return "stand for leader";
    if (puts(keys.committed)) return "commit epoch";
    if (puts(keys.latest)) return "publish";
    if (operations.some(({ kind, key }) => kind === "put" && key.startsWith(keys.pins))) return "pin";
    if (operations.some(({ kind, key }) => kind === "put" && key.startsWith(keys.checkpoints))) return "condemn";
    if (operations.some(({ kind, key }) => kind === "delete" && key.startsWith(keys.checkpoints))) return "forget";
    return "other";
  }

  #clockOf(inner: Clock): Clock {
    return {
      monotonicMs: () => inner.monotonicMs(),
      wallMs: () => inner.wallMs(),
      sleep: async (ms, signal) => {
        await inner.sleep(ms, signal);
        await this.#awake();
      },
    };
  }
}
