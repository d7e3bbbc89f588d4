/** NumPy's NPZ files: a ZIP archive with an NPY file for each array. Only the two that are asked for are unpacked. */
import { LockstepError } from "../../core/errors.ts";
import { listed } from "../../core/field-checks.ts";
import type { NpzSource } from "../../core/job.ts";
import { nearestName } from "../../core/nearest-name.ts";
import type { DescribedDataset } from "../../ports/dataset.ts";
import { type ArrayPair, arrayDataset } from "./array-dataset.ts";
import { MemoryBudget, type NumberArray, openArray } from "./array-file.ts";
import { type DataFile, piecesOf } from "./byte-source.ts";
import { npyLayout } from "./npy.ts";
import { unpackEntry, zipEntries } from "./zip.ts";

export async function openNpz(
  { features, label }: NpzSource,
  files: readonly DataFile[],
  memoryBytes: number,
): Promise<DescribedDataset> {
  const memory = new MemoryBudget(memoryBytes);
  const pairs: ArrayPair[] = [];
  for (const file of files) {
    const bytes = await bytesOfFile(file);
    const open = (array: string) => openNpzArray(file.name, bytes, array, memory);
    pairs.push({ features: await open(features), label: await open(label) });
  }
  return arrayDataset(
    pairs,
    { kind: "npz" },
    files.map(({ name }) => name),
  );
}

async function bytesOfFile(file: DataFile): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  for await (const piece of file.read(piecesOf)) pieces.push(piece);
  return Buffer.concat(pieces);
}

/** One array of the archive. */
export async function openNpzArray(
  file: string,
  bytes: Uint8Array,
  array: string,
  memory: MemoryBudget,
): Promise<NumberArray> {
  const entries = zipEntries(file, bytes);
  const entry = entries.find(({ name }) => name === `${array}.npy`);
  if (!entry) {
    const names = entries.flatMap(({ name }) => (name.endsWith(".npy") ? [name.slice(0, -".npy".length)] : []));
    const meant = nearestName(array, names);
    const shown = names.length > 12 ? [...names.slice(0, 11), "…"] : names;
    throw new LockstepError(
      "invalid-data",
      `${file} has no array "${array}"; ${names.length === 0 ? "it has none" : `its arrays are ${listed(shown, "and")}`}.`,
      { hint: meant === null ? "Name one of them in the job file." : `Did you mean "${meant}"?` },
    );
  }
  const name = `${file}, array "${array}"`;
  const unpacked = unpackEntry(file, bytes, entry);
  async function* pieces() {
    yield unpacked;
  }
  return openArray({ name, path: null, sizeBytes: unpacked.length, pieces }, npyLayout, memory);
}
