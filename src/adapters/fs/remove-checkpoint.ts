/** Deletes the folder of a checkpoint, so that at no moment a part of it looks like the whole. */
import { join } from "node:path";
import { manifestName } from "./checkpoint-reader.ts";
import { type FileSystem, isAbsent } from "./file-system.ts";

/** What is not there is deleted. The folder around it is the caller's to sync. */
export async function removeCheckpoint(fileSystem: FileSystem, location: string): Promise<void> {
  try {
    await fileSystem.removeFile(join(location, manifestName));
  } catch (error) {
    // Without its manifest it may be half deleted; go on with the rest.
    if (!isAbsent(error)) throw error;
  }
  if (!(await fileSystem.exists(location))) return;
  // Durable before the rest goes: a power cut must not bring the manifest back beside files that are gone.
  await fileSystem.syncDirectory(location).catch((error: unknown) => {
    if (!isAbsent(error)) throw error;
  });
  await fileSystem.removeTree(location);
}
