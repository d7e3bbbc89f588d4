/**
 * The checkpoints of one directory as files: to give them to others, and to take those of others in. What is taken in is
 * staged, made durable and renamed as what is written here, see checkpoint-storage.ts, and compared with its manifest first.
 */
import { createHash } from "node:crypto";
import { join, resolve } from "node:path";
import { messageOf } from "../../core/errors.ts";
import { CheckpointError, isPlainName, type Manifest, type ManifestFile, parseManifest } from "../../core/manifest.ts";
import type { CheckpointStorage, StoredCheckpoint } from "../../ports/checkpoint-storage.ts";
import type { Log } from "../../ports/log.ts";
import { manifestName, maximumManifestSizeBytes } from "./checkpoint-reader.ts";
import { type FileSystem, isAbsent, nodeFileSystem, type OpenFile, using } from "./file-system.ts";
import { HashingReader } from "./hashed-file.ts";
import { removeCheckpoint } from "./remove-checkpoint.ts";
import { isStaging, stagingName } from "./staging.ts";
import { accessing, corruptFile, interpreting } from "./storage-errors.ts";

/** What is read, and sent, at once. */
const partSizeBytes = 1024 * 1024;

/** Where a copy comes from: gives a file of the checkpoint, in parts. */
export type FileSource = (name: string) => AsyncIterable<Uint8Array>;

export class CheckpointFiles {
  readonly #root: string;
  readonly #storage: CheckpointStorage;
  readonly #log: Log;
  readonly #fileSystem: FileSystem;

  /** @param storage of the same directory */
  constructor(directory: string, storage: CheckpointStorage, log: Log, fileSystem: FileSystem = nodeFileSystem) {
    this.#root = resolve(directory);
    this.#storage = storage;
    this.#log = log;
    this.#fileSystem = fileSystem;
  }

