/** What an operator wishes of the processes of a start: how many workers there are, who leaves, who is started again. */
import { LockstepError } from "./errors.ts";
import { nearestName } from "./nearest-name.ts";

/** They are of one start: the next one begins without any. */
export interface Wishes {
  readonly start: number;
  /** How many workers train; whoever starts the processes adds and ends some. Null: as many as it was started with. */
  readonly workers: number | null;
  /** The names of workers that leave in order and stay away. */
  readonly drained: readonly string[];
  /** How often each worker was to be started again, by its name. */
  readonly restarts: Readonly<Record<string, number>>;
}

export type Wish =
  | { readonly kind: "scale"; readonly workers: number }
  | { readonly kind: "drain"; readonly worker: string }
  | { readonly kind: "restart"; readonly worker: string };

/** What is known where a wish is made. */
export interface WishPlace {
  /** The names of the workers that are there. */
  readonly names: readonly string[];
  /** Each worker has at least one shard. */
  readonly mostWorkers: number;
}

/** The wishes of this start, given what was written down last. */
export function wishesOf(start: number, written: Wishes | null): Wishes {
  return written?.start === start ? written : { start, workers: null, drained: [], restarts: {} };
}

/** "usage": what is wished cannot be. */
export function withWish(wishes: Wishes, wish: Wish, { names, mostWorkers }: WishPlace): Wishes {
  switch (wish.kind) {
    case "scale": {
      const { workers } = wish;
      if (workers < 1 || workers > mostWorkers) {
        throw new LockstepError("usage", `${workers} workers were asked for; the run takes 1 to ${mostWorkers}.`, {
          hint: "Every worker needs a shard, and the number of shards is fixed for the run.",
        });
      }
      return { ...wishes, workers };
    }
    case "drain": {
      const { worker } = wish;
      if (wishes.drained.includes(worker)) return wishes;
      if (!names.includes(worker)) throw noWorker(worker, names);
      return { ...wishes, drained: [...wishes.drained, worker] };
    }
    case "restart": {
      const { worker } = wish;
      const drained = wishes.drained.filter((name) => name !== worker);
      return { ...wishes, drained, restarts: { ...wishes.restarts, [worker]: timesOf(wishes, worker) + 1 } };
    }
  }
}

export function noWorker(name: string, names: readonly string[]): LockstepError {
  const near = nearestName(name, names);
  const there =
    names.length === 0 ? "No worker is there" : `There ${names.length === 1 ? "is" : "are"} ${names.join(", ")}`;
  return new LockstepError("usage", `There is no worker ${JSON.stringify(name)}. ${there}.`, {
    hint: near ? `Is ${near} meant?` : "`lockstep status` shows who is there.",
  });
}

/** What is wished of this worker now, which read the wishes when it started. */
export function askedOf(now: Wishes, atStart: Wishes, name: string): "leave" | "start again" | null {
  if (timesOf(now, name) > timesOf(atStart, name)) return "start again";
  return now.drained.includes(name) ? "leave" : null;
}

/** The names of those who are to be started again since `before`. */
export function restartsSince(before: Wishes, now: Wishes): readonly string[] {
  return Object.keys(now.restarts).filter((name) => timesOf(now, name) > timesOf(before, name));
}

function timesOf({ restarts }: Wishes, name: string): number {
  return restarts[name] ?? 0;
}
