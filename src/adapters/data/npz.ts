/** NumPy's NPZ files: a ZIP archive with an NPY file for each array. Only the two that are asked for are unpacked. */
import { LockstepError } from "../../core/errors.ts";
import { listed } from "../../core/field-checks.ts";
import type { NpzSource } from "../../core/job.ts";
import { nearestName } from "../../core/nearest-name.ts";
import type { DescribedDataset } from "../../ports/dataset.ts";
import { stored, type ZipEntry } from "../system/zip-format.ts";
import { type ArrayPair, arrayDataset } from "./array-dataset.ts";
import { type ArraySource, MemoryBudget, type NumberArray, openArray } from "./array-file.ts";
import type { ByteSource, DataFile } from "./byte-source.ts";
import { npyLayout } from "./npy.ts";
import { entryPieces, entryPlace, zipEntries } from "./zip.ts";

export async function openNpz(
  { features, label }: NpzSource,
  files: readonly DataFile[],
  memoryBytes: number,
): Promise<DescribedDataset> {
  const memory = new MemoryBudget(memoryBytes);
  const pairs: ArrayPair[] = [];
  for (const file of files) {
    const open = (array: string) => openNpzArray(file, array, memory);
    pairs.push({ features: await open(features), label: await open(label) });
  }
  return arrayDataset(
    pairs,
    { kind: "npz" },
    files.map(({ name }) => name),
  );
}

/** One array of the archive. */
export async function openNpzArray(file: DataFile, array: string, memory: MemoryBudget): Promise<NumberArray> {
  const entry = entryOf(file.name, await asked(file, zipEntries), array);
  const { begin } = await asked(file, (source) => entryPlace(source, entry));
  const pieces = () => file.read((source) => entryPieces(source, entry));
  const source: ArraySource = {
    name: `${file.name}, array "${array}"`,
    sizeBytes: entry.sizeBytes,
    place: file.path !== null && entry.method === stored ? { path: file.path, begin } : null,
    pieces,
  };
  try {
    return await openArray(source, npyLayout, memory);
  } catch (error) {
    // What is wrong with an array may be that the archive is damaged, which says more.
    for await (const _ of pieces());
    throw error;
  }
}

async function asked<T>(file: DataFile, ask: (source: ByteSource) => Promise<T>): Promise<T> {
  for await (const answer of file.read(async function* (source) {
    yield await ask(source);
  })) {
    return answer;
  }
  throw new LockstepError("internal", `${file.name} was not opened.`);
}

function entryOf(file: string, entries: readonly ZipEntry[], array: string): ZipEntry {
  const entry = entries.find(({ name }) => name === `${array}.npy`);
  if (entry) return entry;
  const names = entries.flatMap(({ name }) => (name.endsWith(".npy") ? [name.slice(0, -".npy".length)] : []));
  const meant = nearestName(array, names);
  const shown = names.length > 12 ? [...names.slice(0, 11), "…"] : names;
  throw new LockstepError(
    "invalid-data",
    `${file} has no array "${array}"; ${names.length === 0 ? "it has none" : `its arrays are ${listed(shown, "and")}`}.`,
    { hint: meant === null ? "Name one of them in the job file." : `Did you mean "${meant}"?` },
  );
}
