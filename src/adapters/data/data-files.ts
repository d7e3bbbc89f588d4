/** The files that paths of a job name, on this machine and in object storage. */
import { LockstepError } from "../../core/errors.ts";
import { fetchFolder, fetchObject, objectsAt, objectsBelow } from "../s3/data-objects.ts";
import { isS3Location } from "../s3/location.ts";
import type { DescribedDataset } from "../../ports/dataset.ts";
import { fileAt, type LocalFile } from "./byte-source.ts";
import { dataKind, sweepData } from "./data-cache.ts";
import { expandPaths } from "./expand-paths.ts";

/** In the order given, and of each path in that of their names; objects are fetched where the cache lacks them. */
export async function dataFiles(paths: readonly string[], baseDirectory: string): Promise<LocalFile[]> {
  const files: LocalFile[] = [];
  const entries: string[] = [];
  for (const path of paths) {
    if (!isS3Location(path)) {
      files.push(...(await expandPaths([path], baseDirectory)).map((file) => fileAt(file)));
      continue;
    }
    for (const object of await objectsAt(path)) {
      const { entry, path } = await fetchObject(object, dataKind);
      entries.push(entry);
      files.push(fileAt(path, object.address));
    }
  }
  if (entries.length > 0) await sweepData(entries);
  return files;
}

/** Their names alone, each of which a path may be. */
export async function dataNames(paths: readonly string[], baseDirectory: string): Promise<string[]> {
  const names: string[] = [];
  for (const path of paths) {
    if (isS3Location(path)) names.push(...(await objectsAt(path)).map(({ address }) => address));
    else names.push(...(await expandPaths([path], baseDirectory)));
  }
  return names;
}

/**
 * Opens what is in folders of object storage from a copy of them. Whatever is said of the copy is said of the objects.
 * @param open gets a folder with all folders that `written` names
 */
export async function withFetchedFolder(
  written: string,
  open: (folder: string) => Promise<DescribedDataset>,
): Promise<DescribedDataset> {
  const { entry, path } = await fetchFolder(await objectsBelow(written), dataKind);
  await sweepData([entry]);
  const address = written.replace(/\/[^/]*\*[^/]*$/, "").replace(/\/+$/, "");
  const told = (text: string) => text.replaceAll(path, address);
  try {
    const data = await open(path);
    return { ...data, files: data.files.map(told) };
  } catch (cause) {
    if (!(cause instanceof LockstepError)) throw cause;
    const { code, message, hint } = cause;
    throw new LockstepError(code, told(message), { ...(hint === undefined ? {} : { hint: told(hint) }), cause });
  }
}
