/**
 * The few calls to object storage that checkpoints need. An object is made once: every write carries `If-None-Match: *`,
 * and whoever comes second is refused. A request that is repeated because its answer was lost is refused too, so each
 * object carries a mark by which its writer knows it again.
 */
import { setTimeout } from "node:timers/promises";
import type { _Object, S3Client } from "@aws-sdk/client-s3";
import { LockstepError } from "../../core/errors.ts";
import type { OpenFile } from "../fs/file-system.ts";
import type { S3Location } from "./location.ts";
import { ObjectReader } from "./object-reader.ts";
import { codeOf, isAbsentObject, type S3Place, statusOf } from "./s3-errors.ts";

type Sdk = typeof import("@aws-sdk/client-s3");

/** What the service says of an object without giving it. */
export interface StoredObject {
  readonly key: string;
  /** Another one when the object has become another. */
  readonly etag: string;
  readonly sizeBytes: number;
}

export interface ObjectStoreOptions {
  /** Larger objects are written in parts of this size; services take no smaller ones than 5 MiB. */
  readonly partSizeBytes: number;
  /** How often a request is made in all, when it fails in a way that may pass. */
  readonly attempts: number;
}

const partsAtOnce = 4;
/** Services take no more parts of one object. */
const maximumPartCount = 10_000;
const markName = "lockstep-writer";
/** A write at the same time as another one of the same object may be told to come again. */
const conflictPausesMs = [100, 400, 1600];

const transport = {
  // Everything is read back and compared by its SHA-256; and many services know no other checksums.
  requestChecksumCalculation: "WHEN_REQUIRED",
  responseChecksumValidation: "WHEN_REQUIRED",
  requestHandler: {
    connectionTimeout: 5_000,
    socketTimeout: 30_000,
    requestTimeout: 120_000,
    throwOnRequestTimeout: true,
  },
} as const;

export class ObjectStore {
  readonly place: S3Place;
  readonly #sdk: Sdk;
  readonly #client: S3Client;
  readonly #options: ObjectStoreOptions;

  private constructor(sdk: Sdk, client: S3Client, place: S3Place, options: ObjectStoreOptions) {
    this.#sdk = sdk;
    this.#client = client;
    this.place = place;
    this.#options = options;
  }

  /** Credentials, region and endpoint are looked for where every AWS tool looks. Nothing is asked of the service yet. */
  static async open({ bucket }: S3Location, options: ObjectStoreOptions): Promise<ObjectStore> {
    // It tells when it will need a newer Node; a user of lockstep can do nothing about it.
    process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= "true";
    const sdk = await import("@aws-sdk/client-s3");
    const region = process.env.AWS_REGION || process.env.AWS_DEFAULT_REGION;
    const settings = { ...transport, maxAttempts: options.attempts, ...(region ? { region } : {}) };
    const asking = new sdk.S3Client(settings);
    const endpoint = (await asking.config.serviceConfiguredEndpoint?.()) ?? null;
    const known = region ?? (await asking.config.region().catch(() => null));
    asking.destroy();
    if (known === null && endpoint === null) {
      throw new LockstepError("usage", `It is not known in which region the bucket "${bucket}" is.`, {
        hint: "Let AWS_REGION name it; or AWS_ENDPOINT_URL a service that is not AWS itself.",
      });
    }
    const client = new sdk.S3Client({
      ...settings,
      region: known ?? "us-east-1",
      // Other services have no host name for each bucket.
      forcePathStyle: endpoint !== null,
    });
    return new ObjectStore(sdk, client, { bucket, endpoint: endpoint && withoutSecrets(endpoint) }, options);
  }

