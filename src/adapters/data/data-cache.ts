/**
 * Decoded samples in the per-user cache, by what they were decoded from: made once, whole or not there, and shared by all
 * processes. The ones that were used least recently go when all together take too much. Rows that are read into memory are compared
 * with what was written. Those that stay in their file are not: that would read all of it at every start, up to 64 GiB, for
 * rows that the system's own checks cover as they do any file's.
 */
import { createHash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { open, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { finished } from "node:stream/promises";
import { once } from "node:events";
import { LockstepError, messageOf } from "../../core/errors.ts";
import {
  buildEntryOnce,
  type CacheEntry,
  entryDirectory,
  findEntry,
  folderSizeBytes,
  markUsed,
} from "../system/cache.ts";
import { FileRows, MemoryRows, type RowStore } from "./row-store.ts";

/** What decoded samples may take of the cache, all together. */
const mostCacheBytes = 64 * 2 ** 30;
/** Raised by whoever changes what lockstep's own code makes of the same bytes: rows that were decoded before are no longer found. */
const decoding = 1;
/** Of all entries that data are in. */
export const dataKind = "data";
const rowsName = "rows";
const aboutName = "about.json";

/** The rows of a data set, the hash of all of them, in hexadecimal, and what else their decoder found. */
interface KeptRows<About> {
  readonly rows: RowStore;
  readonly sha256: string;
  readonly about: About;
}

/** What a decoder knows once it has given all rows. */
export interface Decoded<About> {
  /** JSON that is kept with the rows. */
  readonly about: About;
  /** Changes rows, some whole ones at a time, into what they are to be; null where they are that already. */
  readonly finish: ((rows: Uint8Array) => void) | null;
}

/** A decoder: gives rows as they come, of one length. */
export type RowProducer<About = null> = (add: (rows: Uint8Array) => void | Promise<void>) => Promise<Decoded<About>>;

/** Of a decoder that has nothing to say but rows. */
export const nothingElse: Decoded<null> = { about: null, finish: null };

/** Thrown by `add` to end a decoder whose rows are too many for memory. */
class TooMany extends Error {}

interface KeepOptions {
  /** Rows that take more are in the cache, and read from there. */
  readonly memoryBytes: number;
  /** Whether they are worth a place in the cache also where memory would do: decoding takes long. */
  readonly isCostly: boolean;
  /** What messages call the data. */
  readonly name: string;
  /** The rows are no more than this: what memory has room for anyway is not looked for in the cache. */
  readonly mostBytes?: number;
  /** What the rows seem to take: where it is too much for memory, that is not tried first. */
  readonly expectedBytes?: number;
}

/**
 * The rows that `produce` makes; from the cache, where `key` has been decoded before. `key` names all that decides them,
 * but for lockstep's own code.
 * A cache that cannot be written to is no error while memory suffices.
 */
export async function keepRows<About>(
  key: object,
  rowBytes: number,
  produce: RowProducer<About>,
  { memoryBytes, isCostly, name, mostBytes = Number.POSITIVE_INFINITY, expectedBytes = 0 }: KeepOptions,
): Promise<KeptRows<About>> {
  if (!isCostly && mostBytes <= memoryBytes) {
    const inMemory = await produceInMemory(rowBytes, produce, memoryBytes, mostBytes);
    if (inMemory !== null) return inMemory;
  }
  const entry = `${dataKind}/${createHash("sha256")
    .update(JSON.stringify({ ...key, decoding }))
    .digest("hex")}`;
  const found = await findEntry(entry);
  const kept = found && (await opened<About>(found, rowBytes, memoryBytes));
  if (kept !== null) return kept;
  if (found !== null) await rm(found.directory, { recursive: true, force: true }).catch(() => undefined);
  const isCachedFirst = isCostly || expectedBytes > memoryBytes;
  if (!isCachedFirst) {
    const inMemory = await produceInMemory(rowBytes, produce, memoryBytes);
    if (inMemory !== null) return inMemory;
  }
  try {
    const built = await buildEntryOnce(entry, (directory) => produceInto(directory, rowBytes, produce));
    await sweepData([entry]);
    const made = await opened<About>(built, rowBytes, memoryBytes);
    if (made === null) throw new Error(`${built.directory} is not what was written to it`);
    return made;
  } catch (error) {
    if (error instanceof LockstepError) throw error;
    const inMemory = isCachedFirst ? await produceInMemory(rowBytes, produce, memoryBytes) : null;
    if (inMemory !== null) return inMemory;
    throw new LockstepError(
      "invalid-data",
      `${name} decodes to more than the ${memoryBytes} bytes that may be in memory, and cannot be decoded into the cache: ${messageOf(error)}`,
      { hint: "Let XDG_CACHE_HOME name a folder with room for it, where this user may write.", cause: error },
    );
  }
}

async function produceInMemory<About>(
  rowBytes: number,
  produce: RowProducer<About>,
  memoryBytes: number,
  mostBytes = Number.POSITIVE_INFINITY,
): Promise<KeptRows<About> | null> {
  const rows = new MemoryRows(rowBytes, Math.ceil(mostBytes / rowBytes));
  try {
    const { about, finish } = await produce((more) => {
      if (rows.sizeBytes + more.length > memoryBytes) throw new TooMany();
      rows.append(more);
    });
    if (finish !== null) for (const piece of rows.pieces()) finish(piece);
    return { rows, sha256: sha256Of(rows), about };
  } catch (error) {
    if (error instanceof TooMany) return null;
    throw error;
  }
}

/** Fills an entry. */
async function produceInto<About>(
  directory: string,
  rowBytes: number,
  produce: RowProducer<About>,
): Promise<Readonly<Record<string, string>>> {
  const file = join(directory, rowsName);
  const stream = createWriteStream(file, { flush: true });
  const failed = finished(stream);
  failed.catch(() => undefined); // said below
  let sizeBytes = 0;
  const { about, finish } = await produce(async (rows) => {
    sizeBytes += rows.length;
    // A copy: whoever made the rows may use their memory again.
    if (!stream.write(rows.slice())) await Promise.race([once(stream, "drain"), failed]);
  });
  stream.end();
  await failed;
  const rows = new FileRows(file, rowBytes, sizeBytes / rowBytes);
  if (finish !== null) await finishRows(file, rows, finish);
  if (about !== null) await writeFile(join(directory, aboutName), JSON.stringify(about), { flush: true });
  return { count: String(rows.count), sha256: sha256Of(rows) };
}

async function finishRows(file: string, rows: FileRows, finish: (rows: Uint8Array) => void): Promise<void> {
  const handle = await open(file, "r+");
  try {
    let at = 0;
    for (const piece of rows.pieces()) {
      finish(piece);
      await handle.write(piece, 0, piece.length, at);
      at += piece.length;
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function sha256Of(rows: RowStore): string {
  const hash = createHash("sha256");
  for (const piece of rows.pieces()) hash.update(piece);
  return hash.digest("hex");
}

/** Null where the rows are not those that were written. */
async function opened<About>(
  { directory, facts }: CacheEntry,
  rowBytes: number,
  memoryBytes: number,
): Promise<KeptRows<About> | null> {
  const { count, sha256 } = facts;
  if (sha256 === undefined) return null;
  await markUsed(directory);
  const about = await aboutIn<About>(directory).catch(() => undefined);
  if (about === undefined) return null;
  const onDisk = new FileRows(join(directory, rowsName), rowBytes, Number(count));
  if (Number(count) * rowBytes > memoryBytes) return { rows: onDisk, sha256, about };
  const rows = new MemoryRows(rowBytes);
  for (const piece of onDisk.pieces()) rows.append(piece);
  return sha256Of(rows) === sha256 ? { rows, sha256, about } : null;
}

/** What this module wrote there, or nothing: an entry is whole or not there. */
async function aboutIn<About>(directory: string): Promise<About> {
  const text = await readFile(join(directory, aboutName), "utf8").catch(() => "null");
  return JSON.parse(text) as About; // the key names who wrote it
}

/** Keeps these entries. A process that reads an entry goes on reading it when it is swept. */
export async function sweepData(kept: readonly string[]): Promise<void> {
  const names = await readdir(entryDirectory(dataKind)).catch(() => []);
  const entries = await Promise.all(
    names.map(async (name) => {
      const directory = entryDirectory(`${dataKind}/${name}`);
      const usedMs = (await stat(directory).catch(() => null))?.mtimeMs ?? 0;
      return { name: `${dataKind}/${name}`, directory, usedMs, sizeBytes: await folderSizeBytes(directory) };
    }),
  );
  let total = entries.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  for (const { name, directory, sizeBytes } of entries.sort((a, b) => a.usedMs - b.usedMs)) {
    if (total <= mostCacheBytes) return;
    if (kept.includes(name)) continue;
    await rm(directory, { recursive: true, force: true }).catch(() => undefined);
    total -= sizeBytes;
  }
}
