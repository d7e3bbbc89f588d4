/** NumPy's NPZ files: a ZIP archive with an NPY file for each array. Only the two that are asked for are unpacked. */
import { LockstepError } from "../../core/errors.ts";
import { listed } from "../../core/field-checks.ts";
import type { NpzSource } from "../../core/job.ts";
import { nearestName } from "../../core/nearest-name.ts";
import type { DescribedDataset } from "../../ports/dataset.ts";
import { arrayDataset, type HashedArray } from "./array-dataset.ts";
import { decodeNpy } from "./npy.ts";
import { locate, readBytes } from "./read-file.ts";
import { unpackEntry, zipEntries } from "./zip.ts";

export async function openNpz(source: NpzSource, baseDirectory: string): Promise<DescribedDataset> {
  const file = locate(source.path, baseDirectory);
  const bytes = await readBytes(file);
  const features = decodeNpz(file, bytes, source.features);
  const label = decodeNpz(file, bytes, source.label);
  return arrayDataset(features, label, { kind: "npz" }, [file]);
}

/** One array of the archive. */
export function decodeNpz(file: string, bytes: Uint8Array, array: string): HashedArray {
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
  // What is unpacked is a copy, also where it was only stored: arrays make the bytes their own.
  return decodeNpy(`${file}, array "${array}"`, unpackEntry(file, bytes, entry));
}
