/**
 * One connection to one member of etcd at a time, and what to do when it stops answering: give it up at once, and
 * before the next call find a member that answers a linearizable read. So a transaction goes only to a member that has
 * just answered, and is itself sent exactly once. Every new connection looks its host name up anew.
 *
 * Of etcd3 only the raw clients are used (`kv`, `leaseClient`, `watchClient`: one method a remote procedure). What it
 * builds on top is what hurts: its default policy sends transactions again, so that a lost reply reads as "condition
 * failed"; its leases notice their loss a whole TTL late and on the wall clock, and drop their calls' deadlines; its
 * watcher loses events on reconnection without a word. The raw clients have none of that once both fault-handling
 * policies only pass calls through, and every call is given a deadline.
 */
import { setMaxListeners } from "node:events";
import { Etcd3, EtcdPermissionDeniedError, type IOptions, type IResponseHeader } from "etcd3";
import { LockstepError } from "../../core/errors.ts";
import type { Clock } from "../../ports/clock.ts";
import type { Log } from "../../ports/log.ts";
import { reasonOf, translateError } from "./errors.ts";
import { checkReachable } from "./reachable.ts";
import { toMoment } from "./requests.ts";
import { Rollbacks } from "./rollbacks.ts";
import type { CertificateFolder } from "../tls/certificate-folder.ts";

export interface ConnectionsOptions {
  /** As "http://host:port". */
  readonly endpoints: readonly string[];
  readonly clock: Clock;
  readonly log: Log;
  /** The longest that a call may take, finding a member that answers included. */
  readonly requestTimeoutMs: number;
  /** For endpoints that begin with "https:". */
  readonly certificates?: CertificateFolder | null;
}

/** A member of etcd that has answered; `lost` is aborted when it is given up. */
export interface Connection {
  readonly endpoint: string;
  readonly client: Etcd3;
  readonly lost: AbortSignal;
}

export interface Call<Result> {
  /** As an infinitive, for messages: `get "/a"`. */
  readonly what: string;
  /** Whether a call without an answer may have changed something. */
  readonly changes: boolean;
  readonly timeoutMs?: number;
  readonly run: (client: Etcd3, options: CallDeadline) => Promise<Result>;
}

export interface CallDeadline {
  readonly deadline: Date;
}

interface OpenConnection extends Connection {
  close(reason: string): void;
}

type Policy = NonNullable<NonNullable<IOptions["faultHandling"]>["global"]>;
type ChannelOptions = NonNullable<IOptions["grpcOptions"]>;

/** Calls through, once. */
const callThrough: Omit<Policy, "_altReturn"> = {
  execute: async (call) => await call({ signal: new AbortController().signal }),
  onSuccess: () => ({ dispose: () => undefined }),
  onFailure: () => ({ dispose: () => undefined }),
};
// The one member left out is documented as a property that does not exist.
const noPolicy = callThrough as Policy;

const channelOptions: ChannelOptions = {
  "grpc.enable_retries": 0,
  "grpc.service_config_disable_resolution": 1,
  // A connection that was given up must not come back out of a pool shared by the whole process.
  "grpc.use_local_subchannel_pool": 1,
  "grpc.enable_channelz": 0,
  "grpc.max_receive_message_length": -1,
  // A proxy for the web, in the environment, is none for etcd.
  "grpc.enable_http_proxy": 0,
};

/** Read to find out whether a member answers; whether the key is there does not matter. */
const probeKey = Buffer.from("/lockstep");

export class EtcdConnections {
  /** What has been noticed by what was asked, and by the first question on every connection: before anything is written on it. */
  readonly rollbacks = new Rollbacks();
  readonly #options: ConnectionsOptions;
  readonly #hosts: readonly string[];
  readonly #closed = new AbortController();
  #current: OpenConnection | null = null;
  #reaching: Promise<Connection> | null = null;
  /** Index of the endpoint to try first. */
  #next = 0;
  #complained = false;

