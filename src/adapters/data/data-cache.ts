/**
 * Decoded samples in the per-user cache, by what they were decoded from: made once, whole or not there, and shared by all
 * processes. The ones that were used least recently go when all together take too much. Rows that are read into memory are compared
 * with what was written. Those that stay in their file are not: that would read all of it at every start, up to 64 GiB, for
 * rows that the system's own checks cover as they do any file's.
 */
import { createHash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { readdir, rm, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import { finished } from "node:stream/promises";
import { once } from "node:events";
import { LockstepError, messageOf } from "../../core/errors.ts";
import { buildEntry, type CacheEntry, entryDirectory, findEntry, folderSizeBytes } from "../system/cache.ts";
import { withFile } from "./byte-source.ts";
import { FileRows, MemoryRows, type RowStore } from "./row-store.ts";

/** What decoded samples may take of the cache, all together. */
const mostCacheBytes = 64 * 2 ** 30;
/** Raised by whoever changes what lockstep's own code makes of the same bytes: rows that were decoded before are no longer found. */
const decoding = 1;
const kind = "data";
const rowsName = "rows";
/** Read from an entry at once, or one row that is larger. */
const readBytes = 1 << 20;

/** The rows of a data set, and the hash of all of them, in hexadecimal. */
interface KeptRows {
  readonly rows: RowStore;
  readonly sha256: string;
}

/** A decoder: gives rows as they come, of one length. */
export type RowProducer = (add: (rows: Uint8Array) => void | Promise<void>) => Promise<void>;

/** Thrown by `add` to end a decoder whose rows are too many for memory. */
class TooMany extends Error {}

interface KeepOptions {
  /** Rows that take more are in the cache, and read from there. */
  readonly memoryBytes: number;
  /** Whether they are worth a place in the cache also where memory would do: decoding takes long. */
  readonly isCostly: boolean;
  /** What messages call the data. */
  readonly name: string;
}

/**
 * The rows that `produce` makes; from the cache, where `key` has been decoded before. `key` names all that decides them,
 * but for lockstep's own code.
 * A cache that cannot be written to is no error while memory suffices.
 */
export async function keepRows(
  key: object,
  rowBytes: number,
  produce: RowProducer,
  { memoryBytes, isCostly, name }: KeepOptions,
): Promise<KeptRows> {
  const entry = `${kind}/${createHash("sha256")
    .update(JSON.stringify({ ...key, decoding }))
    .digest("hex")}`;
  const found = await findEntry(entry);
  const kept = found && (await opened(found, rowBytes, memoryBytes));
  if (kept !== null) return kept;
  if (found !== null) await rm(found.directory, { recursive: true, force: true }).catch(() => undefined);
  if (!isCostly) {
    const inMemory = await produceInMemory(rowBytes, produce, memoryBytes);
    if (inMemory !== null) return inMemory;
  }
  try {
    const built = await buildEntry(entry, async (directory) => {
      const stream = createWriteStream(join(directory, rowsName), { flush: true });
      const failed = finished(stream);
      failed.catch(() => undefined); // said below
      const hash = createHash("sha256");
      let count = 0;
      await produce(async (rows) => {
        count += rows.length / rowBytes;
        hash.update(rows);
        // A copy: whoever made the rows may use their memory again.
        if (!stream.write(rows.slice())) await Promise.race([once(stream, "drain"), failed]);
      });
      stream.end();
      await failed;
      return { count: String(count), sha256: hash.digest("hex") };
    });
    await sweep(entry);
    const made = await opened(built, rowBytes, memoryBytes);
    if (made === null) throw new Error(`${built.directory} is not what was written to it`);
    return made;
  } catch (error) {
    if (error instanceof LockstepError) throw error;
    const inMemory = isCostly ? await produceInMemory(rowBytes, produce, memoryBytes) : null;
    if (inMemory !== null) return inMemory;
    throw new LockstepError(
      "invalid-data",
      `${name} decodes to more than the ${memoryBytes} bytes that may be in memory, and cannot be decoded into the cache: ${messageOf(error)}`,
      { hint: "Let XDG_CACHE_HOME name a folder with room for it, where this user may write.", cause: error },
    );
  }
}

async function produceInMemory(rowBytes: number, produce: RowProducer, memoryBytes: number): Promise<KeptRows | null> {
  const rows = new MemoryRows(rowBytes);
  const hash = createHash("sha256");
  try {
    await produce((more) => {
      if (rows.sizeBytes + more.length > memoryBytes) throw new TooMany();
      rows.append(more);
      hash.update(more);
    });
    return { rows, sha256: hash.digest("hex") };
  } catch (error) {
    if (error instanceof TooMany) return null;
    throw error;
  }
}

/** Null where the rows are not those that were written. */
async function opened(
  { directory, facts }: CacheEntry,
  rowBytes: number,
  memoryBytes: number,
): Promise<KeptRows | null> {
  const { count, sha256 } = facts;
  if (sha256 === undefined) return null;
  const file = join(directory, rowsName);
  const now = new Date();
  await utimes(directory, now, now).catch(() => undefined); // it is used
  const sizeBytes = Number(count) * rowBytes;
  if (sizeBytes > memoryBytes) return { rows: new FileRows(file, rowBytes, Number(count)), sha256 };
  const rows = new MemoryRows(rowBytes);
  const hash = createHash("sha256");
  await withFile(file, async (source) => {
    const stepBytes = rowBytes * Math.max(1, Math.floor(readBytes / rowBytes));
    for (let at = 0; at < sizeBytes; at += stepBytes) {
      const read = await source.read(at, Math.min(at + stepBytes, sizeBytes));
      rows.append(read);
      hash.update(read);
    }
  });
  return hash.digest("hex") === sha256 ? { rows, sha256 } : null;
}

/** A process that reads an entry goes on reading it when it is swept. */
async function sweep(newest: string): Promise<void> {
  const names = await readdir(entryDirectory(kind)).catch(() => []);
  const entries = await Promise.all(
    names.map(async (name) => {
      const directory = entryDirectory(`${kind}/${name}`);
      const usedMs = (await stat(directory).catch(() => null))?.mtimeMs ?? 0;
      return { name: `${kind}/${name}`, directory, usedMs, sizeBytes: await folderSizeBytes(directory) };
    }),
  );
  let total = entries.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  for (const { name, directory, sizeBytes } of entries.sort((a, b) => a.usedMs - b.usedMs)) {
    if (total <= mostCacheBytes || name === newest) return;
    await rm(directory, { recursive: true, force: true }).catch(() => undefined);
    total -= sizeBytes;
  }
}
