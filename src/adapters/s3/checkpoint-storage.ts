import { randomBytes } from "node:crypto";
import { messageOf } from "../../core/errors.ts";
import { CheckpointError, isPlainName, type Manifest, type ManifestFile } from "../../core/manifest.ts";
import type { CheckpointContent, CheckpointStorage, StoredCheckpoint } from "../../ports/checkpoint-storage.ts";
import type { Log } from "../../ports/log.ts";
import {
  assertId,
  CheckpointReader,
  contentNames,
  contentParts,
  encodeManifest,
  idTaken,
  manifestName,
  requireLittleEndian,
} from "../fs/checkpoint-reader.ts";
import { hashOf } from "../fs/hashed-file.ts";
import { formatS3Location, parseS3Location, type S3Location } from "./location.ts";
import { ObjectStore, type ObjectStoreOptions } from "./object-store.ts";
import { accessing } from "./s3-errors.ts";

/** Of a size that is sent again in a moment when it has to be, and of which ten thousand hold any checkpoint. */
const defaults: ObjectStoreOptions = { partSizeBytes: 16 * 1024 * 1024, attempts: 4 };

/**
 * Checkpoints in object storage that speaks S3, under `s3://bucket/prefix`:
 *
 *     <prefix>/<id>/    weights.safetensors  optimizer.safetensors  state.json  manifest.json
 *
 * There is no renaming here. An object is there as a whole or not at all, and is never written over; the manifest is
 * written last, and without it there is no checkpoint. The bucket and the right to read it are looked for now; that the
 * service honours conditional writes before the first write.
 *
 * What a writer leaves that dies are objects without a manifest, which nothing reads: they are `unfinished` until whoever may
 * delete checkpoints deletes them; and uploads in parts, which a lifecycle rule of the bucket removes.
 */
export async function openS3Storage(
  text: string,
  log: Log,
  options: ObjectStoreOptions = defaults,
): Promise<CheckpointStorage> {
  requireLittleEndian();
  const location = parseS3Location(text);
  const store = await ObjectStore.open(location, options);
  const storage = new S3Storage(location, store, log);
  await storage.checkAccess();
  return storage;
}

class S3Storage implements CheckpointStorage {
  readonly #root: string;
  /** Of every key: "" or "a/b/". */
  readonly #prefix: string;
  readonly #store: ObjectStore;
  readonly #log: Log;
  readonly #reader: CheckpointReader;
  #isConditional: Promise<void> | null = null;

