/**
 * Data in object storage, `s3://bucket/key`: fetched once into the per-user cache, where an object is known by its key, its ETag and its
 * size, so that a changed one is another one. Credentials, region and endpoint are those of checkpoints.
 */
import { createHash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { LockstepError, messageOf } from "../../core/errors.ts";
import { matcher } from "../data/expand-paths.ts";
import { buildEntryOnce, type EntryFacts, markUsed } from "../system/cache.ts";
import { ObjectStore, type StoredObject } from "./object-store.ts";
import { codeOf, explained, type S3Place, statusOf } from "./s3-errors.ts";

/** Nothing is written; a request is made so often in all, when it fails in a way that may pass. */
const options = { partSizeBytes: 16 * 1024 * 1024, attempts: 4 };
const readBytes = 1 << 20;
const contentName = "object";
/** Of many small ones. */
const fetchedAtOnce = 16;

/** An object that a path of the job names. */
export interface DataObject extends StoredObject {
  /** As messages call it. */
  readonly address: string;
  readonly store: ObjectStore;
}

/** All objects below folders: those of `written`, or, with "*" in its last part, the folders that match. By their places there. */
export async function objectsBelow(written: string): Promise<ReadonlyMap<string, DataObject>> {
  const { bucket, key } = parsed(written.replace(/\/+$/, ""));
  const store = await ObjectStore.open({ bucket, prefix: "" }, options);
  const isPattern = key.includes("*");
  const root = isPattern ? key.slice(0, key.lastIndexOf("/") + 1) : `${key}/`;
  const isMeant = isPattern ? matcher(key.slice(root.length)) : () => true;
  const listed = await reading(store.place, written, () =>
    store.list(isPattern ? key.slice(0, key.indexOf("*")) : root),
  );
  const found = new Map<string, DataObject>();
  for (const object of listed) {
    const place = object.key.slice(root.length);
    const parts = place.split("/");
    // Objects whose keys end in a slash are folders to some programs; files beside the folders are nobody's.
    if (parts.length < 2 || parts.at(-1) === "" || !isMeant(parts[0]!)) continue;
    if (parts.some((part) => /^\.*$/.test(part))) continue;
    found.set(place, { ...object, store, address: `s3://${bucket}/${object.key}` });
  }
  if (found.size === 0) throw new LockstepError("invalid-data", `No object is in a folder that ${written} names.`);
  return found;
}

/** The objects that a path names, in the order of their keys' code units; "*" in its last part stands for any characters but a slash. */
export async function objectsAt(written: string): Promise<readonly DataObject[]> {
  const { bucket, key } = parsed(written);
  const store = await ObjectStore.open({ bucket, prefix: "" }, options);
  const begin = key.lastIndexOf("/") + 1;
  const name = key.slice(begin);
  if (!name.includes("*")) {
    const object = await reading(store.place, written, () => store.find(key));
    if (object === null) {
      throw new LockstepError("invalid-data", `There is no object ${written}.`, {
        hint: 'Look at the key; "*" in its last part stands for any characters.',
      });
    }
    return [{ ...object, store, address: written }];
  }
  const isMeant = matcher(name);
  const listed = await reading(store.place, written, () => store.list(key.slice(0, key.indexOf("*")), "/"));
  const found = listed.filter((object) => isMeant(object.key.slice(begin)));
  if (found.length === 0) throw new LockstepError("invalid-data", `No object matches ${written}.`);
  found.sort((a, b) => (a.key < b.key ? -1 : 1));
  return found.map((object) => ({ ...object, store, address: `s3://${bucket}/${object.key}` }));
}

/** The cache's name of an object, and the file with its bytes. */
export interface FetchedObject {
  readonly entry: string;
  readonly path: string;
}

/** Fetches an object that is not in the cache. */
export async function fetchObject(object: DataObject, kind: string): Promise<FetchedObject> {
  const { store, key, etag, sizeBytes, address } = object;
  const identity = { kind: "object", ...store.place, key, etag, sizeBytes };
  return fetched(object, { kind, identity, facts: { address, etag } }, (path) =>
    pipeline(piecesOf(object), createWriteStream(path, { flush: true })),
  );
}

/** The folder with all of them, each at its place. */
export async function fetchFolder(objects: ReadonlyMap<string, DataObject>, kind: string): Promise<FetchedObject> {
  const [first] = [...objects.values()] as [DataObject]; // there is one
  const { store, address } = first;
  const contents = [...objects].map(([place, { key, etag, sizeBytes }]) => [place, key, etag, sizeBytes]);
  const identity = { kind: "objects", ...store.place, contents };
  return fetched(first, { kind, identity, facts: { address } }, async (folder) => {
    const waiting = [...objects].values();
    const work = async () => {
      for (const [place, object] of waiting) {
        const path = join(folder, place);
        await mkdir(dirname(path), { recursive: true });
        await pipeline(piecesOf(object), createWriteStream(path));
      }
    };
    await Promise.all(Array.from({ length: fetchedAtOnce }, work));
  });
}

interface Fetching {
  readonly kind: string;
  /** What the cache knows it by. */
  readonly identity: object;
  readonly facts: EntryFacts;
}

/** @param fetch puts what is not in the cache at a path */
async function fetched(
  { store, address }: DataObject,
  { kind, identity, facts }: Fetching,
  fetch: (path: string) => Promise<void>,
): Promise<FetchedObject> {
  const entry = `${kind}/${createHash("sha256").update(JSON.stringify(identity)).digest("hex")}`;
  const { directory } = await reading(store.place, address, () =>
    buildEntryOnce(entry, async (folder) => {
      await fetch(join(folder, contentName));
      return facts;
    }),
  );
  await markUsed(directory);
  return { entry, path: join(directory, contentName) };
}

async function* piecesOf({ store, key, etag, sizeBytes, address }: DataObject): AsyncGenerator<Uint8Array> {
  const object = await store.open(key, etag);
  if (object === null) throw new LockstepError("invalid-data", `There is no object ${address} any more.`);
  try {
    for (let at = 0; ; ) {
      const piece = Buffer.alloc(readBytes);
      const count = await object.read([piece], at);
      if (count === 0 && at !== sizeBytes) throw changed(address);
      if (count === 0) return;
      at += count;
      yield piece.subarray(0, count);
    }
  } finally {
    await object.close();
  }
}

function parsed(written: string): { readonly bucket: string; readonly key: string } {
  const [, bucket, key] = /^s3:\/\/([A-Za-z0-9][A-Za-z0-9._-]{1,254})\/(.*[^/])$/is.exec(written) ?? [];
  if (bucket === undefined || key === undefined) {
    throw new LockstepError("invalid-data", `${written} names no object; expected s3://BUCKET/KEY.`, {
      hint: 'As in "s3://bucket/folder/part-*.csv".',
    });
  }
  if (key.slice(0, key.lastIndexOf("/") + 1).includes("*")) {
    throw new LockstepError("invalid-data", `The path ${written} has a "*" in the name of a folder.`, {
      hint: 'Only the last part may have one, as in "s3://bucket/folder/*.csv"; name the folders one by one.',
    });
  }
  return { bucket, key };
}

/** What keeps an object from being read is an "invalid-data" error that says what to do about data. */
async function reading<T>(place: S3Place, address: string, calls: () => Promise<T>): Promise<T> {
  try {
    return await calls();
  } catch (cause) {
    if (cause instanceof LockstepError) throw cause;
    if (statusOf(cause) === 412) throw changed(address);
    const { says, hint } = explained(place, cause) ?? { says: messageOf(cause).replace(/\.$/, ""), hint: null };
    const own = hints[codeOf(cause)] ?? (statusOf(cause) === 403 ? (hints.AccessDenied ?? null) : null);
    const said = own ?? hint;
    throw new LockstepError("invalid-data", `Cannot read ${address}: ${says}.`, {
      ...(said === null ? {} : { hint: said }),
      cause,
    });
  }
}

/** What of data is another thing to do than of checkpoints. */
const hints: Readonly<Record<string, string>> = {
  NoSuchBucket: "Name the bucket that has the data; AWS_ENDPOINT_URL names another service than AWS.",
  AccessDenied: "Allow these credentials s3:ListBucket on the bucket, and s3:GetObject in it.",
};

function changed(address: string): LockstepError {
  return new LockstepError("invalid-data", `${address} was changed while it was fetched.`, {
    hint: "Start again, and leave data alone meanwhile.",
  });
}
