/** How much samples count in training where the data say it. */
import { LockstepError } from "./errors.ts";
import type { DataSource } from "./job.ts";

/** Whether each sample has a weight of its own. */
export function hasWeights(source: DataSource): boolean {
  if (source.kind === "dataset") return source.weighted === true;
  return "weight" in source && source.weight !== undefined;
}

/**
 * The same samples, of which it is not asked how much they count. A table of cells keeps the name of the column, which may be there and is no
 * feature.
 */
export function withoutWeights(source: DataSource): DataSource {
  if (source.kind === "csv") return source;
  if (source.kind === "dataset") return { ...source, weighted: false };
  if (!("weight" in source)) return source;
  const { weight: _, ...others } = source;
  return others;
}

/** `value`, a number or a boolean, as a weight; whatever is none is refused. `shown`: as it is written, for messages. */
export function checkedWeight(value: unknown, where: () => string, shown: () => string): number {
  const isNumber = typeof value === "number" || typeof value === "boolean";
  const weight = isNumber ? Math.fround(Number(value)) : Number.NaN;
  if (Number.isFinite(weight) && weight >= 0) return weight;
  throw new LockstepError(
    "invalid-data",
    `${where()} is ${shown()}; expected a sample's weight, a finite number from 0 on.`,
    {
      hint: "A sample that is not to count has the weight 0.",
    },
  );
}