  constructor(location: S3Location, store: ObjectStore, log: Log) {
    this.#root = formatS3Location(location);
    this.#prefix = location.prefix === "" ? "" : `${location.prefix}/`;
    this.#store = store;
    this.#log = log;
    this.#reader = new CheckpointReader(
      {
        root: this.#root,
        locationOf: (id, name) => this.#locationOf(id, name),
        open: (id, name) => this.#store.open(this.#keyOf(id, name)),
        reading: (at, calls) => this.#reading(at, calls),
      },
      log,
    );
  }

  async checkAccess(): Promise<void> {
    await this.#reading(this.#root, () => this.#store.hasAny(this.#prefix));
  }

  async write(content: CheckpointContent): Promise<StoredCheckpoint> {
    const { id } = content.manifest;
    const parts = contentParts(content);
    const location = this.#locationOf(id);
    if (await this.#reading(location, () => this.#store.hasAny(this.#keyOf(id, "")))) throw idTaken(location);
    this.#isConditional ??= this.#checkConditionalWrites(id);
    await this.#isConditional.catch((error: unknown) => {
      this.#isConditional = null;
      throw error;
    });

    const mark = randomBytes(16).toString("hex");
    const files: ManifestFile[] = [];
    try {
      for (const [name, bytes] of parts) files.push(await this.#create(id, name, bytes, mark));
    } catch (error) {
      await this.#removeOwn(id, mark);
      throw error;
    }
    const manifest: Manifest = { ...content.manifest, files };
    // If this fails, what is there stays: the service may yet carry out what it did not answer, and a manifest must not
    // come to stand alone. With all its files it is a checkpoint that nobody has published.
    await this.#create(id, manifestName, [encodeManifest(manifest)], mark);
    try {
      await this.#reader.verify(manifest, parts);
    } catch (error) {
      await this.#removeOwn(id, mark);
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
    return this.#reader.list(await this.#reading(this.#root, () => this.#store.folders(this.#prefix)));
  }

  async delete(id: string): Promise<void> {
    assertId(id);
    await accessing("unwritable", this.#store.place, this.#locationOf(id), async () => {
      const keys = await this.#store.keys(this.#keyOf(id, ""));
      if (keys.length === 0) return;
      const manifest = this.#keyOf(id, manifestName);
      await this.#store.remove(manifest);
      for (const key of keys) if (key !== manifest) await this.#store.remove(key);
    });
  }

  async unfinished(): Promise<readonly string[]> {
    const keys = await this.#reading(this.#root, () => this.#store.keys(this.#prefix));
    const names = keys.map((key) => key.slice(this.#prefix.length).split("/"));
    const whole = new Set(names.filter(([, name, more]) => name === manifestName && !more).map(([id]) => id));
    const ids = new Set(names.flatMap(([id = "", name]) => (name !== undefined && !whole.has(id) ? [id] : [])));
    return [...ids].filter(isPlainName);
  }

  async #create(id: string, name: string, parts: readonly Uint8Array[], mark: string): Promise<ManifestFile> {
    const creating = () => this.#store.create(this.#keyOf(id, name), parts, mark);
    const calls = () => Promise.all([hashOf(parts), creating()]);
    const [sha256, isOurs] = await accessing("unwritable", this.#store.place, this.#locationOf(id, name), calls);
    if (!isOurs) throw idTaken(this.#locationOf(id));
    return { name, sizeBytes: parts.reduce((sum, { length }) => sum + length, 0), sha256 };
  }

  /**
   * A service that ignores the condition would let one leader write over another's checkpoint. It is tried under the name of the
   * checkpoint that is to be written, so that whatever is left of it goes with that.
   */
  async #checkConditionalWrites(id: string): Promise<void> {
    const { place } = this.#store;
    const key = this.#keyOf(id, `.conditional-write-${randomBytes(8).toString("hex")}`);
    const at = `${this.#root}/${key.slice(this.#prefix.length)}`;
    const isRefused = await accessing("unwritable", place, at, async () => {
      await this.#store.create(key, [], "first");
      const isOverwritten = await this.#store.create(key, [], "second");
      await this.#store.remove(key);
      return !isOverwritten;
    });
    if (isRefused) return;
    throw new CheckpointError(
      "unwritable",
      `Cannot write ${this.#root}: ${place.endpoint ?? "the service"} ignores the condition of a conditional write (If-None-Match), so one writer could overwrite what another has written.`,
      { hint: "Use a service, or a version of it, with conditional writes; or a directory that all workers share." },
    );
  }

  /** What a failed write left, the manifest first. That write's own error is the one to report, so this one is logged. */
  async #removeOwn(id: string, mark: string): Promise<void> {
    try {
      for (const name of [manifestName, ...contentNames]) await this.#store.removeOwn(this.#keyOf(id, name), mark);
    } catch (error) {
      const reason = messageOf(error);
      this.#log.warn("What a failed checkpoint left could not be removed.", { location: this.#locationOf(id), reason });
    }
  }

  #reading<T>(location: string, calls: () => Promise<T>): Promise<T> {
    return accessing("unreadable", this.#store.place, location, calls);
  }

  #keyOf(id: string, name: string): string {
    return `${this.#prefix}${id}/${name}`;
  }

  #locationOf(id: string, name?: string): string {
    return name === undefined ? `${this.#root}/${id}` : `${this.#root}/${id}/${name}`;
  }
}
