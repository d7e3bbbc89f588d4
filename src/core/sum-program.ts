/**
 * The sum at the root of the tree as a list of additions, so that rows can be added block by block: what is in between then
 * stays in the processor's cache and needs no rows of its own.
 */
import { sumTree } from "./reduce-tree.ts";
import type { Range } from "./sampler.ts";

/** A row that is given, or one that only exists for a block. */
export type Operand =
  | { readonly kind: "given"; readonly index: number }
  | { readonly kind: "temporary"; readonly index: number };

export interface SumProgram {
  /** In order. The last one makes the sum. */
  readonly additions: readonly { readonly into: Operand; readonly left: Operand; readonly right: Operand }[];
  readonly temporaries: number;
  /** The sum; a given row where there is nothing to add. */
  readonly result: Operand;
}

/** `at` numbers the rows that are given for nodes. Null when everything is absent. */
export function sumProgram(root: Range, at: (node: Range) => number | "absent" | "descend"): SumProgram | null {
  const additions: { into: Operand; left: Operand; right: Operand }[] = [];
  const free: Operand[] = [];
  let temporaries = 0;
  const result = sumTree<Operand>(
    root,
    (node) => {
      const known = at(node);
      return typeof known === "number" ? { kind: "given", index: known } : known;
    },
    (left, right) => {
      const used = [left, right].filter(({ kind }) => kind === "temporary");
      const into = used[0] ?? free.pop() ?? { kind: "temporary" as const, index: temporaries++ };
      if (used[1]) free.push(used[1]);
      additions.push({ into, left, right });
      return into;
    },
  );
  return result && { additions, temporaries, result };
}
