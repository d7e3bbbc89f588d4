/** Loss and metrics over a whole dataset, summed as validation sums them: in S slices, by the same tree. */
import { LockstepError } from "../core/errors.ts";
import { means } from "../core/progress.ts";
import { RandomStream } from "../core/random.ts";
import { sumTree } from "../core/reduce-tree.ts";
import { slice } from "../core/sampler.ts";
import type { Preprocessing } from "../core/transforms.ts";
import type { Dataset } from "../ports/dataset.ts";
import { preprocess } from "./prepared-data.ts";
import type { TrainingProgram } from "./training-program.ts";

export function evaluate(
  program: TrainingProgram,
  preprocessing: Preprocessing,
  dataset: Dataset,
  settings: { readonly seed: number; readonly shards: number; readonly batchSize: number },
): Record<string, number> {
  const { seed, shards, batchSize } = settings;
  const size = Math.ceil(batchSize / shards);
  const sumOf = (shard: number): Float64Array | "absent" => {
    const range = slice(dataset.length, shards, shard);
    if (range.begin === range.end) return "absent";
    const total = new Float64Array(program.sumNames.length);
    const sums = new Float64Array(program.sumNames.length);
    for (let begin = range.begin, batch = 0; begin < range.end; begin += size, batch++) {
      const end = Math.min(begin + size, range.end);
      const indices = Uint32Array.from({ length: end - begin }, (_, i) => begin + i);
      const random = new RandomStream(seed, "evaluation", 0, shard, batch);
      program.validate(preprocess(preprocessing, dataset.read(indices)), random, sums);
      for (let i = 0; i < sums.length; i++) total[i]! += sums[i]!;
    }
    return total;
  };
  const total = sumTree<Float64Array>(
    { begin: 0, end: shards },
    ({ begin, end }) => (end - begin > 1 ? "descend" : sumOf(begin)),
    (left, right) => left.map((value, i) => value + right[i]!),
  );
  if (!total) throw new LockstepError("invalid-data", "The test data has no samples.");
  const totals = Object.fromEntries(program.sumNames.map((name, i) => [name, total[i]!]));
  return means({ samples: dataset.length, totals });
}
