/**
 * Reading checkpoints, wherever their files are: every file is compared with its manifest before anything it says is
 * believed.
 */
import { createHash } from "node:crypto";
import { endianness } from "node:os";
import { assert, LockstepError } from "../../core/errors.ts";
import {
  CheckpointError,
  isPlainName,
  type Manifest,
  type ManifestFile,
  manifestProblem,
  parseManifest,
  serializeManifest,
} from "../../core/manifest.ts";
import { compareStates } from "../../core/state-order.ts";
import type { CheckpointContent, StoredCheckpoint } from "../../ports/checkpoint-storage.ts";
import type { Log } from "../../ports/log.ts";
import { all, type OpenFile, using } from "./file-system.ts";
import { HashingReader, holdsExactly } from "./hashed-file.ts";
import { decodeState, encodeState } from "./state-json.ts";
import { corruptFile, interpreting } from "./storage-errors.ts";
import { type Place, placesInOneRow, readTensors, tensorParts } from "./tensor-file.ts";

export const manifestName = "manifest.json";
const weightsName = "weights.safetensors";
const optimizerName = "optimizer.safetensors";
export const stateName = "state.json";
export const contentNames = [weightsName, optimizerName, stateName];

/** Far above any manifest (some hundred bytes, and some dozen for each member); what is larger is none. */
export const maximumManifestSizeBytes = 16 * 1024 * 1024;

/** Where the files are. */
export interface CheckpointSource {
  /** For people: the place that all checkpoints are in. */
  readonly root: string;
  /** A checkpoint's place, and with a name one of its files': an absolute path or a URL. */
  locationOf(id: string, name?: string): string;
  /** Null where there is no such file. Reads go through it once, from the beginning. */
  open(id: string, name: string): Promise<OpenFile | null>;
  /** Runs calls to the storage, and says of their errors what could not be read: `CheckpointError`, "unreadable". */
  reading<T>(location: string, calls: () => Promise<T>): Promise<T>;
}

export class CheckpointReader {
  readonly #files: CheckpointSource;
  readonly #log: Log;
  /** Ids that `list` has warned of. */
  readonly #warned = new Set<string>();

  constructor(files: CheckpointSource, log: Log) {
    this.#files = files;
    this.#log = log;
  }

  async load(id: string): Promise<CheckpointContent> {
    const { files, ...manifest } = await this.manifest(id);
    const file = (name: string) => files.find((candidate) => candidate.name === name)!;
    const [forWeights, forOptimizer] = placesInOneRow([file(weightsName).sizeBytes, file(optimizerName).sizeBytes]);
    const tensors = (name: string, place: Place) =>
      this.#readVerified(id, file(name), (reader, sizeBytes) => readTensors(reader, sizeBytes, place));
    const [weights, optimizer] = await all([tensors(weightsName, forWeights), tensors(optimizerName, forOptimizer)]);
    const state = await this.#readVerified(id, file(stateName), readState);
    return { manifest, weights: weights!, optimizer: optimizer!, state };
  }

  async check(id: string): Promise<StoredCheckpoint> {
    const manifest = await this.manifest(id);
    for (const file of manifest.files) await this.#readVerified(id, file, readPast, 0);
    return this.stored(manifest);
  }

  /** Those of these that are checkpoints, oldest first; warns, once, of those with a corrupt manifest. */
  async list(ids: readonly string[]): Promise<readonly StoredCheckpoint[]> {
    const stored: StoredCheckpoint[] = [];
    for (const id of ids.filter(isPlainName)) {
      const manifest = await this.manifest(id).catch((error: unknown) => this.#passOver(id, error));
      if (manifest !== null) stored.push(this.stored(manifest));
    }
    return stored.sort((a, b) => compareStates(a.manifest, b.manifest) || (a.id < b.id ? -1 : 1));
  }

  /**
   * Reads back all that was written, and compares it with what it was written from (`parts`, by name), byte by byte, instead of
   * hashing it once more: the hashes were taken between the writing and this.
   */
  async verify(written: Manifest, parts: ReadonlyMap<string, readonly Uint8Array[]>): Promise<void> {
    const read = await this.manifest(written.id);
    if (serializeManifest(read) !== serializeManifest(written)) {
      throw corruptFile(this.#files.locationOf(written.id, manifestName), "it is another manifest");
    }
    await all(written.files.map((file) => this.#compare(written.id, file, parts.get(file.name)!)));
  }

  stored(manifest: Manifest): StoredCheckpoint {
    // A manifest has one text, so this is the hash of the file.
    const manifestSha256 = createHash("sha256").update(serializeManifest(manifest)).digest("hex");
    return { id: manifest.id, location: this.#files.locationOf(manifest.id), manifestSha256, manifest };
  }

  async manifest(id: string): Promise<Manifest> {
    assertId(id);
    const location = this.#files.locationOf(id, manifestName);
    const absence = `There is no checkpoint "${id}" in ${this.#files.root}.`;
    const bytes = await this.#opened(id, manifestName, absence, async (file) => {
      const sizeBytes = await file.sizeBytes();
      if (sizeBytes > maximumManifestSizeBytes) throw corruptFile(location, `it is ${sizeBytes} bytes long`);
      const content = new Uint8Array(sizeBytes);
      await HashingReader.use(file, 0, (reader) => reader.fill([content]));
      return content;
    });
    const manifest = interpreting(location, () => parseManifest(decodeText(bytes)));
    if (manifest.id !== id) {
      throw corruptFile(location, `it is of checkpoint "${manifest.id}", and its folder is "${id}"`);
    }
    const names = manifest.files.map(({ name }) => name);
    if (names.length !== contentNames.length || !contentNames.every((name) => names.includes(name))) {
      throw corruptFile(location, `it names the files ${names.join(", ")}, expected ${contentNames.join(", ")}`);
    }
    return manifest;
  }

  async #compare(id: string, expected: ManifestFile, parts: readonly Uint8Array[]): Promise<void> {
    const location = this.#files.locationOf(id, expected.name);
    await this.#opened(id, expected.name, absenceOf(id, location), async (file) => {
      await requireSize(file, location, expected);
      if (!(await holdsExactly(file, parts)))
        throw corruptFile(location, "other bytes are read back than were written");
    });
  }

