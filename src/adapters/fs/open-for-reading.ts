/** Checkpoints for whoever only looks at them, on the machine where they are: in one directory, or in each worker's own. */
import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { assert } from "../../core/errors.ts";
import { CheckpointError } from "../../core/manifest.ts";
import { compareStates } from "../../core/state-order.ts";
import type {
  CheckpointContent,
  CheckpointCopy,
  CheckpointStorage,
  StoredCheckpoint,
} from "../../ports/checkpoint-storage.ts";
import type { Log } from "../../ports/log.ts";
import { manifestName } from "./checkpoint-reader.ts";
import { openDirectoryStorage } from "./checkpoint-storage.ts";
import { corruptFile } from "./storage-errors.ts";
import { storeIdName, workerOf } from "./store-id.ts";

/**
 * Opens a directory of checkpoints, and with it the workers' own directories in it, or beside it if it is, or was, such a one
 * itself. Of a checkpoint that lies in several, the first whole copy is taken.
 */
export async function openForReading(directory: string, log: Log): Promise<CheckpointStorage> {
  const root = resolve(directory);
  const around = isWorkersOwn(root) || !existsSync(root) ? dirname(root) : root;
  const others = (await workersFoldersIn(around)).filter((path) => path !== root);
  // One that is lost is not made anew, if there are others.
  const first = existsSync(root) || others.length === 0 ? [root] : [];
  const paths = [...first, ...others];
  const storages = await Promise.all(paths.map((path) => openDirectoryStorage(path, log)));
  return storages.length === 1 && !isWorkersOwn(paths[0]!) ? storages[0]! : new SeveralStorages(storages, paths);
}

/** The workers' own directories in this one. */
export async function workersFoldersIn(directory: string): Promise<readonly string[]> {
  const names = await readdir(directory).catch(() => []);
  return names.map((name) => join(directory, name)).filter(isWorkersOwn);
}

/** Whether a directory is, or was, a worker's own. */
export function isWorkersOwn(path: string): boolean {
  return existsSync(join(path, storeIdName));
}

class SeveralStorages implements CheckpointStorage {
  readonly #storages: readonly CheckpointStorage[];
  readonly #paths: readonly string[];

  constructor(storages: readonly CheckpointStorage[], paths: readonly string[]) {
    this.#storages = storages;
    this.#paths = paths;
  }

  write(): Promise<StoredCheckpoint> {
    assert(false, "whoever writes a checkpoint writes to a directory of its own");
  }

  load(id: string): Promise<CheckpointContent> {
    return this.#first((storage) => storage.load(id));
  }

  check(id: string): Promise<StoredCheckpoint> {
    return this.#first((storage) => storage.check(id));
  }

  /** Of the first copy that is whole. Says what is wrong with the first one, if there is one and no better one. */
  async #first<T>(read: (storage: CheckpointStorage) => Promise<T>): Promise<T> {
    let wrong: CheckpointError | null = null;
    for (const storage of this.#storages) {
      try {
        return await read(storage);
      } catch (error) {
        if (!(error instanceof CheckpointError)) throw error;
        if (wrong === null || wrong.problem === "missing") wrong = error;
      }
    }
    throw wrong!;
  }

  async copies(id: string, manifestSha256: string | null): Promise<readonly CheckpointCopy[]> {
    const found: CheckpointCopy[] = [];
    for (const [i, storage] of this.#storages.entries()) {
      const location = join(this.#paths[i]!, id);
      try {
        const { manifestSha256: sha256 } = await storage.check(id);
        const isMeant = sha256 === (manifestSha256 ?? sha256);
        const finding = `its SHA-256 is ${sha256}, and that of ${id} is ${manifestSha256}`;
        found.push({ location, wrong: isMeant ? null : corruptFile(join(location, manifestName), finding) });
      } catch (error) {
        if (!(error instanceof CheckpointError)) throw error;
        if (error.problem !== "missing") found.push({ location, wrong: error });
      }
    }
    return found;
  }

  /** With the names of the workers in whose directories they are. */
  async list(): Promise<readonly StoredCheckpoint[]> {
    const found = new Map<string, StoredCheckpoint>();
    for (const [i, storage] of this.#storages.entries()) {
      const path = this.#paths[i]!;
      const holder = isWorkersOwn(path) ? [await workerOf(path)] : [];
      for (const stored of await storage.list()) {
        const known = found.get(stored.id);
        // Another manifest is another checkpoint, whatever it calls itself.
        if (known && known.manifestSha256 !== stored.manifestSha256) continue;
        const holders = [...(known?.holders ?? []), ...holder];
        found.set(stored.id, { ...(known ?? stored), ...(holders.length > 0 ? { holders } : {}) });
      }
    }
    return [...found.values()].sort((a, b) => compareStates(a.manifest, b.manifest) || (a.id < b.id ? -1 : 1));
  }

  async unfinished(): Promise<readonly string[]> {
    const ids = await Promise.all(this.#storages.map((storage) => storage.unfinished?.() ?? []));
    return [...new Set(ids.flat())];
  }

  async delete(id: string): Promise<void> {
    for (const storage of this.#storages) await storage.delete(id);
  }
}
