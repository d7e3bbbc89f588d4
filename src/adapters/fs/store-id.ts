import { randomBytes } from "node:crypto";
import { basename, join } from "node:path";
import { errnoOf, type FileSystem, isAbsent, nodeFileSystem, using } from "./file-system.ts";
import { accessing } from "./storage-errors.ts";

/** The file that marks a worker's own directory of checkpoints; hidden, so that nobody takes it for a checkpoint. */
export const storeIdName = ".store";

/** The file that says whose it is. */
const workerName = ".worker";

/**
 * The id of a directory of checkpoints, made when it is asked for first: whoever finds the same id at two workers knows that
 * they share the directory, by whichever paths.
 */
export async function storeIdOf(root: string, fileSystem: FileSystem = nodeFileSystem): Promise<string> {
  const path = join(root, storeIdName);
  for (;;) {
    const known = await accessing("unreadable", path, () => read(path, fileSystem));
    if (known !== null && /^[0-9a-f]{32}$/.test(known)) return known;
    await accessing("unwritable", path, async () => {
      // It was cut off by a crash, before anybody was told of it.
      if (known !== null) await fileSystem.removeFile(path);
      try {
        const text = new TextEncoder().encode(randomBytes(16).toString("hex"));
        await using(await fileSystem.create(path), async (file) => {
          await file.write([text], 0);
          await file.sync();
        });
        await fileSystem.syncDirectory(root);
      } catch (error) {
        if (errnoOf(error) !== "EEXIST") throw error;
      }
    });
  }
}

/** Says in a worker's own directory whose it is, for whoever finds its checkpoints where etcd's data are lost. */
export async function noteWorker(root: string, name: string, fileSystem: FileSystem = nodeFileSystem): Promise<void> {
  const path = join(root, workerName);
  const known = await accessing("unreadable", path, () => read(path, fileSystem));
  if (known === name) return;
  await accessing("unwritable", path, async () => {
    if (known !== null) await fileSystem.removeFile(path);
    await using(await fileSystem.create(path), async (file) => {
      await file.write([new TextEncoder().encode(name)], 0);
      await file.sync();
    });
  });
}

/** The worker whose directory it is, or was; where nobody has said so, by the directory's own name. */
export async function workerOf(root: string, fileSystem: FileSystem = nodeFileSystem): Promise<string> {
  const path = join(root, workerName);
  return (await accessing("unreadable", path, () => read(path, fileSystem))) || basename(root);
}

async function read(path: string, fileSystem: FileSystem): Promise<string | null> {
  try {
    return await using(await fileSystem.open(path), async (file) => {
      const bytes = new Uint8Array(256);
      return new TextDecoder().decode(bytes.subarray(0, await file.read([bytes], 0)));
    });
  } catch (error) {
    if (isAbsent(error)) return null;
    throw error;
  }
}