  /**
   * Reads one file with `read`, compares its size and hash, and only then asks what it means.
   * @param keptBytes how much of it is read into memory that threads share, which keeps what was read
   */
  async #readVerified<T>(
    id: string,
    expected: ManifestFile,
    read: (reader: HashingReader, sizeBytes: number) => Promise<() => T>,
    keptBytes = expected.sizeBytes,
  ): Promise<T> {
    const location = this.#files.locationOf(id, expected.name);
    const interpret = await this.#opened(id, expected.name, absenceOf(id, location), async (file) => {
      await requireSize(file, location, expected);
      return HashingReader.use(file, keptBytes, async (reader) => {
        const meaning = await read(reader, expected.sizeBytes);
        const sha256 = await reader.sha256();
        if (sha256 !== expected.sha256) {
          throw corruptFile(location, `its SHA-256 is ${sha256}, and ${expected.sha256} was written`);
        }
        return meaning;
      });
    });
    return interpreting(location, interpret);
  }

  /** `absence` says what it means that the file is not there: a sentence. */
  #opened<T>(id: string, name: string, absence: string, use: (file: OpenFile) => Promise<T>): Promise<T> {
    return this.#files.reading(this.#files.locationOf(id, name), async () => {
      const file = await this.#files.open(id, name);
      if (file === null) {
        const hint = "Check that this is the right place, and that it is the same one on every machine.";
        throw new CheckpointError("missing", absence, { hint });
      }
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
}

function absenceOf(id: string, location: string): string {
  return `Checkpoint "${id}" lacks a part: ${location} is absent.`;
}

async function requireSize(file: OpenFile, location: string, expected: ManifestFile): Promise<void> {
  const sizeBytes = await file.sizeBytes();
  if (sizeBytes === expected.sizeBytes) return;
  throw corruptFile(location, `it is ${sizeBytes} bytes long, and ${expected.sizeBytes} were written`);
}

/** The content files' bytes, by name in the order of writing; straight from the tensors' memory. */
export function contentParts(content: CheckpointContent): ReadonlyMap<string, readonly Uint8Array[]> {
  const problem = manifestProblem({ ...content.manifest, files: [] });
  assert(problem === null, `a checkpoint is described as it should be, but ${problem}`);
  return new Map([
    [weightsName, tensorParts(content.weights)],
    [optimizerName, tensorParts(content.optimizer)],
    [stateName, [new TextEncoder().encode(encodeState(content.state))]],
  ]);
}

export function encodeManifest(manifest: Manifest): Uint8Array {
  return new TextEncoder().encode(serializeManifest(manifest));
}

export function requireLittleEndian(): void {
  if (endianness() === "LE") return;
  throw new LockstepError("incompatible", "Checkpoints hold little-endian numbers, and this machine is big-endian.");
}

export function assertId(id: string): void {
  assert(isPlainName(id), `a checkpoint's id is a plain name, not a path; got ${JSON.stringify(id)}`);
}

export function idTaken(location: string): LockstepError {
  return new LockstepError("internal", `A checkpoint is at ${location} already; it was not touched.`, {
    hint: "Ids are never used twice: write under a new one.",
  });
}

async function readState(reader: HashingReader, sizeBytes: number): Promise<() => unknown> {
  const bytes = new Uint8Array(sizeBytes);
  await reader.fill([bytes]);
  return () => decodeState(decodeText(bytes));
}

/** Of a file that nobody asks for what it means. */
async function readPast(reader: HashingReader, sizeBytes: number): Promise<() => void> {
  await reader.skipTo(sizeBytes);
  return () => {};
}

function decodeText(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new SyntaxError("it is not UTF-8", { cause });
  }
}
