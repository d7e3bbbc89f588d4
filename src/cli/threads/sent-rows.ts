/** A round's rows on their way from one thread to another: those in the arena by their address, all others as they are. */
import type { Address, Arena } from "../../adapters/wasm/arena.ts";
import type { Reduction } from "../../core/contribution.ts";
import { doublesIn, floatsIn } from "../../core/row-memory.ts";
import type { ReductionWork } from "../../runtime/freezable-compute.ts";

interface SentReduction {
  readonly values: Address | Float32Array;
  readonly statistics: Address | Float64Array;
}

export interface SentWork extends Omit<ReductionWork, "own" | "into"> {
  readonly own: readonly { readonly node: ReductionWork["own"][number]["node"]; readonly sum: SentReduction | null }[];
  readonly into: SentReduction;
}

export function sentWork(work: ReductionWork, arena: Arena | null): SentWork {
  const sent = ({ values, statistics }: Reduction): SentReduction => ({
    values: arena?.addressOf(values) ?? values,
    statistics: arena?.addressOf(statistics) ?? statistics,
  });
  return { ...work, own: work.own.map(({ node, sum }) => ({ node, sum: sum && sent(sum) })), into: sent(work.into) };
}

export function receivedWork(work: SentWork, arena: Arena | null): ReductionWork {
  const bytes = (address: Address) => arena!.at(address); // who sends addresses has an arena, and then both have
  const received = ({ values, statistics }: SentReduction): Reduction => ({
    values: values instanceof Float32Array ? values : floatsIn(bytes(values)),
    statistics: statistics instanceof Float64Array ? statistics : doublesIn(bytes(statistics)),
  });
  const own = work.own.map(({ node, sum }) => ({ node, sum: sum && received(sum) }));
  return { ...work, own, into: received(work.into) };
}
