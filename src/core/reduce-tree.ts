/**
 * Floating-point addition is not associative, so the order of additions decides the bits. Here the order is one fixed
 * binary tree over the shard numbers: the node [begin, end) has the children [begin, middle) and [middle, end), with
 * the middle at begin + ⌈(end − begin) / 2⌉. The tree depends on the number of shards alone. Whoever holds the shards
 * of a whole subtree may add them up on its own; the rest of the tree is finished by whoever collects. So neither the
 * number of workers nor the assignment of shards can change a bit.
 *
 * A shard without samples is absent: its sibling passes unchanged. Nothing is ever added to a zero accumulator, since
 * 0 + −0 is 0.
 */
import type { Range } from "./sampler.ts";
import { slice } from "./sampler.ts";

export function middleOf(node: Range): number {
  return node.begin + Math.ceil((node.end - node.begin) / 2);
}

/** The largest whole subtrees that tile `held`, in shard order: what its holder adds up on its own and sends. */
export function largestSubtrees(shards: number, held: Range): Range[] {
  const found: Range[] = [];
  const visit = (node: Range): void => {
    if (node.end <= held.begin || held.end <= node.begin) return;
    if (held.begin <= node.begin && node.end <= held.end) {
      found.push(node);
      return;
    }
    const middle = middleOf(node);
    visit({ begin: node.begin, end: middle });
    visit({ begin: middle, end: node.end });
  };
  if (held.begin < held.end) visit({ begin: 0, end: shards });
  return found;
}

/**
 * The sum at `node`, in tree order. `at` gives the value of a node that is known as a whole, "absent" for one without
 * samples, or "descend" to add up its children. `add(left, right)` may reuse `left`. Null when all of it is absent.
 */
export function sumTree<T>(
  node: Range,
  at: (node: Range) => T | "absent" | "descend",
  add: (left: T, right: T) => T,
): T | null {
  const known = at(node);
  if (known === "absent") return null;
  if (known !== "descend") return known;
  const middle = middleOf(node);
  const left = sumTree({ begin: node.begin, end: middle }, at, add);
  const right = sumTree({ begin: middle, end: node.end }, at, add);
  if (left === null) return right;
  if (right === null) return left;
  return add(left, right);
}

/** Whether a node has any samples, when `samples` are dealt to the shards as in the sampler: the first shards first. */
export function hasSamples(node: Range, shards: number, samples: number): boolean {
  const first = slice(samples, shards, node.begin);
  return first.begin < first.end;
}

/** The shards of the worker with this rank: contiguous, sizes differ by at most one. */
export function shardsOfRank(shards: number, world: number, rank: number): Range {
  return slice(shards, world, rank);
}
