/** A round's rows on their way from one thread to another: those in the arena by their address, all others as they are. */
import type { Address, Arena } from "../../adapters/wasm/arena.ts";
import type { Contribution, Reduction } from "../../core/contribution.ts";
import { doublesIn, floatsIn, wordsIn } from "../../core/row-memory.ts";
import type { GenerationOpening, ReductionWork } from "../../runtime/freezable-compute.ts";

interface SentReduction {
  readonly values: Address | Float32Array;
  readonly statistics: Address | Float64Array;
}

interface SentContribution {
  readonly node: Contribution["node"];
  readonly sum: SentReduction | null;
  readonly rest: readonly SentReduction[] | undefined;
}

type Sent<Work> = Omit<Work, "own" | "into" | "written"> & {
  readonly own: readonly SentContribution[];
  readonly into: SentReduction;
};
export type SentWork = Sent<ReductionWork>;
export type SentOpening = Sent<GenerationOpening> & { readonly written: Address | Int32Array };

export function sentWork(work: ReductionWork, arena: Arena | null): SentWork {
  const sent = ({ values, statistics }: Reduction): SentReduction => ({
    values: arena?.addressOf(values) ?? values,
    statistics: arena?.addressOf(statistics) ?? statistics,
  });
  const own = work.own.map(({ node, sum, rest }) => ({ node, sum: sum && sent(sum), rest: rest?.map(sent) }));
  return { ...work, own, into: sent(work.into) };
}

export function receivedWork(work: SentWork, arena: Arena | null): ReductionWork {
  const received = ({ values, statistics }: SentReduction): Reduction => ({
    values: values instanceof Float32Array ? values : floatsIn(bytesAt(values, arena)),
    statistics: statistics instanceof Float64Array ? statistics : doublesIn(bytesAt(statistics, arena)),
  });
  const own = work.own.map(({ node, sum, rest }) => ({
    ...{ node, sum: sum && received(sum) },
    ...(rest && { rest: rest.map(received) }),
  }));
  return { ...work, own, into: received(work.into) };
}

export function sentOpening(opening: GenerationOpening, arena: Arena | null): SentOpening {
  const { partEnds, written } = opening;
  return { ...sentWork(opening, arena), partEnds, written: arena?.addressOf(written) ?? written };
}

export function receivedOpening(opening: SentOpening, arena: Arena | null): GenerationOpening {
  const { partEnds, written } = opening;
  return {
    ...{ ...receivedWork(opening, arena), partEnds },
    written: written instanceof Int32Array ? written : wordsIn(bytesAt(written, arena)),
  };
}

/** Who sends addresses has an arena, and then both have. */
function bytesAt(address: Address, arena: Arena | null): Uint8Array {
  return arena!.at(address);
}
