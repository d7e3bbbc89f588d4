/** Which workers keep copies of a checkpoint, where each has checkpoints on a disk of its own. */
import { LockstepError } from "./errors.ts";
import { type Generation, type Member, memberIds, type Store } from "./membership.ts";

/** A worker that can be asked for copies, and to keep one. */
export interface Holder {
  readonly workerId: string;
  readonly name: string;
  readonly store: Store;
}

/**
 * All who could keep a copy beside the worker with the store `own`, in the order in which they are asked. Members first, in
 * rank order, so that it is the same ones every time; then who stands by; who is leaving comes last. Before a machine gets a
 * second copy, every other machine gets one: a disk rarely dies alone.
 */
export function keepersBeside(
  own: Store,
  members: readonly Member[],
  generation: Generation | null,
): readonly Holder[] {
  const ranks = memberIds(generation);
  const rankOf = ({ workerId }: Member) => (ranks.includes(workerId) ? ranks.indexOf(workerId) : ranks.length);
  const left = holdersAmong(own, members, (a, b) => {
    return Number(a.leaving) - Number(b.leaving) || rankOf(a) - rankOf(b) || (a.workerId < b.workerId ? -1 : 1);
  });
  const ordered: Holder[] = [];
  const machines = new Set([machineOf(own)]);
  while (left.length > 0) {
    const elsewhere = left.findIndex(({ store }) => !machines.has(machineOf(store)));
    if (elsewhere < 0) machines.clear();
    const [next] = left.splice(Math.max(elsewhere, 0), 1);
    machines.add(machineOf(next!.store));
    ordered.push(next!);
  }
  return ordered;
}

/** All who may have a copy, in the order in which they are asked for it: first those who had it when it was published. */
export function holdersBeside(own: Store, members: readonly Member[], names: readonly string[]): readonly Holder[] {
  const isNamed = ({ name }: Member) => Number(names.includes(name));
  return holdersAmong(own, members, (a, b) => isNamed(b) - isNamed(a) || (a.workerId < b.workerId ? -1 : 1));
}

/** One worker for each store: a process that was started again may be there twice for a moment. */
function holdersAmong(own: Store, members: readonly Member[], order: (a: Member, b: Member) => number): Holder[] {
  const seen = new Set([own.id]);
  return [...members].sort(order).flatMap(({ workerId, name, store }) => {
    if (!store || seen.has(store.id)) return [];
    seen.add(store.id);
    return [{ workerId, name, store }];
  });
}

function machineOf({ address }: Store): string {
  return address.slice(0, address.lastIndexOf(":"));
}

/** Refuses a number of copies for which there are never enough workers. */
export function checkReplicas(replicas: number, mostWorkers: number): void {
  if (replicas < mostWorkers) return;
  throw new LockstepError(
    "usage",
    `--replicas is ${replicas}: so many workers beside the leader keep a copy, and the run takes ${mostWorkers} worker${mostWorkers === 1 ? "" : "s"} at most.`,
    {
      hint:
        mostWorkers > 1
          ? `Give at most --replicas ${mostWorkers - 1}, or more workers.`
          : "Give more workers, or leave --replicas out: a single worker has nobody who could keep a copy.",
    },
  );
}
