/** All that a job trains and validates on, as one dataset: the files of its `data`, and after them those of its validation, if it has some. */
import { createHash } from "node:crypto";
import { knownOf, rawColumns } from "../../core/columns.ts";
import type { DataColumn } from "../../core/data-summary.ts";
import { LockstepError } from "../../core/errors.ts";
import type { DataSource, Job } from "../../core/job.ts";
import { sourceFrom } from "../../core/source-validation.ts";
import { shapeDifference } from "../../core/transforms.ts";
import { isOtherFiles, type ValidationRule } from "../../core/validation-split.ts";
import { type DataPlace, type DescribedDataset, placeOfSample } from "../../ports/dataset.ts";
import { dataNames } from "./data-files.ts";
import { openDataset } from "./open-dataset.ts";

/** `own`: how many samples are in the files of `data`; the others come after them. */
export type JobData = DescribedDataset & { readonly own: number };

export async function openJobData(
  { data, validation }: Pick<Job, "data" | "validation">,
  { directory, memoryBytes }: DataPlace,
): Promise<JobData> {
  const group = validation !== null && "by" in validation && validation.by === "group" ? validation.column : undefined;
  // Pieces are learned from what is before the end that validates; of other splits, windows of both parts overlap.
  const isEnd = validation !== null && "take" in validation && validation.take === "last";
  const own = await openDataset(data, directory, {
    memoryBytes,
    ...(group === undefined ? {} : { group }),
    ...(isEnd ? { learnFraction: 1 - validation.fraction } : {}),
  });
  if (validation === null || !isOtherFiles(validation)) return { ...own, own: own.length };
  const options = { ...knownOf(rawColumns(own.columns.features, own.columns.label)), memoryBytes };
  const others: DescribedDataset[] = [];
  for (const source of await validationSources(data, validation, directory)) {
    const other = await openDataset(source, directory, options);
    refuseOtherShape(own, other);
    others.push(other);
  }
  return joined(own, others);
}

async function validationSources(
  data: DataSource,
  rule: Extract<ValidationRule, { readonly by: "files" | "data" }>,
  baseDirectory: string,
): Promise<readonly DataSource[]> {
  if (rule.by === "data") return [rule.data];
  const files = await dataNames(rule.files, baseDirectory);
  return files.map((file) => sourceFrom(data, file)!); // the job was refused where a file cannot take the data's place
}

function refuseOtherShape(own: DescribedDataset, other: DescribedDataset): void {
  const difference = shapeDifference(other, own);
  const names = ({ columns }: DescribedDataset) => columns.features.map(({ name }) => name).join("\n");
  if (difference === null && names(own) === names(other)) return;
  const { what, has, wants } = difference ?? { what: "columns", has: "other", wants: "others, or in another order" };
  const [file] = other.files; // samples of the job file's own have none
  throw new LockstepError(
    "invalid-data",
    `The validation ${file === undefined ? "data" : `file ${file}`} has ${has} ${what} a sample, the training data ${wants}.`,
    { hint: "Both need the same columns." },
  );
}

function joined(own: DescribedDataset, others: readonly DescribedDataset[]): JobData {
  const parts = [own, ...others];
  const begins = [0];
  for (const { length } of parts) begins.push(begins.at(-1)! + length);
  const total = begins.at(-1)!;
  const text = JSON.stringify({
    kind: "training and validation",
    parts: parts.map(({ digest, length }) => ({ digest, length })),
  });
  return {
    ...own,
    own: own.length,
    length: total,
    digest: `sha256:${createHash("sha256").update(text).digest("hex")}`,
    files: parts.flatMap(({ files }) => files),
    columns: {
      features: own.columns.features.map((column, i) =>
        withMissing(
          column,
          others.map(({ columns }) => columns.features[i]!),
        ),
      ),
      label: own.columns.label,
      ...(own.columns.weight && { weight: own.columns.weight }),
    },
    read: (indices) => {
      const pieces = piecesOf(parts, begins, indices, (part, own) => part.read(own));
      const weights = pieces.flatMap(({ weight }) => weight ?? []);
      return {
        count: indices.length,
        features: concatenated(pieces.map(({ features }) => features)),
        label: concatenated(pieces.map(({ label }) => label)),
        // What is read for training is of the first part alone, which has weights where the job's data have.
        ...(weights.length > 0 && weights.length === pieces.length && { weight: concatenated(weights) }),
      };
    },
    placeOf: (index) => {
      const part = begins.findLastIndex((begin) => begin <= index);
      return placeOfSample(parts[part] ?? {}, index - begins[part]!);
    },
    labels: (indices) => concatenated(piecesOf(parts, begins, indices, (part, own) => part.labels(own))),
  };
}

function withMissing(column: DataColumn, others: readonly DataColumn[]): DataColumn {
  const all = [column, ...others].flatMap(({ missing }) => missing ?? []);
  if (all.length === 0) return column;
  return { ...column, missing: { count: all.reduce((sum, { count }) => sum + count, 0), first: all[0]!.first } };
}

/** Reads neighbours of one part together: `own` are their indices in it. */
function piecesOf<T>(
  parts: readonly DescribedDataset[],
  begins: readonly number[],
  indices: ArrayLike<number>,
  read: (part: DescribedDataset, own: readonly number[]) => T,
): T[] {
  const count = indices.length;
  const pieces: T[] = [];
  for (let at = 0; at < count; ) {
    const part = begins.findLastIndex((begin) => begin <= indices[at]!);
    const dataset = parts[part];
    if (dataset === undefined)
      throw new LockstepError("internal", `Sample ${indices[at]} was asked for; there are ${begins.at(-1)}.`);
    const begin = begins[part]!;
    const own: number[] = [];
    while (at < count && indices[at]! >= begin && indices[at]! < begin + dataset.length)
      own.push(indices[at++]! - begin);
    pieces.push(read(dataset, own));
  }
  return pieces;
}

function concatenated(arrays: readonly Float32Array[]): Float32Array {
  const [only] = arrays;
  if (only !== undefined && arrays.length === 1) return only;
  const whole = new Float32Array(arrays.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const array of arrays) {
    whole.set(array, at);
    at += array.length;
  }
  return whole;
}
