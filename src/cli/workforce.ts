/** The workers of a launch, as an operator wishes them while it runs: more, fewer, or one of them started again. */
import { exitCodes, messageOf } from "../core/errors.ts";
import { restartsSince, type Wishes } from "../core/wishes.ts";
import type { LocalCluster } from "./cluster.ts";

export interface WorkforceOptions {
  readonly cluster: LocalCluster;
  /** At the start. */
  readonly workers: number;
  readonly spares: number;
  /** The words after `lockstep` of the worker with this number; "usage" if there cannot be one. */
  readonly wordsOf: (index: number) => Promise<readonly string[]>;
  readonly say: (line: string) => void;
  /** There are as many workers as was asked for last. */
  readonly onChange: () => void;
}

export class Workforce {
  readonly #options: WorkforceOptions;
  #workers: number;
  #adapted: number;
  /** One change after the other: who leaves has left before another of its name is started. */
  #adapting: Promise<void> = Promise.resolve();
  #known: Wishes | null = null;
  /** Of those whose words are being found, the ends of that. */
  readonly #starting = new Map<number, Promise<void>>();

  constructor(options: WorkforceOptions) {
    this.#options = options;
    this.#workers = options.workers;
    this.#adapted = options.workers;
  }

  /** How many workers there are, spares aside: less or more than are asked for until who has to leave has left, and others are started. */
  get workers(): number {
    return this.#adapted;
  }

  /** How many processes there should be, spares included. */
  get size(): number {
    return this.#workers + this.#options.spares;
  }

  start(): void {
    for (let index = 0; index < this.size; index++) void this.#start(index);
  }

  /** Called with every status; does what is new in the wishes. */
  follow(wishes: Wishes): void {
    const before = this.#known;
    this.#known = wishes;
    // What was wished before this launch looked for the first time was wished of it too.
    const known = before ?? { ...wishes, restarts: {} };
    for (const name of restartsSince(known, wishes)) void this.#startAgain(name);
    if (wishes.workers !== null && wishes.workers !== this.#workers) this.#scale(wishes.workers);
  }

  #scale(workers: number): void {
    const { say } = this.#options;
    say(`${this.#workers} → ${workers} workers, as was asked for.`);
    this.#workers = workers;
    this.#adapting = this.#adapting
      .then(() => this.#adapt())
      .catch((error: unknown) => say(`The number of workers cannot be changed: ${messageOf(error)}`));
  }

  async #adapt(): Promise<void> {
    const { cluster, onChange } = this.#options;
    const isTooMany = (name: string) => (indexOf(name) ?? -1) >= this.size;
    await Promise.all(this.#starting.values());
    await Promise.all(
      cluster
        .names()
        .filter(isTooMany)
        .map((name) => cluster.dismiss(name)),
    );
    if (cluster.isEnding) return;
    // As many as are asked for by now.
    for (let index = 0; index < this.size; index++) {
      const name = nameOf(index);
      if (!cluster.isKept(name) && !this.#known?.drained.includes(name)) void this.#start(index);
    }
    await Promise.all(this.#starting.values());
    this.#adapted = this.#workers;
    onChange();
  }

  /** It leaves by itself, since it follows the wishes too; or it was gone already. */
  async #startAgain(name: string): Promise<void> {
    const { cluster, say } = this.#options;
    const index = indexOf(name);
    const exit = await cluster.child(name)?.exited;
    if (index === null || index >= this.size || exit === undefined || cluster.isEnding) return;
    // One that failed is started again anyway, unless it was given up.
    const isOver = exit.code === 0 || exit.code === exitCodes["start-again"] || cluster.isGivenUp(name);
    if (!isOver) return;
    say(`${name} is started again, as was asked for.`);
    await this.#start(index);
  }

  /** Resolves when it is started, or cannot be. */
  #start(index: number): Promise<void> {
    const { cluster, wordsOf, say } = this.#options;
    const starting = this.#starting.get(index);
    if (starting) return starting;
    const started = wordsOf(index)
      .then((words) => {
        // Fewer may be wanted by now.
        if (!cluster.isEnding && index < this.size) cluster.launch(nameOf(index), words);
      })
      .catch((error: unknown) => say(`${nameOf(index)} cannot be started: ${messageOf(error)}`))
      .finally(() => this.#starting.delete(index));
    this.#starting.set(index, started);
    return started;
  }
}

const nameOf = (index: number) => `worker-${index}`;

/** Null: it is no worker of a launch. */
export function indexOf(name: string): number | null {
  const found = /^worker-(0|[1-9]\d*)$/.exec(name);
  return found && Number(found[1]);
}
