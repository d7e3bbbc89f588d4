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
  /** There are other workers than before. */
  readonly onChange: () => void;
}

export class Workforce {
  readonly #options: WorkforceOptions;
  #workers: number;
  #known: Wishes | null = null;

  constructor(options: WorkforceOptions) {
    this.#options = options;
    this.#workers = options.workers;
  }

  /** How many processes there should be, spares included. */
  get size(): number {
    return this.#workers + this.#options.spares;
  }

  start(): void {
    for (let index = 0; index < this.size; index++) this.#start(index);
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
    const { cluster, say, onChange } = this.#options;
    const before = this.#workers;
    this.#workers = workers;
    say(`${before} → ${workers} workers, as was asked for.`);
    for (const name of cluster.names()) {
      const index = indexOf(name);
      if (index !== null && index >= this.size && cluster.child(name)?.exit === null)
        cluster.child(name)!.kill("SIGTERM");
    }
    for (let index = 0; index < this.size; index++) {
      const child = cluster.child(nameOf(index));
      const isAway = !child || child.exit !== null;
      if (isAway && !this.#known?.drained.includes(nameOf(index))) this.#start(index);
    }
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
    this.#start(index);
  }

  #start(index: number): void {
    const { cluster, wordsOf, say } = this.#options;
    wordsOf(index)
      .then((words) => {
        if (!cluster.isEnding) cluster.launch(nameOf(index), words);
      })
      .catch((error: unknown) => say(`${nameOf(index)} cannot be started: ${messageOf(error)}`));
  }
}

const nameOf = (index: number) => `worker-${index}`;

/** Null: it is no worker of a launch. */
export function indexOf(name: string): number | null {
  const found = /^worker-(0|[1-9]\d*)$/.exec(name);
  return found && Number(found[1]);
}
