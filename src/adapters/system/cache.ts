/**
 * What set-up fetches or builds lies in a per-user cache, shared by all checkouts and runs. An entry is a folder that is
 * either whole or not there: it is filled under `staging/`, its `entry.json` (facts, and the size of every file) is
 * written last, and one rename puts it in place. Two processes may build the same entry at the same time; the first one
 * done wins, and the other's is thrown away; or the second one waits, see `buildEntryOnce`. What a killed process leaves under `staging/` counts for nothing and is
 * swept by the next one that builds.
 */
import { createHash, randomUUID } from "node:crypto";
import { constants, rmSync } from "node:fs";
import { access, lstat, mkdir, readdir, readFile, rename, rm, stat, statfs, utimes, writeFile } from "node:fs/promises";
import { homedir, hostname } from "node:os";
import { dirname, join, relative } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { messageOf } from "../../core/errors.ts";

/** What a builder wants to be known about an entry without looking inside: a version, a path inside it. */
export type EntryFacts = Readonly<Record<string, string>>;

export interface CacheEntry {
  readonly directory: string;
  readonly facts: EntryFacts;
}

interface EntryRecord {
  readonly facts: EntryFacts;
  /** Size in bytes of every regular file, by its path inside the entry. */
  readonly files: Readonly<Record<string, number>>;
}

const recordName = "entry.json";
/** Longer than any set-up takes: what is older under `staging/` is a leftover, whoever made it. */
const leftoverAgeMs = 24 * 60 * 60 * 1_000;

/** `$XDG_CACHE_HOME/lockstep`, or `~/.cache/lockstep`; it need not exist. */
export function cacheDirectory(): string {
  const base = process.env.XDG_CACHE_HOME;
  return join(base === undefined || base === "" ? join(homedir(), ".cache") : base, "lockstep");
}

/** For whoever sweeps entries of a kind: those go first that were not used for the longest time. */
export async function markUsed(directory: string): Promise<void> {
  const now = new Date();
  await utimes(directory, now, now).catch(() => undefined); // in a cache that cannot be written nothing is swept
}

/** False in an image whose file system is read-only, and for a user who may not write there. */
export async function isCacheWritable(): Promise<boolean> {
  return access(await nearestFolder(cacheDirectory()), constants.W_OK).then(
    () => true,
    () => false,
  );
}

/** Where an entry lies or would lie. `name` is "kind/name", two levels, as everything under `staging/` is. */
export function entryDirectory(name: string): string {
  return join(cacheDirectory(), name);
}

/** A whole entry, or null: every file that was there when it was built is there with its size. */
export async function findEntry(name: string): Promise<CacheEntry | null> {
  const directory = entryDirectory(name);
  const record = await readRecord(directory);
  if (record === null) return null;
  const sizes = await Promise.all(
    Object.entries(record.files).map(async ([path, sizeBytes]) => {
      const found = await stat(join(directory, path)).catch(() => null);
      return found?.size === sizeBytes;
    }),
  );
  return sizes.every((same) => same) ? { directory, facts: record.facts } : null;
}

/**
 * The entry, built by `fill` if it is not there. `fill` gets the folder to fill, on the same level as the final one, and
 * a second folder for what is only needed meanwhile. When `fill` fails nothing is left, and its error is passed on.
 */
export async function buildEntry(
  name: string,
  fill: (directory: string, scratch: string) => Promise<EntryFacts>,
): Promise<CacheEntry> {
  const existing = await findEntry(name);
  if (existing !== null) return existing;
  return withStaging(async (staging) => {
    const scratch = `${staging}-scratch`;
    await mkdir(scratch);
    const facts = await fill(staging, scratch);
    await writeRecord(staging, facts);
    return publish(staging, name);
  });
}

/** Whoever builds and has written nothing for so long is not waited for. */
const mostSilentMs = 30_000;
const lookEveryMs = 100;

/**
 * As `buildEntry`, for what takes long and much room: while another process of this machine builds the same entry and gets on with
 * it, it is waited for. Whoever came first builds; when it fails, or is killed, the next one does.
 */
export async function buildEntryOnce(
  name: string,
  fill: (directory: string) => Promise<EntryFacts>,
  silentMs = mostSilentMs,
): Promise<CacheEntry> {
  const existing = await findEntry(name);
  if (existing !== null) return existing;
  const turn = `${Date.now().toString().padStart(15, "0")}-${randomUUID().slice(0, 8)}`;
  const queue = createHash("sha256").update(name).digest("hex").slice(0, 16);
  return withStaging(
    async (staging) => {
      await othersDone(dirname(staging), { turn, queue }, silentMs);
      const theirs = await findEntry(name);
      if (theirs !== null) return theirs;
      await writeRecord(staging, await fill(staging));
      return publish(staging, name);
    },
    [turn, queue],
  );
}

