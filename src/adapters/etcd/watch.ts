import type { IRequestStream, IWatchRequest, IWatchResponse } from "etcd3";
import type { Clock } from "../../ports/clock.ts";
import type { Log } from "../../ports/log.ts";
import { reasonOf } from "./errors.ts";
import { prefixRange } from "./requests.ts";

/** A stream of etcd3's that watches. */
export interface WatchStream extends IRequestStream<IWatchRequest> {
  on(event: "data", listener: (response: WatchResponse) => void): unknown;
  on(event: "end", listener: () => void): unknown;
  on(event: "error", listener: (error: Error) => void): unknown;
}

export type WatchResponse = Pick<IWatchResponse, "created" | "canceled" | "cancel_reason" | "compact_revision">;

/** What the loop needs of a connection to etcd. */
export interface WatchConnection {
  readonly client: { readonly watchClient: { watch(): Promise<WatchStream> } };
  readonly lost: AbortSignal;
}

/** Connections to etcd, one at a time; `Of` is what they are. */
export interface WatchConnections<Of extends WatchConnection> {
  reach(): Promise<Of>;
  giveUp(connection: Of, reason: string): void;
}

export interface WatchLoopOptions<Of extends WatchConnection> {
  readonly connections: WatchConnections<Of>;
  readonly prefix: string;
  readonly hint: () => void;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
}

const firstRetryMs = 20;
const longestRetryMs = 500;

/**
 * Keeps an etcd watch on a prefix and gives a hint whenever it is (re)created and whenever it tells of a change. It
 * watches from the moment of its creation on: whoever reads after that hint has missed nothing. So nothing is lost either
 * when etcd ends a watch because it compacted what that had not been told yet: the next one begins with now.
 */
export async function keepWatching<Of extends WatchConnection>(options: WatchLoopOptions<Of>): Promise<void> {
  const { connections, clock, log, prefix, signal } = options;
  let retryMs = firstRetryMs;
  while (!signal.aborted) {
    try {
      const connection = await connections.reach();
      await follow(connection, options, () => {
        retryMs = firstRetryMs;
      });
    } catch (error) {
      log.debug("watch interrupted", { prefix, reason: reasonOf(error) });
    }
    await clock.sleep(retryMs, signal).catch(() => undefined);
    retryMs = Math.min(longestRetryMs, retryMs * 2);
  }
}

/** Resolves when the watch was ended from here, and rejects when it broke. */
async function follow<Of extends WatchConnection>(
  connection: Of,
  options: WatchLoopOptions<Of>,
  onCreated: () => void,
): Promise<void> {
  const { connections, prefix, hint, signal } = options;
  const stream = await connection.client.watchClient.watch();
  const ended = new AbortController();
  const stop = (): void => {
    // Ended before it is cancelled: etcd3 takes the cancellation of a stream open for writing for a broken host.
    stream.end();
    stream.cancel();
  };
  try {
    await new Promise<void>((resolve, reject) => {
      stream.on("error", (error) => {
        if (!ended.signal.aborted) connections.giveUp(connection, reasonOf(error));
        reject(error);
      });
      stream.on("end", () => reject(new Error("etcd ended the watch")));
      stream.on("data", (response) => {
        if (response.canceled) return reject(new Error(`etcd cancelled the watch: ${whyCancelled(response)}`));
        if (response.created) onCreated();
        hint();
      });
      for (const stopper of [signal, connection.lost]) {
        stopper.addEventListener("abort", () => resolve(), { signal: ended.signal });
        if (stopper.aborted) resolve();
      }
      const request: IWatchRequest = { create_request: prefixRange(prefix) };
      stream.write(request);
    });
  } finally {
    ended.abort();
    stop();
  }
}

function whyCancelled({ compact_revision, cancel_reason }: WatchResponse): string {
  // "0" where nothing was compacted; etcd gives no reason in words where something was.
  return Number(compact_revision) > 0 ? `compacted up to revision ${compact_revision}` : cancel_reason;
}