  /** Whether any key begins with this. */
  async hasAny(prefix: string): Promise<boolean> {
    const command = new this.#sdk.ListObjectsV2Command({ Bucket: this.place.bucket, Prefix: prefix, MaxKeys: 1 });
    return ((await this.#client.send(command)).Contents ?? []).length > 0;
  }

  async keys(prefix: string): Promise<readonly string[]> {
    return (await this.list(prefix)).map(({ key }) => key);
  }

  /** With `delimiter`, only those whose keys have none behind the prefix. */
  async list(prefix: string, delimiter?: string): Promise<readonly StoredObject[]> {
    const found: StoredObject[] = [];
    const pages = this.#pages({ Prefix: prefix, ...(delimiter === undefined ? {} : { Delimiter: delimiter }) });
    for await (const page of pages) for (const object of page.Contents ?? []) found.push(storedObject(object));
    return found;
  }

  /** Null where there is no such object in the bucket. */
  async find(key: string): Promise<StoredObject | null> {
    // An answer to HEAD has no words for what is wrong; a listing has. The key itself comes before all that begin with it.
    const command = new this.#sdk.ListObjectsV2Command({ Bucket: this.place.bucket, Prefix: key, MaxKeys: 1 });
    const [first] = (await this.#client.send(command)).Contents ?? [];
    return first?.Key === key ? storedObject(first) : null;
  }

  /** What comes between `prefix` and the next slash, of all keys that have one. */
  async folders(prefix: string): Promise<readonly string[]> {
    const found: string[] = [];
    for await (const page of this.#pages({ Prefix: prefix, Delimiter: "/" })) {
      for (const { Prefix } of page.CommonPrefixes ?? []) if (Prefix) found.push(Prefix.slice(prefix.length, -1));
    }
    return found;
  }

  /** Null where there is no such object. With `wanted`, its ETag, one that has become another is refused (412). */
  open(key: string, wanted?: string): Promise<OpenFile | null> {
    return ObjectReader.open(async (begin, etag = wanted) => {
      const command = new this.#sdk.GetObjectCommand({
        ...{ Bucket: this.place.bucket, Key: key },
        ...(etag === undefined ? {} : { IfMatch: etag }),
        ...(begin > 0 ? { Range: `bytes=${begin}-` } : {}),
      });
      try {
        return await this.#client.send(command);
      } catch (error) {
        if (begin === 0 && isAbsentObject(error)) return null;
        throw error;
      }
    });
  }

  /** Absent ones are no error. */
  async remove(key: string): Promise<void> {
    try {
      await this.#client.send(new this.#sdk.DeleteObjectCommand({ Bucket: this.place.bucket, Key: key }));
    } catch (error) {
      if (!isAbsentObject(error)) throw error;
    }
  }

  /** Removes an object if it carries this mark. Objects are never written over, so it is the one that was looked at. */
  async removeOwn(key: string, mark: string): Promise<void> {
    if ((await this.#markOf(key)) === mark) await this.remove(key);
  }

  /** Writes an object that is not there yet; false, and nothing is changed, if somebody else has. The mark is the writer's. */
  async create(key: string, parts: readonly Uint8Array[], mark: string): Promise<boolean> {
    const sizeBytes = parts.reduce((sum, { length }) => sum + length, 0);
    const isLarge = sizeBytes > this.#options.partSizeBytes;
    return isLarge ? this.#createInParts(key, parts, sizeBytes, mark) : this.#createAtOnce(key, parts, mark);
  }

  #createAtOnce(key: string, parts: readonly Uint8Array[], mark: string): Promise<boolean> {
    const body = Buffer.concat(parts);
    return this.#conditionally(key, mark, () =>
      this.#client.send(
        new this.#sdk.PutObjectCommand({
          ...{ Bucket: this.place.bucket, Key: key, Body: body, ContentLength: body.length, IfNoneMatch: "*" },
          Metadata: { [markName]: mark },
        }),
      ),
    );
  }

  async #createInParts(key: string, parts: readonly Uint8Array[], sizeBytes: number, mark: string): Promise<boolean> {
    const object = { Bucket: this.place.bucket, Key: key };
    const begin = new this.#sdk.CreateMultipartUploadCommand({ ...object, Metadata: { [markName]: mark } });
    const { UploadId } = await this.#client.send(begin);
    const upload = { ...object, UploadId };
    try {
      const partSizeBytes = Math.max(this.#options.partSizeBytes, Math.ceil(sizeBytes / maximumPartCount));
      const done = await this.#uploadParts(upload, chunksOf(parts, partSizeBytes));
      const Parts = done.map((ETag, i) => ({ ETag, PartNumber: i + 1 }));
      const isOurs = await this.#conditionally(key, mark, () =>
        this.#client.send(
          new this.#sdk.CompleteMultipartUploadCommand({ ...upload, IfNoneMatch: "*", MultipartUpload: { Parts } }),
        ),
      );
      if (!isOurs) await this.#abort(upload);
      return isOurs;
    } catch (error) {
      await this.#abort(upload);
      throw error;
    }
  }

  async #uploadParts(
    upload: { Bucket: string; Key: string; UploadId: string | undefined },
    chunks: Iterator<Uint8Array>,
  ): Promise<readonly (string | undefined)[]> {
    const tags: (string | undefined)[] = [];
    let count = 0;
    let failed = false;
    const work = async () => {
      for (let next = chunks.next(); !next.done && !failed; next = chunks.next()) {
        count += 1;
        const PartNumber = count;
        const Body = next.value;
        const command = new this.#sdk.UploadPartCommand({ ...upload, PartNumber, Body, ContentLength: Body.length });
        tags[PartNumber - 1] = (await this.#client.send(command)).ETag;
      }
    };
    const workers = Array.from({ length: partsAtOnce }, () =>
      work().catch((error: unknown) => {
        failed = true;
        throw error;
      }),
    );
    // All of them, so that no part arrives after the upload was given up.
    const outcomes = await Promise.allSettled(workers);
    for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
    return tags;
  }

  async #abort(upload: { Bucket: string; Key: string; UploadId: string | undefined }): Promise<void> {
    // It takes space until the bucket's own rule removes it, and does no other harm.
    await this.#client.send(new this.#sdk.AbortMultipartUploadCommand(upload)).catch(() => undefined);
  }

  /** Makes the object by `write`; false if somebody else has. */
  async #conditionally(key: string, mark: string, write: () => Promise<unknown>): Promise<boolean> {
    for (let attempt = 0; ; attempt += 1) {
      try {
        await write();
        return true;
      } catch (error) {
        const pauseMs = conflictPausesMs[attempt];
        if (statusOf(error) === 409 && pauseMs !== undefined) {
          await setTimeout(pauseMs);
          continue;
        }
        const isTaken = statusOf(error) === 412;
        if (!isTaken && codeOf(error) !== "NoSuchUpload") throw error;
        if ((await this.#markOf(key)) === mark) return true;
        if (isTaken) return false;
        throw error;
      }
    }
  }

  async #markOf(key: string): Promise<string | null> {
    try {
      const command = new this.#sdk.HeadObjectCommand({ Bucket: this.place.bucket, Key: key });
      return (await this.#client.send(command)).Metadata?.[markName] ?? null;
    } catch (error) {
      if (isAbsentObject(error)) return null;
      throw error;
    }
  }

  #pages(input: { Prefix: string; Delimiter?: string }) {
    return this.#sdk.paginateListObjectsV2({ client: this.#client }, { Bucket: this.place.bucket, ...input });
  }
}

function storedObject({ Key = "", ETag = "", Size = 0 }: _Object): StoredObject {
  return { key: Key, etag: ETag, sizeBytes: Size };
}

/** The parts' bytes in one row, cut into pieces of this size; each is a copy, since requests may be repeated. */
function* chunksOf(parts: readonly Uint8Array[], sizeBytes: number): Generator<Uint8Array, undefined> {
  let pieces: Uint8Array[] = [];
  let roomBytes = sizeBytes;
  for (const part of parts) {
    for (let begin = 0; begin < part.length; ) {
      const piece = part.subarray(begin, begin + roomBytes);
      pieces.push(piece);
      begin += piece.length;
      roomBytes -= piece.length;
      if (roomBytes > 0) continue;
      yield Buffer.concat(pieces);
      pieces = [];
      roomBytes = sizeBytes;
    }
  }
  if (pieces.length > 0) yield Buffer.concat(pieces);
}

function withoutSecrets(endpoint: string): string {
  return URL.canParse(endpoint) ? new URL(endpoint).origin : "the configured endpoint";
}
