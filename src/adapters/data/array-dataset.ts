/** Arrays as samples, features in one and labels in another: the first dimension counts them, the others are a sample's shape. */
import { createHash } from "node:crypto";
import { LockstepError } from "../../core/errors.ts";
import { formatCount } from "../../core/number-format.ts";
import { plural } from "../../core/summary-table.ts";
import type { DescribedDataset } from "../../ports/dataset.ts";
import type { NumberArray } from "./array-file.ts";
import { sampleReader } from "./sample-reader.ts";

/** Arrays that belong together, as those of one file, or of two. */
export interface ArrayPair {
  readonly features: NumberArray;
  readonly label: NumberArray;
}

/**
 * @param pairs one data set together
 * @param settings what of the job's `data` decides how the arrays become samples: part of the digest
 * @param files what was read
 * @param channels adds a last dimension of 1 to the features
 */
export function arrayDataset(
  pairs: readonly ArrayPair[],
  settings: object,
  files: readonly string[],
  channels = false,
): DescribedDataset {
  for (const { features, label } of pairs) checkLengths(features, label);
  const [features, label] = [joined(pairs.map(({ features }) => features)), joined(pairs.map(({ label }) => label))];
  const { shape, type } = features;
  const row = shape.length === 0 ? [1] : channels ? [...shape, 1] : shape;
  // One pair's digest is what it was when there was one pair.
  const sha256 = pairs.length === 1 ? [features.sha256[0], label.sha256[0]] : [features.sha256, label.sha256];
  const text = JSON.stringify({ ...settings, sha256 });
  const form = { length: features.length, features: { shape: row }, label: { shape: label.shape } };
  return {
    ...form,
    digest: `sha256:${createHash("sha256").update(text).digest("hex")}`,
    files,
    columns: {
      features: [{ name: null, type, shape: row }],
      label: { name: null, type: label.type, shape: label.shape },
    },
    ...sampleReader(form, {
      sample(index, into, labelInto) {
        features.read(index, into);
        label.read(index, labelInto);
      },
      label: (index, into) => label.read(index, into),
    }),
  };
}

function checkLengths(features: NumberArray, label: NumberArray): void {
  const [length = 0] = features.shape;
  const [labels = 0] = label.shape;
  if (length === labels) return;
  throw new LockstepError(
    "invalid-data",
    `${features.name} has ${plural(length, "sample")}, and ${label.name} has labels for ${formatCount(labels)}; expected one for each.`,
    { hint: "Give the two that belong together: one may be of the training data, and the other of the test data." },
  );
}

/** Arrays of one type and shape as one, row after row. */
function joined(arrays: readonly NumberArray[]) {
  const [first] = arrays as readonly [NumberArray, ...NumberArray[]]; // no pattern matches nothing
  const shape = first.shape.slice(1);
  const form = (array: NumberArray) => `${array.type} of shape [${array.shape.slice(1).join(", ")}]`;
  const begins = [0];
  for (const array of arrays) {
    if (form(array) !== form(first)) {
      throw new LockstepError(
        "invalid-data",
        `${array.name} has samples of ${form(array)}; expected ${form(first)}, as in ${first.name}.`,
        { hint: "Files that are one set of samples have one type and shape: convert the others." },
      );
    }
    begins.push(begins.at(-1)! + array.shape[0]!);
  }
  return {
    ...{ shape, type: first.type, length: begins.at(-1)!, sha256: arrays.map(({ sha256 }) => sha256) },
    read(index: number, into: Float32Array): void {
      const at = begins.findLastIndex((begin) => begin <= index);
      arrays[at]!.read(index - begins[at]!, into); // who asks has looked whether there is such a sample
    },
  };
}
