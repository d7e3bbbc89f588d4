/**
 * The data plane over gRPC. Every worker serves its outbox; to receive, it subscribes to the outboxes of its peers, so
 * that the numbers flow from server to client (only a client's flow-control window can be set). Streams belong to one
 * generation: a subscription for a generation ahead waits until this worker gets there, an older one is refused.
 */
import {
  type ClientReadableStream,
  credentials,
  Server,
  ServerCredentials,
  type ServerWritableStream,
  type ServiceError,
} from "@grpc/grpc-js";
import { LockstepError, messageOf } from "../../core/errors.ts";
import { stateChunkBytes } from "../../core/limits.ts";
import type {
  Membership,
  StateProvider,
  StateRequest,
  StateSnapshot,
  StreamEvents,
  Streams,
  Transport,
} from "../../ports/transport.ts";
import type { CopyStateRequest__Output } from "./generated/lockstep/v1/CopyStateRequest.ts";
import type { Raw } from "./generated/lockstep/v1/Raw.ts";
import type { SubscribeRequest__Output } from "./generated/lockstep/v1/SubscribeRequest.ts";
import { CollectiveClient, collectiveService, keepalive, listenError, peerOptions, status } from "./services.ts";

type Outgoing = ServerWritableStream<SubscribeRequest__Output, Raw>;
type PeerClient = InstanceType<typeof CollectiveClient>;

export interface TransportOptions {
  /** "host:port"; port 0 takes any free one. */
  readonly listen: string;
  /** How long a peer may take to open its stream, and how long a connection may be silent. */
  readonly connectMs: number;
}

export async function openTransport(options: TransportOptions): Promise<Transport> {
  const transport = new GrpcTransport(options);
  await transport.listen();
  return transport;
}

class GrpcTransport implements Transport {
  address = "";
  readonly #options: TransportOptions;
  readonly #server: Server;
  #generation = 0;
  #streams: GenerationStreams | null = null;
  #provide: StateProvider = () => Promise.resolve("this worker has no state yet");
  /** Subscriptions to a generation that this worker has not reached. */
  #early: Outgoing[] = [];

  constructor(options: TransportOptions) {
    this.#options = options;
    this.#server = new Server({ ...peerOptions, ...keepalive(options.connectMs / 2, options.connectMs / 2) });
    this.#server.addService(collectiveService, {
      Subscribe: (call: Outgoing) => this.#subscribed(call),
      CopyState: (call: ServerWritableStream<CopyStateRequest__Output, Raw>) => void this.#stateAsked(call),
    });
  }

  async listen(): Promise<void> {
    const { listen } = this.#options;
    const port = await new Promise<number>((resolve, reject) =>
      this.#server.bindAsync(listen, ServerCredentials.createInsecure(), (error, bound) =>
        error ? reject(listenError(listen, error)) : resolve(bound),
      ),
    );
    this.address = `${listen.slice(0, listen.lastIndexOf(":"))}:${port}`;
  }

  join(membership: Membership, events: StreamEvents): Streams {
    this.#streams?.close();
    this.#generation = membership.generation;
    const streams = new GenerationStreams(membership, events, this.#options.connectMs);
    this.#streams = streams;
    const early = this.#early;
    this.#early = [];
    for (const call of early) this.#subscribed(call);
    return streams;
  }

  serveState(provide: StateProvider): void {
    this.#provide = provide;
  }

  async copyState(from: string, request: StateRequest, signal: AbortSignal): Promise<StateSnapshot> {
    const client = new CollectiveClient(from, credentials.createInsecure(), peerOptions);
    const call = client.CopyState({ generation: request.generation, step: request.step });
    const cancel = () => call.cancel();
    signal.addEventListener("abort", cancel);
    try {
      return await receiveState(call);
    } catch (error) {
      throw new LockstepError(
        "process-failed",
        `Copying the state of step ${request.step} from ${from} failed: ${messageOf(error)}.`,
        { cause: error },
      );
    } finally {
      signal.removeEventListener("abort", cancel);
      client.close();
    }
  }

  async close(): Promise<void> {
    this.#streams?.close();
    for (const call of this.#early) call.end();
    await new Promise<void>((resolve) => {
      // Streams may be open for ever: end in order what ends at once, then cut the rest.
      this.#server.tryShutdown(() => resolve());
      this.#server.forceShutdown();
    });
  }

  #subscribed(call: Outgoing): void {
    const { generation, rank, expectedWorkerId } = call.request;
    if (generation > this.#generation) {
      this.#early.push(call);
      call.on("cancelled", () => {
        this.#early = this.#early.filter((other) => other !== call);
      });
      return;
    }
    const refusal =
      generation < this.#generation || !this.#streams
        ? `generation ${generation} is over, this worker is in ${this.#generation}`
        : this.#streams.accept(call, rank, expectedWorkerId);
    if (refusal)
      call.destroy(Object.assign(new Error(refusal), { code: status.FAILED_PRECONDITION, details: refusal }));
  }

  async #stateAsked(call: ServerWritableStream<CopyStateRequest__Output, Raw>): Promise<void> {
    const state = await this.#provide(call.request).catch((error: unknown) => messageOf(error));
    if (typeof state === "string") {
      call.destroy(Object.assign(new Error(state), { code: status.FAILED_PRECONDITION, details: state }));
      return;
    }
    call.write(Buffer.from(state.progress));
    const bytes = Buffer.from(state.values.buffer, state.values.byteOffset, state.values.byteLength);
    for (let begin = 0; begin < bytes.length && !call.cancelled; begin += stateChunkBytes) {
      if (!call.write(bytes.subarray(begin, begin + stateChunkBytes))) {
        await new Promise((resolve) => {
          call.once("drain", resolve);
          call.once("cancelled", resolve);
        });
      }
    }
    call.end();
  }
}

