/**
 * What a worker adds up by itself: one partial sum for each of its largest subtrees, in the order of the tree. Of a round that is
 * opened, the last additions are left to whoever reduces, who then makes them bucket by bucket while the last shard is computed.
 */
import type { Contribution, Reduction } from "../core/contribution.ts";
import { hasSamples, middleOf } from "../core/reduce-tree.ts";
import type { RowMemory } from "../core/row-memory.ts";
import type { Range } from "../core/sampler.ts";
import { isShort, type WireFormat } from "../core/wire.ts";

export interface ShardSumsOptions {
  readonly shards: number;
  readonly memory: RowMemory;
  readonly allocate: () => Reduction;
  /** How many of the values are gradients, and in what form they travel. */
  readonly gradients: { readonly count: number; readonly wire: WireFormat };
}

/** Computes a shard that has samples. `isOpen`: while others already take what of it is there; then they round it, too. */
export type Leaf = (shard: number, into: Reduction, isOpen: boolean) => void;

/** How a subtree is added up; `open` is called before its last shard is computed, and leaves the additions with it to others. */
interface Subtree {
  readonly has: (node: Range) => boolean;
  readonly leaf: Leaf;
  readonly open: (() => void) | null;
}

export class ShardSums {
  readonly #options: ShardSumsOptions;
  /** One for each of the largest subtrees, and one for each level below. */
  readonly #partials: Reduction[] = [];
  readonly #scratch: Reduction[] = [];

  constructor(options: ShardSumsOptions) {
    this.#options = options;
  }

  /**
   * The sums over a batch of so many samples. They lie in the same rows every time.
   * @param open told of them before the last shard is computed; left out: all of them are finished here
   */
  contributions(
    nodes: readonly Range[],
    samples: number,
    leaf: Leaf,
    open?: (own: readonly Contribution[]) => void,
  ): readonly Contribution[] {
    const { shards, allocate } = this.#options;
    while (this.#partials.length < nodes.length) this.#partials.push(allocate());
    const has = (node: Range) => hasSamples(node, shards, samples);
    const own: Contribution[] = nodes.map((node, i) => ({ node, sum: has(node) ? this.#partials[i]! : null }));
    const last = nodes.findLastIndex(has);
    if (open && last >= 0) own[last] = { ...own[last]!, rest: this.#restOf(nodes[last]!, 0, has) };
    for (const [i, { node, sum }] of own.entries()) {
      if (sum) this.#sum(node, sum, 0, { has, leaf, open: open && i === last ? () => open(own) : null });
    }
    return own;
  }

  /** At every node of the tree, whoever holds it. */
  round({ values }: Reduction): void {
    const { memory, gradients } = this.#options;
    if (isShort(gradients.wire)) memory.roundTo(gradients.wire, values.subarray(0, gradients.count));
  }

  /** The same tree, and the same rule for absent shards, as in reduce-tree.ts. The first shards have the samples. */
  #sum(node: Range, into: Reduction, depth: number, how: Subtree): void {
    if (node.end - node.begin === 1) {
      how.open?.();
      how.leaf(node.begin, into, how.open !== null);
      return;
    }
    const [left, right] = halvesOf(node);
    if (!how.has(right)) return void this.#sum(left, into, depth + 1, how);
    this.#sum(left, into, depth + 1, { ...how, open: null });
    const other = this.#scratchRow(depth);
    this.#sum(right, other, depth + 1, how);
    if (how.open) return;
    const sum = { row: into.values, at: 0 };
    this.#options.memory.add(sum, sum, { row: other.values, at: 0 }, into.values.length);
    this.round(into);
    for (let i = 0; i < into.statistics.length; i++) into.statistics[i]! += other.statistics[i]!;
  }

  /** The rows whose additions `#sum` leaves to others, where the subtree is open. */
  #restOf(node: Range, depth: number, has: (node: Range) => boolean): Reduction[] {
    if (node.end - node.begin === 1) return [];
    const [left, right] = halvesOf(node);
    if (!has(right)) return this.#restOf(left, depth + 1, has);
    return [this.#scratchRow(depth), ...this.#restOf(right, depth + 1, has)];
  }

  #scratchRow(depth: number): Reduction {
    this.#scratch[depth] ??= this.#options.allocate();
    return this.#scratch[depth];
  }
}

function halvesOf(node: Range): [left: Range, right: Range] {
  const middle = middleOf(node);
  return [
    { begin: node.begin, end: middle },
    { begin: middle, end: node.end },
  ];
}
