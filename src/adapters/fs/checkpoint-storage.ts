import { createHash, randomBytes } from "node:crypto";
import { endianness } from "node:os";
import { join, resolve } from "node:path";
import { assert, LockstepError, messageOf } from "../../core/errors.ts";
import {
  CheckpointError,
  compareStates,
  isPlainName,
  type Manifest,
  type ManifestFile,
  manifestProblem,
  parseManifest,
  serializeManifest,
} from "../../core/manifest.ts";
import type { CheckpointContent, CheckpointStorage, StoredCheckpoint } from "../../ports/checkpoint-storage.ts";
import type { Log } from "../../ports/log.ts";
import {
  errnoOf,
  type FileSystem,
  isAbsent,
  makeDurableDirectory,
  nodeFileSystem,
  type OpenFile,
  using,
} from "./file-system.ts";
import { HashingReader, writeDurably } from "./hashed-file.ts";
import { decodeState, encodeState } from "./state-json.ts";
import { accessing, corruptFile, interpreting } from "./storage-errors.ts";
import { readTensors, tensorParts } from "./tensor-file.ts";

export const manifestName = "manifest.json";
const weightsName = "weights.safetensors";
const optimizerName = "optimizer.safetensors";
const stateName = "state.json";
const contentNames = [weightsName, optimizerName, stateName];

/** Far above any manifest (some hundred bytes, and some dozen for each member); what is larger is none. */
export const maximumManifestSizeBytes = 16 * 1024 * 1024;

