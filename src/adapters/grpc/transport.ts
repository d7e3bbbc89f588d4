/**
 * The data plane over gRPC. Every worker serves its outbox; to receive, it subscribes to the outboxes of its peers, so
 * that the numbers flow from server to client (only a client's flow-control window can be set). Streams belong to one
 * generation: a subscription for a generation ahead waits until this worker gets there, an older one is refused.
 */
import {
  type ClientReadableStream,
  Server,
  ServerCredentials,
  type ServerWritableStream,
  type ServiceError,
} from "@grpc/grpc-js";
import { LockstepError, messageOf } from "../../core/errors.ts";
import { decodeJson, encodeJson } from "../../core/json.ts";
import { stateChunkBytes } from "../../core/limits.ts";
import type {
  Membership,
  ServedState,
  StateProvider,
  StateRequest,
  StreamEvents,
  Streams,
  Transport,
} from "../../ports/transport.ts";
import type { CopyStateRequest__Output } from "./generated/lockstep/v1/CopyStateRequest.ts";
import type { Raw } from "./generated/lockstep/v1/Raw.ts";
import type { SubscribeRequest__Output } from "./generated/lockstep/v1/SubscribeRequest.ts";
import { PeerConnections } from "./peer-connections.ts";
import { collectiveService, keepalive, listenError, peerOptions, status } from "./services.ts";

type Outgoing = ServerWritableStream<SubscribeRequest__Output, Raw>;

/** An observer that reads so much more slowly than others send is given up: nobody waits for it, and memory is bounded. */
const maxMessagesToObserver = 64;

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
  readonly #connections: PeerConnections;
  #generation = 0;
  #streams: GenerationStreams | null = null;
  #provide: StateProvider = () => Promise.resolve("this worker has no state yet");
  /** Subscriptions to a generation that this worker has not reached. */
  #early: Outgoing[] = [];

  constructor(options: TransportOptions) {
    this.#options = options;
    this.#connections = new PeerConnections(options.connectMs);
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
    this.#connections.keepOnly(membership.addresses);
    const streams = new GenerationStreams(membership, events, this.#connections, this.#options.connectMs);
    this.#streams = streams;
    const early = this.#early;
    this.#early = [];
    for (const call of early) this.#subscribed(call);
    return streams;
  }

  serveState(provide: StateProvider): void {
    this.#provide = provide;
  }

  async copyState(from: string, request: StateRequest, signal: AbortSignal): Promise<ServedState> {
    const { generation, step } = request;
    const call = this.#connections.to(from).CopyState({ generation, step: step ?? 0, anyStep: step === null });
    const cancel = () => call.cancel();
    signal.addEventListener("abort", cancel);
    try {
      return await receiveState(call);
    } catch (error) {
      throw new LockstepError(
        "process-failed",
        `Copying the state${step === null ? "" : ` of step ${step}`} from ${from} failed: ${messageOf(error)}.`,
        { cause: error },
      );
    } finally {
      signal.removeEventListener("abort", cancel);
    }
  }

  async close(): Promise<void> {
    this.#streams?.close();
    this.#connections.keepOnly([]);
    for (const call of this.#early) call.end();
    await new Promise<void>((resolve) => {
      // Streams may be open for ever: end in order what ends at once, then cut the rest.
      this.#server.tryShutdown(() => resolve());
      this.#server.forceShutdown();
    });
  }

  #subscribed(call: Outgoing): void {
    const { generation } = call.request;
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
        : this.#streams.accept(call);
    if (refusal) refuse(call, refusal);
  }

  async #stateAsked(call: ServerWritableStream<CopyStateRequest__Output, Raw>): Promise<void> {
    const { generation, step, anyStep } = call.request;
    const request = { generation, step: anyStep ? null : step };
    const state = await this.#provide(request).catch((error: unknown) => messageOf(error));
    if (typeof state === "string") {
      refuse(call, state);
      return;
    }
    const { progress, digest } = state;
    call.write(Buffer.from(encodeJson({ progress, digest })));
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

/** Ends a call with a reason. Not by `destroy`: grpc-js sends a status only for a stream that is not destroyed yet. */
function refuse(call: Outgoing | ServerWritableStream<CopyStateRequest__Output, Raw>, reason: string): void {
  call.emit("error", Object.assign(new Error(reason), { code: status.FAILED_PRECONDITION, details: reason }));
}

/** grpc-js wants what it sends as a Buffer. */
function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function receiveState(call: ClientReadableStream<Raw>): Promise<ServedState> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    // Raw messages are passed through as buffers, see services.ts.
    call.on("data", (part: Buffer) => parts.push(part));
    call.on("error", (error: ServiceError) => reject(new Error(error.details || error.message)));
    call.on("end", () => {
      const [head, ...values] = parts;
      if (!head) return reject(new Error("it ended without a state"));
      const bytes = new Uint8Array(values.reduce((sum, part) => sum + part.length, 0));
      let at = 0;
      for (const part of values) {
        bytes.set(part, at);
        at += part.length;
      }
      const { progress, digest } = decodeJson<Omit<ServedState, "values">>(head.toString());
      resolve({ progress, digest, values: new Float32Array(bytes.buffer) });
    });
  });
}

