/** Samples that are written one by one, wherever they come from, as a dataset reads them. */
import { LockstepError } from "../../core/errors.ts";
import { sizeOf } from "../../core/transforms.ts";
import type { ColumnShape, Dataset } from "../../ports/dataset.ts";

/** Writes one sample, row-major, in its place. `weight`: of one number, where samples have one, and else of none. */
interface SampleWriter {
  sample(index: number, features: Float32Array, label: Float32Array, weight: Float32Array): void;
  label(index: number, label: Float32Array): void;
}

export interface SampleForm {
  readonly length: number;
  readonly features: ColumnShape;
  readonly label: ColumnShape;
  readonly isWeighted?: boolean;
}

export function sampleReader(
  { length, features, label, isWeighted = false }: SampleForm,
  write: SampleWriter,
): Pick<Dataset, "read" | "labels"> {
  const [width, labelWidth] = [sizeOf(features.shape), sizeOf(label.shape)];
  const each = (indices: ArrayLike<number>, use: (index: number, i: number) => void) => {
    for (let i = 0; i < indices.length; i++) {
      const index = indices[i]!;
      if (!(index >= 0 && index < length)) {
        throw new LockstepError("internal", `Sample ${index} was asked for; there are ${length}.`);
      }
      use(index, i);
    }
  };
  const part = (rows: Float32Array, i: number, size: number) => rows.subarray(i * size, (i + 1) * size);
  return {
    read: (indices) => {
      const count = indices.length;
      const samples = { count, features: new Float32Array(count * width), label: new Float32Array(count * labelWidth) };
      const weight = new Float32Array(isWeighted ? count : 0);
      each(indices, (index, i) =>
        write.sample(
          index,
          part(samples.features, i, width),
          part(samples.label, i, labelWidth),
          weight.subarray(i, i + 1),
        ),
      );
      return isWeighted ? { ...samples, weight } : samples;
    },
    labels: (indices) => {
      const labels = new Float32Array(indices.length * labelWidth);
      each(indices, (index, i) => write.label(index, part(labels, i, labelWidth)));
      return labels;
    },
  };
}
