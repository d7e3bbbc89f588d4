import { join, resolve } from "node:path";
import { messageOf } from "../../core/errors.ts";
import { isPlainName, type Manifest, type ManifestFile } from "../../core/manifest.ts";
import type { CheckpointContent, CheckpointStorage, StoredCheckpoint } from "../../ports/checkpoint-storage.ts";
import type { Log } from "../../ports/log.ts";
import {
  assertId,
  CheckpointReader,
  contentParts,
  encodeManifest,
  idTaken,
  manifestName,
  requireLittleEndian,
} from "./checkpoint-reader.ts";
import {
  all,
  errnoOf,
  type FileSystem,
  isAbsent,
  makeDurableDirectory,
  nodeFileSystem,
  type OpenFile,
  using,
} from "./file-system.ts";
import { removeCheckpoint } from "./remove-checkpoint.ts";
import { writeDurably } from "./hashed-file.ts";
import { stagedId, stagingName } from "./staging.ts";
import { accessing } from "./storage-errors.ts";

/**
 * Checkpoints in a directory, which may be shared between machines; made if it is not there.
 *
 *     <directory>/<id>/             weights.safetensors  optimizer.safetensors  state.json  manifest.json
 *     <directory>/.staging-<id>-…   a checkpoint that is being written
 *
 * A staging folder is removed by its writer when writing fails. One whose writer died is `unfinished` until whoever may
 * delete checkpoints deletes it: from here a dead writer looks like a slow one, and file times decide nothing. Nothing reads
 * it, and no other writer takes its name.
 *
 * In a checkpoint's folder only the files that the manifest names are looked at; others do no harm.
 *
 * Besides the port's errors there is `CheckpointError` with its `problem`: "missing", "unreadable", "unwritable" and
 * "corrupt"; "incompatible" is what a newer lockstep wrote. `list` passes over folders without a manifest, warns (once)
 * of those with a corrupt one and passes over them too, but fails on what it cannot read or is too old to read: to go
 * on without it could be to forget the newest checkpoint.
 */
export async function openDirectoryStorage(
  directory: string,
  log: Log,
  fileSystem: FileSystem = nodeFileSystem,
): Promise<CheckpointStorage> {
  requireLittleEndian();
  const root = resolve(directory);
  await accessing("unwritable", root, () => makeDurableDirectory(fileSystem, root));
  await accessing("unreadable", root, () => fileSystem.names(root));
  return new DirectoryStorage(root, log, fileSystem);
}

class DirectoryStorage implements CheckpointStorage {
  readonly #root: string;
  readonly #log: Log;
  readonly #fileSystem: FileSystem;
  readonly #reader: CheckpointReader;

  constructor(root: string, log: Log, fileSystem: FileSystem) {
    this.#root = root;
    this.#log = log;
    this.#fileSystem = fileSystem;
    this.#reader = new CheckpointReader(
      {
        root,
        locationOf: (id, name) => (name === undefined ? join(root, id) : join(root, id, name)),
        open: (id, name) => this.#open(join(root, id, name)),
        reading: (location, calls) => accessing("unreadable", location, calls),
      },
      log,
    );
  }

  async write(content: CheckpointContent): Promise<StoredCheckpoint> {
    const { id } = content.manifest;
    const parts = contentParts(content);
    const location = join(this.#root, id);
    if (await accessing("unreadable", location, () => this.#fileSystem.exists(location))) throw idTaken(location);

    const manifest = await this.#stageAndRename(content.manifest, parts);
    try {
      await accessing("unwritable", this.#root, () => this.#fileSystem.syncDirectory(this.#root));
      // From the system's cache, most likely: this finds a wrong write, not a wrong disk.
      await this.#reader.verify(manifest, parts);
    } catch (error) {
      await this.#cleanUp(location, () => this.delete(id));
      throw error;
    }
    return this.#reader.stored(manifest);
  }

  load(id: string): Promise<CheckpointContent> {
    return this.#reader.load(id);
  }

  check(id: string): Promise<StoredCheckpoint> {
    return this.#reader.check(id);
  }

  async list(): Promise<readonly StoredCheckpoint[]> {
    return this.#reader.list(await accessing("unreadable", this.#root, () => this.#fileSystem.names(this.#root)));
  }

  async delete(id: string): Promise<void> {
    assertId(id);
    const location = join(this.#root, id);
    await accessing("unwritable", location, async () => {
      await removeCheckpoint(this.#fileSystem, location);
      // Of the same id, should its writer have died, or a power cut have brought the name back.
      const names = await this.#fileSystem.names(this.#root);
      for (const name of names) if (stagedId(name) === id) await this.#fileSystem.removeTree(join(this.#root, name));
      await this.#fileSystem.syncDirectory(this.#root);
    });
  }

  async unfinished(): Promise<readonly string[]> {
    const ids = new Set<string>();
    await accessing("unreadable", this.#root, async () => {
      for (const name of await this.#fileSystem.names(this.#root)) {
        const id = stagedId(name) ?? name;
        if (!isPlainName(id)) continue;
        const isWhole = id === name && (await this.#fileSystem.exists(join(this.#root, id, manifestName)));
        const isFolder = async () => (await this.#fileSystem.names(join(this.#root, id)).catch(() => null)) !== null;
        if (id !== name || (!isWhole && (await isFolder()))) ids.add(id);
      }
    });
    return [...ids];
  }

  async #stageAndRename(
    described: CheckpointContent["manifest"],
    parts: ReadonlyMap<string, readonly Uint8Array[]>,
  ): Promise<Manifest> {
    const location = join(this.#root, described.id);
    const staging = join(this.#root, stagingName(described.id));
    try {
      await accessing("unwritable", staging, () => this.#fileSystem.makeDirectory(staging));
      const files = await all([...parts].map(([name, bytes]) => this.#writeFile(staging, name, bytes)));
      const manifest = { ...described, files };
      await this.#writeFile(staging, manifestName, [encodeManifest(manifest)]);
      await accessing("unwritable", staging, () => this.#fileSystem.syncDirectory(staging));
      await accessing("unwritable", location, () => this.#rename(staging, location));
      return manifest;
    } catch (error) {
      await this.#cleanUp(staging, () => this.#fileSystem.removeTree(staging));
      throw error;
    }
  }

  async #writeFile(folder: string, name: string, parts: readonly Uint8Array[]): Promise<ManifestFile> {
    const path = join(folder, name);
    return accessing("unwritable", path, async () => {
      const written = await using(await this.#fileSystem.create(path), (file) => writeDurably(file, parts));
      return { name, ...written };
    });
  }

  async #rename(staging: string, location: string): Promise<void> {
    try {
      await this.#fileSystem.rename(staging, location);
    } catch (error) {
      // The system refuses to put a folder in the place of one with anything in it, so of two writers one wins.
      if (errnoOf(error) === "ENOTEMPTY" || errnoOf(error) === "EEXIST") throw idTaken(location);
      throw error;
    }
  }

  async #open(path: string): Promise<OpenFile | null> {
    try {
      return await this.#fileSystem.open(path);
    } catch (error) {
      if (isAbsent(error)) return null;
      throw error;
    }
  }

  /** Removes what a failed write left. That write's own error is the one to report, so this one is only logged. */
  async #cleanUp(path: string, remove: () => Promise<void>): Promise<void> {
    try {
      await remove();
    } catch (error) {
      this.#log.warn("What a failed checkpoint left could not be removed.", { path, reason: messageOf(error) });
    }
  }
}