/** The streams of one generation: to each peer an outbox that it subscribes to, from each peer a subscription. */
class GenerationStreams implements Streams {
  readonly #membership: Membership;
  /** The ranks of all others. */
  readonly #peers: readonly number[];
  readonly #events: StreamEvents;
  readonly #connections: PeerConnections;
  /** This worker's subscriptions. */
  readonly #subscriptions: ClientReadableStream<Raw>[] = [];
  readonly #outgoing = new Map<number, Outgoing>();
  readonly #observers = new Set<Outgoing>();
  /** Messages for peers that have not subscribed yet. */
  readonly #waiting = new Map<number, Uint8Array[]>();
  readonly #broken = new Set<number>();
  /** Peers whose outbox this worker is subscribed to. */
  readonly #incoming = new Set<number>();
  readonly #connectMs: number;
  readonly #deadline: NodeJS.Timeout;
  #closed = false;

  constructor(membership: Membership, events: StreamEvents, connections: PeerConnections, connectMs: number) {
    this.#membership = membership;
    this.#connections = connections;
    this.#connectMs = connectMs;
    this.#peers = membership.workerIds.map((_, rank) => rank).filter((rank) => rank !== membership.rank);
    this.#events = events;
    for (const rank of this.#peers) this.#subscribe(membership.addresses[rank]!, rank);
    this.#deadline = setTimeout(() => this.#checkConnected(), connectMs);
    // Not from inside the constructor: whoever joins does not have these streams yet.
    if (this.#peers.length === 0) queueMicrotask(() => events.onOpen());
  }

  send(rank: number, message: Uint8Array): void {
    const call = this.#outgoing.get(rank);
    if (call) call.write(asBuffer(message));
    else this.#waiting.set(rank, [...(this.#waiting.get(rank) ?? []), message]);
  }

  sendAll(message: Uint8Array): void {
    for (const rank of this.#peers) this.send(rank, message);
    for (const call of this.#observers) {
      if (call.writableLength < maxMessagesToObserver) call.write(asBuffer(message));
      else refuse(call, "this observer falls behind");
    }
  }

  /** Takes a peer's subscription; returns the reason if it is refused. */
  accept(call: Outgoing): string | null {
    const { rank, expectedWorkerId, observer } = call.request;
    const { workerIds } = this.#membership;
    if (this.#closed) return `generation ${this.#membership.generation} is over`;
    if (this.#membership.rank === null) return "this worker only observes";
    const own = workerIds[this.#membership.rank];
    if (expectedWorkerId !== own) return `this is ${own}, not ${expectedWorkerId}`;
    if (observer) {
      this.#acceptObserver(call);
      return null;
    }
    if (!this.#peers.includes(rank)) return `rank ${rank} is no peer in this generation`;
    if (this.#outgoing.has(rank)) return `rank ${rank} has subscribed already`;
    // Headers go out now, so that the subscriber knows at once that the stream is open.
    call.sendMetadata(call.metadata.clone());
    this.#outgoing.set(rank, call);
    call.on("cancelled", () => this.#break(rank, "it closed its subscription"));
    call.on("error", (error) => this.#break(rank, messageOf(error)));
    for (const message of this.#waiting.get(rank) ?? []) call.write(asBuffer(message));
    this.#waiting.delete(rank);
    this.#noteOpen();
    return null;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#deadline);
    for (const call of [...this.#outgoing.values(), ...this.#observers]) call.end();
    for (const call of this.#subscriptions) call.cancel();
  }

  /** Takes an observer's subscription, once it is reached where it says that it is. */
  #acceptObserver(call: Outgoing): void {
    const { address } = call.request;
    this.#connections.whenConnected(address, (isConnected) => {
      if (this.#closed || call.cancelled) return;
      if (!isConnected) return refuse(call, `this observer is not reached at ${address}`);
      call.sendMetadata(call.metadata.clone());
      this.#observers.add(call);
      const forget = () => this.#observers.delete(call);
      call.on("cancelled", forget);
      call.on("error", forget);
    });
  }

  #subscribe(address: string, rank: number): void {
    const { generation, workerIds, rank: own } = this.#membership;
    const client = this.#connections.to(address);
    const call = client.Subscribe({
      generation,
      ...(own === null
        ? { observer: true, address: this.#membership.address }
        : { rank: own, workerId: workerIds[own]! }),
      expectedWorkerId: workerIds[rank]!,
    });
    this.#subscriptions.push(call);
    // The peer sends its headers when it accepts.
    call.on("metadata", () => {
      this.#incoming.add(rank);
      this.#noteOpen();
    });
    call.on("data", (message: Buffer) => {
      if (!this.#closed) this.#events.onMessage(rank, message);
    });
    call.on("error", (error: ServiceError) => {
      if (!this.#closed && error.code !== status.FAILED_PRECONDITION) this.#connections.drop(address, client);
      this.#break(rank, error.details || error.message);
    });
    call.on("end", () => this.#break(rank, "it closed its outbox"));
  }

  #noteOpen(): void {
    if (!this.#closed && this.#peers.every((rank) => this.#lack(rank) === null)) this.#events.onOpen();
  }

  /** Null when the streams with a peer are open, else what it has not done. */
  #lack(rank: number): string | null {
    // Nobody subscribes to an observer.
    if (this.#membership.rank !== null && !this.#outgoing.has(rank)) return "it did not subscribe";
    return this.#incoming.has(rank) ? null : "it took no subscription";
  }

  #checkConnected(): void {
    for (const rank of this.#peers) {
      const lack = this.#lack(rank);
      if (lack) this.#break(rank, `${lack} within ${this.#connectMs} ms`);
    }
  }

  #break(rank: number, reason: string): void {
    if (this.#closed || this.#broken.has(rank)) return;
    this.#broken.add(rank);
    this.#events.onBroken(rank, reason);
  }
}
