/** The distribution of a tensor's values, in buckets as TensorFlow makes them. */
import { setImmediate } from "node:timers/promises";

const bucketCount = 30;
/** Looked at at once, in about a millisecond: others have their turn in between. */
const sliceLength = 256 * 1024;

/**
 * Buckets of equal width between the least and the largest value: where each begins, where it ends, and how many values are in it.
 * One bucket if all are the same; none if no value is finite. NaN and the infinities are left out.
 */
export async function histogramOf(values: Float32Array): Promise<[number, number, number][]> {
  let [least, largest] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  let count = 0;
  await inSlices(values, (value) => {
    if (value < least) least = value;
    if (value > largest) largest = value;
    count++;
  });
  if (count === 0) return [];
  if (least === largest) return [[least - 0.5, least + 0.5, count]];
  const counts = new Array<number>(bucketCount).fill(0);
  const scale = bucketCount / (largest - least);
  await inSlices(values, (value) => {
    counts[Math.min(bucketCount - 1, Math.floor((value - least) * scale))]!++;
  });
  const edge = (i: number) => (i === bucketCount ? largest : least + (i * (largest - least)) / bucketCount);
  return counts.map((inside, i) => [edge(i), edge(i + 1), inside]);
}

async function inSlices(values: Float32Array, look: (value: number) => void): Promise<void> {
  for (let begin = 0; begin < values.length; begin += sliceLength) {
    const end = Math.min(begin + sliceLength, values.length);
    for (let i = begin; i < end; i++) if (Number.isFinite(values[i]!)) look(values[i]!);
    if (end < values.length) await setImmediate();
  }
}