/** Until nobody of this machine who came earlier for the same entry gets on with it. */
async function othersDone(
  stagingRoot: string,
  { turn, queue }: { readonly turn: string; readonly queue: string },
  silentMs: number,
): Promise<void> {
  const seen = new Map<string, { readonly sizeBytes: number; readonly sinceMs: number }>();
  const isInTheWay = async (folder: string) => {
    const [host, pid, theirTurn = "", theirQueue] = folder.split("~");
    if (theirQueue !== queue || theirTurn >= turn || host !== hostname() || !isAlive(Number(pid))) return false;
    const sizeBytes = await folderSizeBytes(join(stagingRoot, folder));
    const before = seen.get(folder);
    if (before?.sizeBytes === sizeBytes) return performance.now() - before.sinceMs < silentMs;
    seen.set(folder, { sizeBytes, sinceMs: performance.now() });
    return true;
  };
  for (;;) {
    const folders = await readdir(stagingRoot).catch(() => []);
    const inTheWay = await Promise.all(folders.map(isInTheWay));
    if (!inTheWay.includes(true)) return;
    await sleep(lookEveryMs);
  }
}

/** Runs `work` with a fresh folder in the cache, and removes it (and its `-scratch`) whatever happens. */
async function withStaging<T>(
  work: (directory: string) => Promise<T>,
  words: readonly string[] = [randomUUID().slice(0, 8)],
): Promise<T> {
  const stagingRoot = join(cacheDirectory(), "staging");
  const directory = join(stagingRoot, [hostname(), process.pid, ...words].join("~"));
  await mkdir(directory, { recursive: true }).catch((error: unknown) => {
    throw new Error(`the cache folder ${cacheDirectory()} cannot be written to: ${messageOf(error)}`, { cause: error });
  });
  const removeNow = () => {
    rmSync(directory, { recursive: true, force: true });
    rmSync(`${directory}-scratch`, { recursive: true, force: true });
  };
  process.once("exit", removeNow);
  try {
    await sweepLeftovers(stagingRoot);
    return await work(directory);
  } finally {
    process.off("exit", removeNow);
    await rm(directory, { recursive: true, force: true });
    await rm(`${directory}-scratch`, { recursive: true, force: true });
  }
}

/** Throws when the cache's file system has less than this free, so that a set-up fails before its download. */
export async function requireFreeSpace(neededBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(await nearestFolder(cacheDirectory()));
  const freeBytes = bavail * bsize;
  if (freeBytes >= neededBytes) return;
  const gigabytes = (bytes: number) => (bytes / 1e9).toFixed(1);
  throw new Error(
    `needs ${gigabytes(neededBytes)} GB free in ${cacheDirectory()}, which has ${gigabytes(freeBytes)} GB`,
  );
}

/** The path itself or the nearest folder above it that exists. */
async function nearestFolder(path: string): Promise<string> {
  const exists = await stat(path).catch(() => null);
  return exists !== null || dirname(path) === path ? path : nearestFolder(dirname(path));
}

/** Sum of the sizes of all files below a folder; 0 if it is not there. Files that vanish meanwhile do not count. */
export async function folderSizeBytes(directory: string): Promise<number> {
  let sizeBytes = 0;
  for (const path of await listFiles(directory)) sizeBytes += (await lstat(path).catch(() => null))?.size ?? 0;
  return sizeBytes;
}

async function publish(staging: string, name: string): Promise<CacheEntry> {
  const target = entryDirectory(name);
  await mkdir(dirname(target), { recursive: true });
  for (;;) {
    try {
      await rename(staging, target);
    } catch (error) {
      if (!isOccupied(error)) throw error;
      const theirs = await findEntry(name);
      if (theirs !== null) return theirs;
      // What lies there is damaged. Out of the way with it, in one step, and try again.
      await rename(target, `${staging}-scratch/damaged-${randomUUID().slice(0, 8)}`).catch(() => {});
      continue;
    }
    const entry = await findEntry(name);
    if (entry === null) throw new Error(`${target} changed while it was being put in place`);
    return entry;
  }
}

function isOccupied(error: unknown): boolean {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return code === "ENOTEMPTY" || code === "EEXIST" || code === "ENOTDIR";
}

async function readRecord(directory: string): Promise<EntryRecord | null> {
  try {
    const record: unknown = JSON.parse(await readFile(join(directory, recordName), "utf8"));
    // Written by writeRecord and by nobody else; a damaged file fails to parse or lacks its fields.
    const { facts, files } = record as EntryRecord;
    return typeof facts === "object" && typeof files === "object" ? { facts, files } : null;
  } catch {
    return null;
  }
}

async function writeRecord(directory: string, facts: EntryFacts): Promise<void> {
  const files: Record<string, number> = {};
  for (const path of await listFiles(directory)) files[relative(directory, path)] = (await stat(path)).size;
  const record: EntryRecord = { facts, files };
  await writeFile(join(directory, recordName), JSON.stringify(record, null, 1), { flush: true });
}

/** Paths of all regular files below a folder; links are not followed. */
async function listFiles(directory: string): Promise<string[]> {
  const paths: string[] = [];
  for (const entry of await readdir(directory, { withFileTypes: true }).catch(() => [])) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) paths.push(...(await listFiles(path)));
    else if (entry.isFile()) paths.push(path);
  }
  return paths;
}

async function sweepLeftovers(stagingRoot: string): Promise<void> {
  for (const name of await readdir(stagingRoot).catch(() => [])) {
    const path = join(stagingRoot, name);
    const [host, pid] = name.split("~");
    const ageMs = Date.now() - ((await stat(path).catch(() => null))?.mtimeMs ?? Date.now());
    const ownerIsGone = host === hostname() && !isAlive(Number(pid));
    if (ownerIsGone || ageMs > leftoverAgeMs) await rm(path, { recursive: true, force: true }).catch(() => {});
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}
