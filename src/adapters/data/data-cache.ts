/**
 * Decoded samples in the per-user cache, by what they were decoded from: made once, whole or not there, and shared by all
 * processes. The ones that were used least recently go when all together take too much.
 */
import { createHash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { readdir, rm, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import { finished } from "node:stream/promises";
import { once } from "node:events";
import { LockstepError, messageOf } from "../../core/errors.ts";
import { buildEntry, type CacheEntry, entryDirectory, findEntry, folderSizeBytes } from "../system/cache.ts";
import { FileRows, MemoryRows, type RowStore } from "./row-store.ts";

/** What decoded samples may take of the cache, all together. */
const mostCacheBytes = 64 * 2 ** 30;
const kind = "data";
const rowsName = "rows";

/** The rows of a data set, and what else is known of it, as text. */
export interface KeptRows {
  readonly rows: RowStore;
  readonly facts: Readonly<Record<string, string>>;
}

/** A decoder's product: rows as they come, of one length, and at the end facts. */
export type RowProducer = (add: (rows: Uint8Array) => void | Promise<void>) => Promise<{ facts: KeptRows["facts"] }>;

/** Thrown by `add` to end a decoder whose rows are too many for memory. */
class TooMany extends Error {}

export interface KeepOptions {
  /** Rows that take more are in the cache, and read from there. */
  readonly memoryBytes: number;
  /** Whether they are worth a place in the cache also where memory would do: decoding takes long. */
  readonly isCostly: boolean;
  /** What messages call the data. */
  readonly name: string;
}

/**
 * The rows that `produce` makes; from the cache, where `key` has been decoded before. `key` names all that decides them.
 * A cache that cannot be written to is no error while memory suffices.
 */
export async function keepRows(
  key: object,
  rowBytes: number,
  produce: RowProducer,
  { memoryBytes, isCostly, name }: KeepOptions,
): Promise<KeptRows> {
  const entry = `${kind}/${createHash("sha256").update(JSON.stringify(key)).digest("hex")}`;
  const found = await findEntry(entry);
  if (found) return opened(found, rowBytes, memoryBytes);
  if (!isCostly) {
    const inMemory = await produceInMemory(rowBytes, produce, memoryBytes);
    if (inMemory !== null) return inMemory;
  }
  try {
    const built = await buildEntry(entry, async (directory) => {
      const stream = createWriteStream(join(directory, rowsName), { flush: true });
      const failed = finished(stream);
      failed.catch(() => undefined); // said below
      let count = 0;
      const { facts } = await produce(async (rows) => {
        count += rows.length / rowBytes;
        // A copy: whoever made the rows may use their memory again.
        if (!stream.write(rows.slice())) await Promise.race([once(stream, "drain"), failed]);
      });
      stream.end();
      await failed;
      return { ...facts, count: String(count) };
    });
    await sweep(entry);
    return await opened(built, rowBytes, memoryBytes);
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
  try {
    const { facts } = await produce((more) => {
      if (rows.sizeBytes + more.length > memoryBytes) throw new TooMany();
      rows.append(more);
    });
    return { rows, facts };
  } catch (error) {
    if (error instanceof TooMany) return null;
    throw error;
  }
}

async function opened({ directory, facts }: CacheEntry, rowBytes: number, memoryBytes: number): Promise<KeptRows> {
  const { count, ...others } = facts;
  const file = new FileRows(join(directory, rowsName), rowBytes, Number(count));
  const now = new Date();
  await utimes(directory, now, now).catch(() => undefined); // it is used
  if (file.count * rowBytes > memoryBytes) return { rows: file, facts: others };
  const rows = new MemoryRows(rowBytes);
  const row = new Uint8Array(rowBytes);
  for (let i = 0; i < file.count; i++) {
    file.read(i, row);
    rows.append(row);
  }
  return { rows, facts: others };
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
