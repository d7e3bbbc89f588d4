/** Samples that are written one by one, wherever they come from, as a dataset reads them. */
import { LockstepError } from "../../core/errors.ts";
import { sizeOf } from "../../core/transforms.ts";
import type { ColumnShape, Dataset } from "../../ports/dataset.ts";

/** Writes one sample, row-major, in its place. */
type WriteSample = (index: number, features: Float32Array, label: Float32Array) => void;

export function sampleReader(
  { length, features, label }: { readonly length: number; readonly features: ColumnShape; readonly label: ColumnShape },
  write: WriteSample,
): Dataset["read"] {
  const [width, labelWidth] = [sizeOf(features.shape), sizeOf(label.shape)];
  return (indices) => {
    const count = indices.length;
    const samples = {
      count,
      features: new Float32Array(count * width),
      label: new Float32Array(count * labelWidth),
    };
    for (let i = 0; i < count; i++) {
      const index = indices[i]!;
      if (!(index >= 0 && index < length)) {
        throw new LockstepError("internal", `Sample ${index} was asked for; there are ${length}.`);
      }
      write(
        index,
        samples.features.subarray(i * width, (i + 1) * width),
        samples.label.subarray(i * labelWidth, (i + 1) * labelWidth),
      );
    }
    return samples;
  };
}
