/**
 * Checkpoints from worker to worker, where each keeps them on a disk of its own: asking a peer to keep a copy, and fetching
 * files. Bytes flow as fast as the slower of the two disks takes them, and no faster: neither side holds more than a few
 * parts in memory.
 */
import { type ClientReadableStream, Server, type ServerWritableStream, type ServiceError } from "@grpc/grpc-js";
import { LockstepError, messageOf } from "../../core/errors.ts";
import { CheckpointError } from "../../core/manifest.ts";
import type { FetchRequest__Output } from "./generated/lockstep/v1/FetchRequest.ts";
import type { FilePart } from "./generated/lockstep/v1/FilePart.ts";
import type { KeepProgress, KeepProgress__Output } from "./generated/lockstep/v1/KeepProgress.ts";
import type { KeepRequest__Output } from "./generated/lockstep/v1/KeepRequest.ts";
import type { CertificateFolder } from "../tls/certificate-folder.ts";
import { channelCredentials, targetName } from "../tls/dial.ts";
import type { Security } from "../tls/security.ts";
import { refusalOf, type Serving, serve } from "./serve.ts";
import { CheckpointsClient, checkpointsService, keepalive, peerOptions, status } from "./services.ts";

/** What a leader asks a peer to keep. */
export interface KeepRequest {
  /** The run whose checkpoint it is, as JOB/NUMBER. */
  readonly run: string;
  readonly id: string;
  readonly manifestSha256: string;
  /** Where it can be fetched. */
  readonly address: string;
  readonly era: number;
  readonly fencingToken: number;
}

export interface FileRequest {
  readonly run: string;
  readonly id: string;
  readonly file: string;
}

/** What the service is made of. */
export interface CheckpointsHandler {
  /** Resolves once the checkpoint is here, verified and durable. Rejects with "fenced-off" when the asker may not ask. */
  keep(request: KeepRequest, onReceived: (bytes: number) => void, over: AbortSignal): Promise<void>;
  /** The file's bytes, in parts. A `CheckpointError` "missing" says that there is none. */
  fetch(request: FileRequest): AsyncIterable<Uint8Array>;
}

/** Serves on "host:port"; port 0 takes any free one. */
export async function serveCheckpoints(
  listen: string,
  silenceMs: number,
  handler: CheckpointsHandler,
  security: Security,
): Promise<Serving> {
  const server = new Server({ ...peerOptions, ...keepalive(silenceMs / 2, silenceMs / 2) });
  const open = new Set<Outgoing>();
  const answer = (call: Outgoing, work: () => Promise<void>) => {
    open.add(call);
    work().then(
      () => void (open.delete(call) && call.end()),
      (error: unknown) => void (open.delete(call) && !call.cancelled && fail(call, codeOf(error), messageOf(error))),
    );
  };
  server.addService(checkpointsService, {
    Keep: (call: ServerWritableStream<KeepRequest__Output, KeepProgress>) => {
      const refusal = refusalOf(call, security, { roles: ["worker"] }, "ask for a copy to be kept");
      if (refusal) return fail(call, refusal.code, refusal.details);
      const over = new AbortController();
      call.on("cancelled", () => over.abort(new LockstepError("process-failed", "The asker has gone, or given up.")));
      answer(call, () =>
        handler.keep(call.request, (receivedBytes) => void call.write({ receivedBytes }), over.signal),
      );
    },
    Fetch: (call: ServerWritableStream<FetchRequest__Output, FilePart>) => {
      answer(call, async () => {
        for await (const part of handler.fetch(call.request)) {
          if (call.cancelled) return;
          if (!call.write(Buffer.from(part.buffer, part.byteOffset, part.byteLength))) await drained(call);
        }
      });
    },
  });
  // A coordinator fetches what it rebuilds a run from.
  const serving = await serve(server, listen, security, { roles: ["worker", "coordinator"] }, silenceMs);
  return {
    address: serving.address,
    close() {
      // A shutdown alone leaves the callers waiting.
      for (const call of open) fail(call, status.UNAVAILABLE, "this worker is going");
      open.clear();
      setImmediate(() => serving.close());
    },
  };
}