  constructor(options: ConnectionsOptions) {
    this.#options = options;
    // One listener a call under way; Node would take the eleventh for a leak.
    setMaxListeners(0, this.#closed.signal);
    this.#hosts = options.endpoints.map(checkEndpoint);
    const secure = this.#hosts.find((host) => host.startsWith("https:"));
    if (secure !== undefined && !options.certificates) {
      throw new LockstepError(
        "usage",
        `The etcd endpoint is ${secure}, and this process has no certificate to show there.`,
      );
    }
    if (this.#hosts.length === 0) throw new LockstepError("usage", "No etcd endpoint was given.");
  }

  /**
   * Makes one call to a member that answers. Fails within the time allowed, with a LockstepError; a failure for any
   * reason but the request itself gives the connection up.
   */
  async call<Result>({ what, changes, timeoutMs = Number.POSITIVE_INFINITY, run }: Call<Result>): Promise<Result> {
    const { clock, endpoints, requestTimeoutMs } = this.#options;
    const startMs = clock.monotonicMs();
    const elapsedMs = (): number => clock.monotonicMs() - startMs;
    const allowedMs = Math.min(timeoutMs, requestTimeoutMs);
    let connection: Connection;
    try {
      connection = await this.#within(allowedMs, this.#reachFreshly());
    } catch (error) {
      // The request has not been sent, so it has changed nothing.
      throw translateError(error, { what, changes: false, endpoint: endpoints.join(", "), elapsedMs: elapsedMs() });
    }
    try {
      return await untilAborted(run(connection.client, this.deadline(allowedMs - elapsedMs())), this.#closed.signal);
    } catch (error) {
      const translated = translateError(error, {
        what,
        changes,
        endpoint: connection.endpoint,
        elapsedMs: elapsedMs(),
      });
      if (translated.code === "coordination-unavailable") this.giveUp(connection, reasonOf(error));
      throw translated;
    }
  }

  /** As `call`, of what etcd answers linearizably: so that its answers tell whether it was put back. */
  async ask<Result extends { readonly header: IResponseHeader }>(call: Call<Result>): Promise<Result> {
    const note = this.rollbacks.sent();
    const result = await this.call(call);
    note(toMoment(result.header));
    return result;
  }

  /** The current connection, or else the first member that answers; all who ask meanwhile wait for the same one. */
  reach(): Promise<Connection> {
    if (this.#closed.signal.aborted) return Promise.reject(closedError());
    if (this.#current !== null) return Promise.resolve(this.#current);
    this.#reaching ??= this.#tryEndpoints().finally(() => {
      this.#reaching = null;
    });
    return this.#reaching;
  }

  /** As `reach`, but a search that was under way and fails is not the last word: it began before this call. */
  async #reachFreshly(): Promise<Connection> {
    const joined = this.#reaching;
    if (joined === null) return await this.reach();
    return await joined.catch(() => this.reach());
  }

  /** Ends a connection on which something failed; the next call tries the next endpoint first. */
  giveUp(connection: Connection, reason: string): void {
    if (this.#current !== connection) return;
    this.#current.close(reason);
    this.#current = null;
    this.#next = (this.#next + 1) % this.#hosts.length;
    if (!this.#closed.signal.aborted) this.#complain("etcd stopped answering", connection.endpoint, reason);
  }

  close(): void {
    if (this.#closed.signal.aborted) return;
    this.#closed.abort(closedError());
    this.#current?.close("closed");
    this.#current = null;
  }

  /** gRPC takes points in time on the wall clock and turns them into timers at once. */
  deadline(timeoutMs: number): CallDeadline {
    return { deadline: new Date(this.#options.clock.wallMs() + Math.max(0, timeoutMs)) };
  }

  async #tryEndpoints(): Promise<Connection> {
    const { clock, endpoints, log, requestTimeoutMs } = this.#options;
    const endMs = clock.monotonicMs() + requestTimeoutMs;
    const failures: string[] = [];
    for (let left = this.#hosts.length; left > 0; left -= 1) {
      const index = this.#next;
      const endpoint = endpoints[index]!;
      const connection = openConnection(endpoint, this.#hosts[index]!, this.#options.certificates ?? null);
      // A member that swallows everything gets its share of the time, and no more.
      const nowMs = clock.monotonicMs();
      const shareEndMs = nowMs + (endMs - nowMs) / left;
      const shareMs = (): number => shareEndMs - clock.monotonicMs();
      try {
        await checkReachable(this.#hosts[index]!, shareMs(), this.#closed.signal);
        const note = this.rollbacks.sent();
        const probe = connection.client.kv
          .range({ key: probeKey, count_only: true }, this.deadline(shareMs()))
          .then(({ header }) => note(toMoment(header)), takeDenialForAnAnswer);
        await untilAborted(probe, this.#closed.signal);
      } catch (error) {
        connection.close("did not answer");
        if (this.#closed.signal.aborted) throw closedError();
        failures.push(`${endpoint}: ${reasonOf(error)}`);
        this.#next = (index + 1) % this.#hosts.length;
        continue;
      }
      this.#current = connection;
      if (this.#complained) log.info("etcd answers again", { endpoint });
      this.#complained = false;
      return connection;
    }
    this.#complain("etcd cannot be reached", endpoints.join(", "), failures.join("; "));
    throw new Error(`no endpoint answers (${failures.join("; ")})`);
  }

  /** Says once that etcd is away, not once a call. */
  #complain(message: string, endpoint: string, reason: string): void {
    if (!this.#complained) this.#options.log.warn(message, { endpoint, reason });
    this.#complained = true;
  }

  async #within<Result>(timeoutMs: number, promise: Promise<Result>): Promise<Result> {
    const timer = new AbortController();
    const timeout = this.#options.clock.sleep(timeoutMs, timer.signal).then(() => {
      throw new Error(`no endpoint answered within ${Math.round(timeoutMs)} ms`);
    });
    try {
      return await Promise.race([promise, timeout]);
    } finally {
      timer.abort();
    }
  }
}

function openConnection(endpoint: string, host: string, certificates: CertificateFolder | null): OpenConnection {
  const lost = new AbortController();
  // One listener a watch.
  setMaxListeners(0, lost.signal);
  const client = new Etcd3({
    hosts: host,
    ...(certificates !== null && host.startsWith("https:") && { credentials: credentialsOf(certificates) }),
    faultHandling: { global: noPolicy, host: () => noPolicy },
    grpcOptions: channelOptions,
  });
  const close = (reason: string): void => {
    lost.abort(new Error(`The connection to etcd at ${endpoint} was given up: ${reason}.`));
    client.close();
  };
  return { endpoint, client, lost: lost.signal, close };
}

/** As they are now: they may have been replaced since the last connection. */
function credentialsOf({ current }: CertificateFolder): NonNullable<IOptions["credentials"]> {
  return {
    rootCertificate: Buffer.from(current.ca),
    privateKey: Buffer.from(current.key),
    certChain: Buffer.from(current.certificate),
  };
}

/** Settles as `promise` does, or rejects with the signal's reason if that comes first. */
export async function untilAborted<Result>(promise: Promise<Result>, signal: AbortSignal): Promise<Result> {
  let onAbort = (): void => undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason);
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/** etcd finds out that its members agree before it looks who may read. */
function takeDenialForAnAnswer(error: unknown): void {
  if (!(error instanceof EtcdPermissionDeniedError)) throw error;
}

function closedError(): LockstepError {
  return new LockstepError("coordination-unavailable", "This client of etcd was closed.");
}

/** Returns what etcd3 connects to: "https://" chooses TLS, and a port is always given. */
function checkEndpoint(endpoint: string): string {
  const url = URL.canParse(endpoint) ? new URL(endpoint) : null;
  if (url === null || !["http:", "https:"].includes(url.protocol) || url.hostname === "") {
    throw new LockstepError("usage", `The etcd endpoint is "${endpoint}"; expected http://host:port.`);
  }
  // URL drops a port that is its protocol's default.
  const port = url.port || (/:(80|443)\/?$/.exec(endpoint)?.[1] ?? "2379");
  return `${url.protocol}//${url.hostname}:${port}`;
}
