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
  let [least, largest, count] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0];
  for await (const slice of slicesOf(values)) {
    for (let i = 0; i < slice.length; i++) {
      const value = slice[i]!;
      if (!Number.isFinite(value)) continue;
      if (value < least) least = value;
      if (value > largest) largest = value;
      count++;
    }
  }
  if (count === 0) return [];
  if (least === largest) return [[least - 0.5, least + 0.5, count]];
  const counts = new Uint32Array(bucketCount);
  const scale = bucketCount / (largest - least);
  for await (const slice of slicesOf(values)) {
    for (let i = 0; i < slice.length; i++) {
      const value = slice[i]!;
      if (Number.isFinite(value)) counts[Math.min(bucketCount - 1, Math.floor((value - least) * scale))]!++;
    }
  }
  const edge = (i: number) => (i === bucketCount ? largest : least + (i * (largest - least)) / bucketCount);
  return Array.from(counts, (inside, i) => [edge(i), edge(i + 1), inside]);
}

async function* slicesOf(values: Float32Array): AsyncGenerator<Float32Array> {
  for (let begin = 0; begin < values.length; begin += sliceLength) {
    if (begin > 0) await setImmediate();
    yield values.subarray(begin, begin + sliceLength);
  }
}
