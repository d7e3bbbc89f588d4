import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { errnoOf, type FileSystem, isAbsent, nodeFileSystem, using } from "./file-system.ts";
import { accessing } from "./storage-errors.ts";

/** The file that marks a worker's own directory of checkpoints; hidden, so that nobody takes it for a checkpoint. */
export const storeIdName = ".store";

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

async function read(path: string, fileSystem: FileSystem): Promise<string | null> {
  try {
    return await using(await fileSystem.open(path), async (file) => {
      const bytes = new Uint8Array(64);
      return new TextDecoder().decode(bytes.subarray(0, await file.read([bytes], 0)));
    });
  } catch (error) {
    if (isAbsent(error)) return null;
    throw error;
  }
}
