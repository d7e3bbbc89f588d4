import { createHash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { messageOf } from "../../core/errors.ts";
import { formatMegabytes, type Say, withProgress } from "./progress.ts";

export interface DownloadOptions {
  /** Where the file is written; whatever is there is overwritten. */
  readonly destination: string;
  /** Hexadecimal SHA-256 that the file must have, or null where none is published. */
  readonly sha256: string | null;
  /** What is being downloaded, in a progress line. */
  readonly label: string;
  readonly say: Say;
}

/** A server that says nothing for this long is taken for dead. */
const silenceMs = 30_000;

/**
 * Downloads one file over HTTP(S). Throws an Error with a one-line message that names the address: an unreachable host,
 * an answer other than 200, a connection that breaks or falls silent, or bytes that are not the expected ones.
 */
export async function download(url: string, options: DownloadOptions): Promise<void> {
  const { destination, label, say } = options;
  const abort = new AbortController();
  let silence = setTimeout(() => abort.abort(), silenceMs);
  const stillThere = () => {
    clearTimeout(silence);
    silence = setTimeout(() => abort.abort(), silenceMs);
  };
  let receivedBytes = 0;
  let totalBytes: number | null = null;
  const hash = createHash("sha256");
  const receive = async () => {
    const response = await fetch(url, { signal: abort.signal, redirect: "follow" });
    if (response.status !== 200 || response.body === null) throw new Error(`the server answered ${response.status}`);
    totalBytes = Number(response.headers.get("content-length")) || null;
    const count = new Transform({
      transform(chunk: Buffer, _encoding, done) {
        stillThere();
        receivedBytes += chunk.length;
        hash.update(chunk);
        done(null, chunk);
      },
    });
    await pipeline(Readable.fromWeb(response.body), count, createWriteStream(destination));
  };
  const describe = () => `${label}: ${formatMegabytes(receivedBytes, totalBytes)}`;
  try {
    await withProgress(say, describe, receive());
  } catch (error) {
    const reason = abort.signal.aborted ? `no data for ${silenceMs / 1_000} s` : rootMessage(error);
    throw new Error(`${url} cannot be downloaded: ${reason}`, { cause: error });
  } finally {
    clearTimeout(silence);
  }
  const digest = hash.digest("hex");
  if (options.sha256 !== null && digest !== options.sha256) {
    throw new Error(`${url} has SHA-256 ${digest}, expected ${options.sha256}`);
  }
}

/** `fetch` says only "fetch failed"; the reason is its cause. */
function rootMessage(error: unknown): string {
  let current = error;
  while (current instanceof Error && current.cause !== undefined) current = current.cause;
  return messageOf(current);
}
