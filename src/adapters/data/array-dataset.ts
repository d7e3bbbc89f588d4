/** Two arrays as samples: the first dimension counts them, the others are a sample's shape. */
import { createHash } from "node:crypto";
import { LockstepError } from "../../core/errors.ts";
import { formatCount } from "../../core/number-format.ts";
import { plural } from "../../core/summary-table.ts";
import { sizeOf } from "../../core/transforms.ts";
import type { DescribedDataset } from "../../ports/dataset.ts";
import type { NumberArray } from "./number-array.ts";

/** An array, and the hash of all bytes that it was read from. */
export interface HashedArray {
  readonly array: NumberArray;
  readonly sha256: string;
}

export function sha256Of(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/**
 * @param settings what of the job's `data` decides how the arrays become samples: part of the digest
 * @param files what was read: absolute paths
 * @param channels adds a last dimension of 1 to the features
 */
export function arrayDataset(
  features: HashedArray,
  label: HashedArray,
  settings: object,
  files: readonly string[],
  channels = false,
): DescribedDataset {
  const [length = 0, ...shape] = features.array.shape;
  const [labels = 0, ...labelShape] = label.array.shape;
  if (length !== labels) {
    throw new LockstepError(
      "invalid-data",
      `${features.array.name} has ${plural(length, "sample")}, and ${label.array.name} has labels for ${formatCount(labels)}; expected one for each.`,
      { hint: "Give the two that belong together: one may be of the training data, and the other of the test data." },
    );
  }
  const text = JSON.stringify({ ...settings, sha256: [features.sha256, label.sha256] });
  const row = shape.length === 0 ? [1] : channels ? [...shape, 1] : shape;
  return {
    length,
    digest: `sha256:${createHash("sha256").update(text).digest("hex")}`,
    features: { shape: row },
    label: { shape: labelShape },
    files,
    columns: {
      features: [{ name: null, type: features.array.type, shape: row }],
      label: { name: null, type: label.array.type, shape: labelShape },
    },
    read: (indices) => ({
      count: indices.length,
      features: rows(features.array, sizeOf(row), indices),
      label: rows(label.array, sizeOf(labelShape), indices),
    }),
    labels: (indices) => rows(label.array, sizeOf(labelShape), indices),
  };
}

function rows(array: NumberArray, width: number, indices: ArrayLike<number>): Float32Array {
  const values = new Float32Array(indices.length * width);
  for (let row = 0; row < indices.length; row++) {
    const index = indices[row]!;
    if (!(index >= 0 && index < array.shape[0]!)) {
      throw new LockstepError("internal", `Sample ${index} was asked for; there are ${array.shape[0]}.`);
    }
    array.copy(index * width, (index + 1) * width, values, row * width);
  }
  return values;
}

/** Rows of numbers that are in memory as float32. `count`: how many there are. */
export function rowsOf(values: Float32Array, width: number, count: number, indices: ArrayLike<number>): Float32Array {
  const found = new Float32Array(indices.length * width);
  for (let row = 0; row < indices.length; row++) {
    const index = indices[row]!;
    if (!(index >= 0 && index < count)) {
      throw new LockstepError("internal", `Sample ${index} was asked for; there are ${count}.`);
    }
    found.set(values.subarray(index * width, (index + 1) * width), row * width);
  }
  return found;
}