type Outgoing =
  | ServerWritableStream<KeepRequest__Output, KeepProgress>
  | ServerWritableStream<FetchRequest__Output, FilePart>;

/** Not by `destroy`: grpc-js sends a status only for a stream that is not destroyed yet. */
function fail(call: Outgoing, code: number, details: string): void {
  call.emit("error", Object.assign(new Error(details), { code, details }));
}

function drained(call: Outgoing): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      call.off("drain", done);
      call.off("cancelled", done);
      resolve();
    };
    call.on("drain", done);
    call.on("cancelled", done);
  });
}

function codeOf(error: unknown): number {
  if (error instanceof CheckpointError) return error.problem === "missing" ? status.NOT_FOUND : status.INTERNAL;
  const isFenced = error instanceof LockstepError && error.code === "fenced-off";
  return isFenced ? status.FAILED_PRECONDITION : status.INTERNAL;
}

/**
 * A connection to one peer. Calls fail with `CheckpointError` "missing" when the peer has no such thing, "fenced-off" when it
 * has heard of a later leader, and "process-failed" when it cannot be reached, is silent for too long, or cannot do it.
 */
export interface CheckpointsConnection {
  keep(request: KeepRequest): Promise<void>;
  fetch(request: FileRequest, over?: AbortSignal): AsyncIterable<Uint8Array>;
  close(): void;
}

/**
 * @param silenceMs how long the connection may be silent
 * @param stallMs how long a call may go without getting on, on a connection that lives: so long a disk may take
 */
export function connectCheckpoints(
  address: string,
  silenceMs: number,
  stallMs: number,
  certificates: CertificateFolder | null,
): CheckpointsConnection {
  const client = new CheckpointsClient(address, channelCredentials(certificates, { roles: ["worker"] }), {
    ...peerOptions,
    ...targetName,
    ...keepalive(silenceMs / 2, silenceMs / 2),
  });
  return {
    async keep(request) {
      // What it says on the way only shows that it gets on.
      for await (const _ of received<KeepProgress__Output>(() => client.Keep({ ...request }), address, stallMs));
    },
    // `FilePart` messages are passed through as buffers, see services.ts.
    fetch: (request, over) => received<Uint8Array>(() => client.Fetch({ ...request }), address, stallMs, over),
    close: () => client.close(),
  };
}

/**
 * The messages of a call, which begins when the first one is asked for, and is given up when the next one takes too long, or
 * when nobody wants more.
 */
async function* received<T>(
  begin: () => ClientReadableStream<unknown>,
  address: string,
  stallMs: number,
  over?: AbortSignal,
): AsyncGenerator<T> {
  over?.throwIfAborted();
  const call = begin();
  let isStalled = false;
  const cancel = () => call.cancel();
  const timer = setTimeout(() => {
    isStalled = true;
    call.cancel();
  }, stallMs);
  over?.addEventListener("abort", cancel, { once: true });
  // After the loop nobody else would hear that the call was cancelled.
  call.on("error", () => undefined);
  try {
    for await (const message of call) {
      yield message as T; // what this method answers with
      timer.refresh();
    }
  } catch (error) {
    over?.throwIfAborted();
    throw isStalled ? stalled(address, stallMs) : translated(error, address);
  } finally {
    clearTimeout(timer);
    over?.removeEventListener("abort", cancel);
    call.cancel();
  }
}

function stalled(address: string, stallMs: number): LockstepError {
  return new LockstepError("process-failed", `The worker at ${address} has not got on for ${stallMs} ms.`);
}

function translated(error: unknown, address: string): unknown {
  const { code, details } = error as Partial<ServiceError>; // anything else has no code
  if (code === undefined) return error;
  const message = `The worker at ${address} says: ${details}`;
  if (code === status.NOT_FOUND) return new CheckpointError("missing", message, { cause: error });
  if (code === status.FAILED_PRECONDITION) return new LockstepError("fenced-off", message, { cause: error });
  const reason = code === status.INTERNAL ? message : `The worker at ${address} is out of reach: ${details}.`;
  return new LockstepError("process-failed", reason, { cause: error });
}
