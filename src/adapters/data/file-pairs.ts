/** Files of features and files of labels, which belong together one by one. */
import { LockstepError } from "../../core/errors.ts";
import { plural } from "../../core/summary-table.ts";
import type { ArrayPair } from "./array-dataset.ts";
import type { NumberArray } from "./array-file.ts";
import type { DataFile } from "./byte-source.ts";
import { isGzip } from "./gunzip.ts";

export interface FilePair {
  readonly features: DataFile;
  readonly label: DataFile;
}

/** In the order of both. `written`: the two paths as the job has them. */
export function pairsOf(
  features: readonly DataFile[],
  labels: readonly DataFile[],
  written: readonly [string, string],
): readonly FilePair[] {
  if (features.length !== labels.length) {
    const [of, and] = [plural(features.length, "file"), plural(labels.length, "file")];
    throw new LockstepError(
      "invalid-data",
      `${written[0]} matches ${of} of features, and ${written[1]} ${and} of labels; expected as many.`,
      { hint: "Each file of features has one of labels, at the same place among the sorted names." },
    );
  }
  return features.map((file, i) => ({ features: file, label: labels[i]! }));
}

/** First all features, as the job names them, and then all labels. */
export function namesOf(pairs: readonly FilePair[]): readonly string[] {
  return [...pairs.map(({ features }) => features.name), ...pairs.map(({ label }) => label.name)];
}

export async function openPairs(
  files: readonly FilePair[],
  open: (file: DataFile) => Promise<NumberArray>,
): Promise<readonly ArrayPair[]> {
  const pairs: ArrayPair[] = [];
  for (const { features, label } of files) pairs.push({ features: await open(features), label: await open(label) });
  return pairs;
}

/** What is known of a file before it is read. */
export async function factsOf({ name, path, read }: DataFile) {
  const facts = read(async function* (source) {
    yield { sizeBytes: source.sizeBytes, isPacked: await isGzip(source) };
  });
  for await (const { sizeBytes, isPacked } of facts) {
    return { name, place: path === null ? null : { path, begin: 0 }, sizeBytes, isPacked };
  }
  throw new Error("a file that is read has a size");
}
