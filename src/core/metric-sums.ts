/**
 * Metrics from sums over samples. What a batch gives are sums and counts, which are added up over batches and shards; only then
 * a metric is made of them, so that it is the whole set's and no average of averages. A sum that is called as its metric is
 * divided by the number of samples. Of all other metrics the sums have names of two parts, `metric/part`.
 */
import { topKOf } from "./compile.ts";

/** The buckets of the outputs' histogram for `auc`: those between Keras' 200 thresholds. */
export const aucBuckets = 199;

/** More classes than these would make every step's sums too long. */
export const mostMacroClasses = 1000;

/** The loss where samples have weights: of w · loss, and of w. */
export const weightedLossSums = ["loss/sum", "loss/weight"] as const;

/**
 * The names of a metric's sums, in their order. `classes` is how many outputs the model has.
 * @param metric of the job; one that its own step computes is a plain mean
 */
export function sumNamesOf(metric: string, classes: number): string[] {
  const each = (count: number, parts: readonly string[]) =>
    parts.flatMap((part) => Array.from({ length: count }, (_, i) => `${metric}/${part}${i}`));
  switch (metric) {
    case "rootMeanSquaredError":
      return [`${metric}/squares`];
    case "perplexity":
      return [`${metric}/entropy`];
    case "precision":
    case "recall":
    case "f1":
      return [`${metric}/right`, `${metric}/predicted`, `${metric}/labelled`];
    case "macroPrecision":
    case "macroRecall":
    case "macroF1":
      return each(classes, ["right", "predicted", "labelled"]);
    case "auc":
      return each(aucBuckets, ["positive", "negative"]);
    default:
      return [metric];
  }
}

/** What the samples weigh together: their number where they have no weights. */
export function lossWeightOf({
  samples,
  totals,
}: {
  samples: number;
  totals: Readonly<Record<string, number>>;
}): number {
  return totals[weightedLossSums[1]] ?? samples;
}

/** Of one class, or of all yes-or-no outputs: how many were rightly predicted, predicted at all, and so labelled. */
interface Counts {
  readonly right: number;
  readonly predicted: number;
  readonly labelled: number;
}

/** Every metric that these sums are of, in the order in which its first sum comes. */
export function metricsOf(totals: Readonly<Record<string, number>>, samples: number): Record<string, number> {
  const parts = new Map<string, Map<string, number>>();
  for (const [name, total] of Object.entries(totals)) {
    const at = name.indexOf("/");
    const metric = at < 0 ? name : name.slice(0, at);
    const known = parts.get(metric) ?? new Map<string, number>();
    parts.set(metric, known.set(at < 0 ? "" : name.slice(at + 1), total));
  }
  return Object.fromEntries([...parts].map(([metric, sums]) => [metric, metricValue(metric, sums, samples)]));
}

/** @param name the metric's, with its output's in front where a model has several */
function metricValue(name: string, sums: ReadonlyMap<string, number>, samples: number): number {
  const plain = sums.get("");
  if (plain !== undefined) return plain / samples;
  const sum = (part: string) => sums.get(part) ?? 0;
  const metric = name.slice(name.lastIndexOf("_") + 1);
  switch (metric) {
    case "loss":
      return sum("sum") / sum("weight");
    case "rootMeanSquaredError":
      return Math.sqrt(sum("squares") / samples);
    case "perplexity":
      return Math.exp(sum("entropy") / samples);
    case "auc":
      return areaOf(each(sums, "positive"), each(sums, "negative"));
    case "precision":
    case "recall":
    case "f1":
      return rateOf(metric, { right: sum("right"), predicted: sum("predicted"), labelled: sum("labelled") });
    default:
      return macroOf(metric, sums);
  }
}

function each(sums: ReadonlyMap<string, number>, part: string): number[] {
  const values: number[] = [];
  for (let i = 0; sums.has(`${part}${i}`); i++) values.push(sums.get(`${part}${i}`)!);
  return values;
}

/** The mean over the classes that are labelled or predicted at all, as scikit-learn has it. */
function macroOf(metric: string, sums: ReadonlyMap<string, number>): number {
  const [right, predicted, labelled] = ["right", "predicted", "labelled"].map((part) => each(sums, part));
  const rates = right!
    .map((count, i) => ({ right: count, predicted: predicted![i]!, labelled: labelled![i]! }))
    .filter((counts) => counts.predicted + counts.labelled > 0)
    .map((counts) => rateOf(metric.replace("macro", "").toLowerCase(), counts));
  return rates.length === 0 ? 0 : rates.reduce((total, rate) => total + rate, 0) / rates.length;
}

/** 0 where there is nothing to divide by, as Keras and scikit-learn have it. */
function rateOf(metric: string, { right, predicted, labelled }: Counts): number {
  if (metric === "precision") return ratio(right, predicted);
  if (metric === "recall") return ratio(right, labelled);
  return ratio(2 * right, predicted + labelled);
}

function ratio(part: number, whole: number): number {
  return whole === 0 ? 0 : part / whole;
}

/**
 * The area under the receiver's operating characteristic, between its points at Keras' thresholds, by trapezoids. What lies in
 * bucket i is above the thresholds 0 to i.
 */
function areaOf(positive: readonly number[], negative: readonly number[]): number {
  const total = (counts: readonly number[]) => counts.reduce((sum, count) => sum + count, 0);
  const [positives, negatives] = [total(positive), total(negative)];
  let [area, truePositives] = [0, 0];
  for (let bucket = positive.length - 1; bucket >= 0; bucket--) {
    const before = truePositives;
    truePositives += positive[bucket]!;
    const width = ratio(negative[bucket]!, negatives);
    area += (width * (ratio(before, positives) + ratio(truePositives, positives))) / 2;
  }
  return area;
}

/** Whether a metric compares the largest outputs, one for each class. */
export function ofClasses(metric: string): boolean {
  return /^macro|^(sparseC|c)ategoricalAccuracy$/.test(metric) || topKOf(metric) !== null;
}