/** grpc-js wants what it sends as a Buffer. */
function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function receiveState(call: ClientReadableStream<Raw>): Promise<StateSnapshot> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    // Raw messages are passed through as buffers, see services.ts.
    call.on("data", (part: Buffer) => parts.push(part));
    call.on("error", (error: ServiceError) => reject(new Error(error.details || error.message)));
    call.on("end", () => {
      const [progress, ...values] = parts;
      if (!progress) return;
      const bytes = new Uint8Array(values.reduce((sum, part) => sum + part.length, 0));
      let at = 0;
      for (const part of values) {
        bytes.set(part, at);
        at += part.length;
      }
      resolve({ progress: progress.toString(), values: new Float32Array(bytes.buffer) });
    });
  });
}

/** The streams of one generation: to each peer an outbox that it subscribes to, from each peer a subscription. */
class GenerationStreams implements Streams {
  readonly #membership: Membership;
  readonly #events: StreamEvents;
  readonly #clients: PeerClient[] = [];
  readonly #outgoing = new Map<number, Outgoing>();
  /** Messages for peers that have not subscribed yet. */
  readonly #waiting = new Map<number, Uint8Array[]>();
  readonly #broken = new Set<number>();
  readonly #deadline: NodeJS.Timeout;
  #closed = false;

  constructor(membership: Membership, events: StreamEvents, connectMs: number) {
    this.#membership = membership;
    this.#events = events;
    membership.addresses.forEach((address, rank) => {
      if (rank !== membership.rank) this.#subscribe(address, rank, connectMs);
    });
    this.#deadline = setTimeout(() => this.#checkConnected(connectMs), connectMs);
  }

  send(rank: number, message: Uint8Array): void {
    const call = this.#outgoing.get(rank);
    if (call) call.write(asBuffer(message));
    else this.#waiting.set(rank, [...(this.#waiting.get(rank) ?? []), message]);
  }

  /** Takes a peer's subscription; returns the reason if it is refused. */
  accept(call: Outgoing, rank: number, expectedWorkerId: string): string | null {
    const { workerIds } = this.#membership;
    const own = workerIds[this.#membership.rank];
    if (this.#closed) return `generation ${this.#membership.generation} is over`;
    if (expectedWorkerId !== own) return `this is ${own}, not ${expectedWorkerId}`;
    if (rank >= workerIds.length || rank === this.#membership.rank) return `rank ${rank} is no peer in this generation`;
    if (this.#outgoing.has(rank)) return `rank ${rank} has subscribed already`;
    this.#outgoing.set(rank, call);
    call.on("cancelled", () => this.#break(rank, "it closed its subscription"));
    call.on("error", (error) => this.#break(rank, messageOf(error)));
    // Headers go out now, so that the subscriber knows at once that the stream is open.
    call.sendMetadata(call.metadata.clone());
    for (const message of this.#waiting.get(rank) ?? []) call.write(asBuffer(message));
    this.#waiting.delete(rank);
    return null;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#deadline);
    for (const call of this.#outgoing.values()) call.end();
    for (const client of this.#clients) client.close();
  }

  #subscribe(address: string, rank: number, connectMs: number): void {
    const { generation, workerIds } = this.#membership;
    const client = new CollectiveClient(address, credentials.createInsecure(), {
      ...peerOptions,
      ...keepalive(connectMs / 2, connectMs / 2),
    });
    this.#clients.push(client);
    const call = client.Subscribe({
      generation,
      rank: this.#membership.rank,
      workerId: workerIds[this.#membership.rank]!,
      expectedWorkerId: workerIds[rank]!,
    });
    call.on("data", (message: Buffer) => {
      if (!this.#closed) this.#events.onMessage(rank, message);
    });
    call.on("error", (error: ServiceError) => this.#break(rank, error.details || error.message));
    call.on("end", () => this.#break(rank, "it closed its outbox"));
  }

  #checkConnected(connectMs: number): void {
    for (let rank = 0; rank < this.#membership.addresses.length; rank++) {
      if (rank !== this.#membership.rank && !this.#outgoing.has(rank))
        this.#break(rank, `it did not subscribe within ${connectMs} ms`);
    }
  }

  #break(rank: number, reason: string): void {
    if (this.#closed || this.#broken.has(rank)) return;
    this.#broken.add(rank);
    this.#events.onBroken(rank, reason);
  }
}