  /**
   * Removes what writers that died have left. Only for whoever is the only writer of the directory, before it writes: from
   * outside a dead writer looks like a slow one.
   */
  async removeStagings(): Promise<void> {
    const names = await accessing("unreadable", this.#root, () => this.#fileSystem.names(this.#root));
    for (const name of names.filter(isStaging)) {
      await accessing("unwritable", join(this.#root, name), () => this.#fileSystem.removeTree(join(this.#root, name)));
    }
  }

  /** The file's bytes as they lie there, in parts; whoever gets them compares. "missing" where there is none. */
  async *read(id: string, name: string): AsyncGenerator<Uint8Array> {
    if (!isPlainName(id) || !isPlainName(name)) throw missing(`"${id}/${name}" is no file of a checkpoint.`);
    const path = join(this.#root, id, name);
    const file = await accessing("unreadable", path, () => this.#open(path));
    const readFrom = (position: number): Promise<Uint8Array> => {
      const part = Buffer.allocUnsafeSlow(partSizeBytes);
      const reading = accessing("unreadable", path, async () => part.subarray(0, await file.read([part], position)));
      // It may fail long before anybody asks for it.
      reading.catch(() => undefined);
      return reading;
    };
    // The next part is read while this one is on its way.
    let next = readFrom(0);
    try {
      for (let position = 0; ; ) {
        const part = await next;
        if (part.length === 0) return;
        position += part.length;
        next = readFrom(position);
        yield part;
      }
    } finally {
      await next.catch(() => undefined);
      await file.close();
    }
  }

  /** Whether exactly this checkpoint is here: all files are read and compared. */
  async holds(id: string, manifestSha256: string): Promise<boolean> {
    try {
      const { manifest, sha256 } = await manifestFrom(id, (name) => this.read(id, name));
      if (sha256 !== manifestSha256) return false;
      for (const file of manifest.files) await this.#verify(id, file);
      return true;
    } catch (error) {
      if (error instanceof CheckpointError && (error.problem === "missing" || error.problem === "corrupt"))
        return false;
      throw error;
    }
  }

  /**
   * Makes the checkpoint here from what the source gives: whole, verified and durable, or not at all. One that lies here
   * already goes when the new one is whole. Fails with "corrupt" when what arrives is not what the manifest describes, or
   * the manifest is another one.
   * @param manifestSha256 null: whichever manifest the source has
   */
  async copy(id: string, manifestSha256: string | null, source: FileSource, onReceived?: (bytes: number) => void) {
    const { manifest, text, sha256 } = await manifestFrom(id, source);
    if (sha256 !== (manifestSha256 ?? sha256)) {
      throw corruptFile(
        manifestName,
        `the manifest of ${id} that arrived has the SHA-256 ${sha256}, not ${manifestSha256}`,
      );
    }
    const location = join(this.#root, id);
    const staging = join(this.#root, stagingName(id));
    const manifestFile = { name: manifestName, sizeBytes: text.length, sha256 };
    try {
      await accessing("unwritable", staging, () => this.#fileSystem.makeDirectory(staging));
      for (const file of manifest.files) await this.#receive(staging, file, source(file.name), onReceived);
      await this.#receive(staging, manifestFile, [text], onReceived);
      await accessing("unwritable", staging, () => this.#fileSystem.syncDirectory(staging));
      await accessing("unwritable", location, async () => {
        await removeCheckpoint(this.#fileSystem, location);
        await this.#fileSystem.rename(staging, location);
      });
    } catch (error) {
      await this.#cleanUp(staging, () => this.#fileSystem.removeTree(staging));
      throw error;
    }
    try {
      await accessing("unwritable", this.#root, () => this.#fileSystem.syncDirectory(this.#root));
      for (const file of [...manifest.files, manifestFile]) await this.#verify(id, file);
    } catch (error) {
      await this.#cleanUp(location, () => this.#storage.delete(id));
      throw error instanceof CheckpointError && error.problem === "corrupt" ? ownFault(error) : error;
    }
    const stored: StoredCheckpoint = { id, location, manifestSha256: sha256, manifest };
    return stored;
  }

  /** Removes what a failed copy left. That copy's own error is the one to report, so this one is only logged. */
  async #cleanUp(path: string, remove: () => Promise<void>): Promise<void> {
    try {
      await remove();
    } catch (error) {
      this.#log.warn("What a failed copy left could not be removed.", { path, reason: messageOf(error) });
    }
  }

  /** Writes one file as it arrives; not more of it than there should be. */
  async #receive(
    folder: string,
    expected: ManifestFile,
    parts: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
    onReceived: (bytes: number) => void = () => undefined,
  ): Promise<void> {
    const path = join(folder, expected.name);
    const hash = createHash("sha256");
    await accessing("unwritable", path, async () => {
      await using(await this.#fileSystem.create(path), async (file) => {
        let sizeBytes = 0;
        for await (const part of parts) {
          if (sizeBytes + part.length > expected.sizeBytes) {
            throw corruptFile(path, `more than its ${expected.sizeBytes} bytes have arrived`);
          }
          // Hashed while it is written.
          const writing = writeAll(file, part, sizeBytes);
          hash.update(part);
          await writing;
          sizeBytes += part.length;
          onReceived(sizeBytes);
        }
        if (sizeBytes !== expected.sizeBytes) {
          throw corruptFile(path, `${sizeBytes} bytes of it have arrived, and it has ${expected.sizeBytes}`);
        }
        await file.sync();
      });
    });
    const sha256 = hash.digest("hex");
    if (sha256 !== expected.sha256) {
      throw corruptFile(path, `what arrived has the SHA-256 ${sha256}, and ${expected.sha256} was written`);
    }
  }

  /** Reads a file back. */
  async #verify(id: string, expected: ManifestFile): Promise<void> {
    const path = join(this.#root, id, expected.name);
    const file = await accessing("unreadable", path, () => this.#open(path));
    const sha256 = await accessing("unreadable", path, () =>
      using(file, async (open) => {
        if ((await open.sizeBytes()) !== expected.sizeBytes) return "(another size)";
        return HashingReader.use(open, 0, async (reader) => {
          await reader.skipTo(expected.sizeBytes);
          return reader.sha256();
        });
      }),
    );
    if (sha256 !== expected.sha256) {
      throw corruptFile(path, `its SHA-256 is ${sha256}, and ${expected.sha256} was written`);
    }
  }

  async #open(path: string): Promise<OpenFile> {
    try {
      return await this.#fileSystem.open(path);
    } catch (error) {
      if (isAbsent(error)) throw missing(`There is no ${path}.`);
      throw error;
    }
  }
}

/** Fails with "corrupt" when what the source gives is no manifest, or another checkpoint's. */
export async function manifestFrom(
  id: string,
  source: FileSource,
): Promise<{ manifest: Manifest; text: Uint8Array; sha256: string }> {
  const parts: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const part of source(manifestName)) {
    sizeBytes += part.length;
    if (sizeBytes > maximumManifestSizeBytes) throw corruptFile(manifestName, `it is longer than ${sizeBytes} bytes`);
    parts.push(part);
  }
  const text = Buffer.concat(parts);
  const manifest = interpreting(manifestName, () => parseManifest(text.toString()));
  if (manifest.id !== id) throw corruptFile(manifestName, `it is of checkpoint "${manifest.id}", not "${id}"`);
  return { manifest, text, sha256: createHash("sha256").update(text).digest("hex") };
}

async function writeAll(file: OpenFile, part: Uint8Array, positionBytes: number): Promise<void> {
  for (let written = 0; written < part.length; ) {
    const count = await file.write([part.subarray(written)], positionBytes + written);
    if (count === 0) throw new Error(`the file took no more at byte ${positionBytes + written}`);
    written += count;
  }
}

/** It arrived whole: whoever gave it has a whole one. */
function ownFault(error: CheckpointError): CheckpointError {
  return new CheckpointError("unwritable", `What arrived whole was read back as something else: ${error.message}`, {
    hint: "Check this machine's disk; the checkpoint itself is whole on another one.",
    cause: error,
  });
}

function missing(sentence: string): CheckpointError {
  return new CheckpointError("missing", sentence, { hint: "It may be on another worker, or have been deleted." });
}