/**
 * Checkpoints in a directory, which may be shared between machines; made if it is not there.
 *
 *     <directory>/<id>/             weights.safetensors  optimizer.safetensors  state.json  manifest.json
 *     <directory>/.staging-<id>-…   a checkpoint that is being written
 *
 * A staging folder is removed by its writer when writing fails. One whose writer died stays until whoever may delete
 * checkpoints removes it: from here a dead writer looks like a slow one, and file times decide nothing. Nothing reads
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
  if (endianness() !== "LE") {
    throw new LockstepError("incompatible", "Checkpoints hold little-endian numbers, and this machine is big-endian.");
  }
  const root = resolve(directory);
  await accessing("unwritable", root, () => makeDurableDirectory(fileSystem, root));
  await accessing("unreadable", root, () => fileSystem.names(root));
  return new DirectoryStorage(root, log, fileSystem);
}

class DirectoryStorage implements CheckpointStorage {
  readonly #root: string;
  readonly #log: Log;
  readonly #fileSystem: FileSystem;
  /** Names of the folders that `list` has warned of. */
  readonly #warned = new Set<string>();

  constructor(root: string, log: Log, fileSystem: FileSystem) {
    this.#root = root;
    this.#log = log;
    this.#fileSystem = fileSystem;
  }

  async write(content: CheckpointContent): Promise<StoredCheckpoint> {
    const { id } = content.manifest;
    const problem = manifestProblem({ ...content.manifest, files: [] });
    assert(problem === null, `a checkpoint is described as it should be, but ${problem}`);
    const parts = new Map([
      [weightsName, tensorParts(content.weights)],
      [optimizerName, tensorParts(content.optimizer)],
      [stateName, [new TextEncoder().encode(encodeState(content.state))]],
    ]);
    const location = join(this.#root, id);
    if (await accessing("unreadable", location, () => this.#fileSystem.exists(location))) throw idTaken(location);

    const manifest = await this.#stageAndRename(content.manifest, parts);
    try {
      await accessing("unwritable", this.#root, () => this.#fileSystem.syncDirectory(this.#root));
      await this.#verify(manifest);
    } catch (error) {
      await this.#cleanUp(location, () => this.delete(id));
      throw error;
    }
    return this.#stored(manifest);
  }

  async load(id: string): Promise<CheckpointContent> {
    const { files, ...manifest } = await this.#readManifest(id);
    const file = (name: string) => files.find((candidate) => candidate.name === name)!;
    const weights = await this.#readVerified(id, file(weightsName), readTensors);
    const optimizer = await this.#readVerified(id, file(optimizerName), readTensors);
    const state = await this.#readVerified(id, file(stateName), readState);
    return { manifest, weights, optimizer, state };
  }

  async list(): Promise<readonly StoredCheckpoint[]> {
    const names = await accessing("unreadable", this.#root, () => this.#fileSystem.names(this.#root));
    const stored: StoredCheckpoint[] = [];
    for (const id of names.filter(isPlainName)) {
      const manifest = await this.#readManifest(id).catch((error: unknown) => this.#passOver(id, error));
      if (manifest !== null) stored.push(this.#stored(manifest));
    }
    return stored.sort((a, b) => compareStates(a.manifest, b.manifest) || (a.id < b.id ? -1 : 1));
  }

  async delete(id: string): Promise<void> {
    assertId(id);
    const location = join(this.#root, id);
    await accessing("unwritable", location, async () => {
      try {
        await this.#fileSystem.removeFile(join(location, manifestName));
      } catch (error) {
        // Without its manifest it may be half deleted; go on with the rest.
        if (!isAbsent(error)) throw error;
      }
      if (!(await this.#fileSystem.exists(location))) return;
      // Durable before the rest goes: a power cut must not bring the manifest back beside files that are gone.
      await this.#fileSystem.syncDirectory(location).catch(ignoreAbsence);
      await this.#fileSystem.removeTree(location);
      await this.#fileSystem.syncDirectory(this.#root);
    });
  }

  #stored(manifest: Manifest): StoredCheckpoint {
    // A manifest has one text, so this is the hash of the file.
    const manifestSha256 = createHash("sha256").update(serializeManifest(manifest)).digest("hex");
    return { id: manifest.id, location: join(this.#root, manifest.id), manifestSha256, manifest };
  }

  async #stageAndRename(
    described: CheckpointContent["manifest"],
    parts: ReadonlyMap<string, readonly Uint8Array[]>,
  ): Promise<Manifest> {
    const location = join(this.#root, described.id);
    const staging = join(this.#root, `.staging-${described.id}-${randomBytes(8).toString("hex")}`);
    try {
      await accessing("unwritable", staging, () => this.#fileSystem.makeDirectory(staging));
      const files: ManifestFile[] = [];
      for (const [name, bytes] of parts) files.push(await this.#writeFile(staging, name, bytes));
      const manifest = { ...described, files };
      await this.#writeFile(staging, manifestName, [new TextEncoder().encode(serializeManifest(manifest))]);
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

  /** Reads all back. (From the system's cache, most likely: this finds a wrong write, not a wrong disk.) */
  async #verify(written: Manifest): Promise<void> {
    const read = await this.#readManifest(written.id);
    if (serializeManifest(read) !== serializeManifest(written)) {
      throw corruptFile(join(this.#root, written.id, manifestName), "it is another manifest");
    }
    for (const file of written.files) await this.#readVerified(written.id, file, skipAll);
  }

  async #readManifest(id: string): Promise<Manifest> {
    assertId(id);
    const path = join(this.#root, id, manifestName);
    const bytes = await this.#opened(path, `There is no checkpoint "${id}" in ${this.#root}.`, async (file) => {
      const sizeBytes = await file.sizeBytes();
      if (sizeBytes > maximumManifestSizeBytes) throw corruptFile(path, `it is ${sizeBytes} bytes long`);
      const content = new Uint8Array(sizeBytes);
      await new HashingReader(file).fill([content]);
      return content;
    });
    const manifest = interpreting(path, () => parseManifest(decodeText(bytes)));
    if (manifest.id !== id) throw corruptFile(path, `it is of checkpoint "${manifest.id}", and its folder is "${id}"`);
    const names = manifest.files.map(({ name }) => name);
    if (names.length !== contentNames.length || !contentNames.every((name) => names.includes(name))) {
      throw corruptFile(path, `it names the files ${names.join(", ")}, expected ${contentNames.join(", ")}`);
    }
    return manifest;
  }

  /** Reads one file with `read`, compares its size and hash, and only then asks what it means. */
  async #readVerified<T>(
    id: string,
    expected: ManifestFile,
    read: (reader: HashingReader, sizeBytes: number) => Promise<() => T>,
  ): Promise<T> {
    const path = join(this.#root, id, expected.name);
    const interpret = await this.#opened(path, `Checkpoint "${id}" lacks a part: ${path} is absent.`, async (file) => {
      const sizeBytes = await file.sizeBytes();
      if (sizeBytes !== expected.sizeBytes) {
        throw corruptFile(path, `it is ${sizeBytes} bytes long, and ${expected.sizeBytes} were written`);
      }
      const reader = new HashingReader(file);
      const meaning = await read(reader, sizeBytes);
      const sha256 = reader.sha256();
      if (sha256 !== expected.sha256) {
        throw corruptFile(path, `its SHA-256 is ${sha256}, and ${expected.sha256} was written`);
      }
      return meaning;
    });
    return interpreting(path, interpret);
  }

  /** `absence` says what it means that the file is not there: a sentence. */
  #opened<T>(path: string, absence: string, use: (file: OpenFile) => Promise<T>): Promise<T> {
    return accessing("unreadable", path, async () => {
      const file = await this.#fileSystem.open(path).catch((cause: unknown) => {
        if (!isAbsent(cause)) throw cause;
        const hint = "Check that this is the right directory, and that it is the same one on every machine.";
        throw new CheckpointError("missing", absence, { hint, cause });
      });
      return using(file, use);
    });
  }

  /** What `list` makes of a folder whose manifest it did not get. */
  #passOver(id: string, error: unknown): null {
    if (!(error instanceof CheckpointError)) throw error;
    if (error.problem === "missing") return null;
    if (error.problem !== "corrupt") throw error;
    if (!this.#warned.has(id)) {
      this.#warned.add(id);
      this.#log.warn("A checkpoint is passed over: its manifest is corrupt.", {
        checkpoint: id,
        reason: error.message,
      });
    }
    return null;
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

async function readState(reader: HashingReader, sizeBytes: number): Promise<() => unknown> {
  const bytes = new Uint8Array(sizeBytes);
  await reader.fill([bytes]);
  return () => decodeState(decodeText(bytes));
}

async function skipAll(reader: HashingReader, sizeBytes: number): Promise<() => void> {
  await reader.skipTo(sizeBytes);
  return () => undefined;
}

function decodeText(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new SyntaxError("it is not UTF-8", { cause });
  }
}

function ignoreAbsence(error: unknown): void {
  if (!isAbsent(error)) throw error;
}

function assertId(id: string): void {
  assert(isPlainName(id), `a checkpoint's id is a plain name, not a path; got ${JSON.stringify(id)}`);
}

function idTaken(location: string): LockstepError {
  return new LockstepError("internal", `A checkpoint is at ${location} already; it was not touched.`, {
    hint: "Ids are never used twice: write under a new one.",
  });
}
