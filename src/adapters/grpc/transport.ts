/**
 * The data plane over gRPC. Every worker serves its outbox; to receive, it subscribes to the outboxes of its peers, so
 * that the numbers flow from server to client, and the one who receives opens the stream. Streams belong to one
 * generation: a subscription for a generation ahead waits until this worker gets there, an older one is refused.
 */
import { LockstepError, messageOf } from "../../core/errors.ts";
import { headerBytes } from "../../core/frame.ts";
import { described, workerNameOf } from "../../core/identity.ts";
import { encodeJson } from "../../core/json.ts";
import { bucketBytes, stateChunkBytes } from "../../core/limits.ts";
import { formatBytes } from "../../core/number-format.ts";
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
import type { SubscribeRequest__Output } from "./generated/lockstep/v1/SubscribeRequest.ts";
import type { Call } from "./client.ts";
import { receiveState } from "./receive-state.ts";
import { PeerConnections } from "./peer-connections.ts";
import type { Security } from "../tls/security.ts";
import { type ServerCall, StreamingServer } from "./server.ts";
import { collectiveService, status } from "./services.ts";
import { Traffic, type TrafficCounts } from "./traffic.ts";

const { Subscribe, CopyState } = collectiveService;

type Subscribed = readonly [workerId: string, call: ServerCall];

/** A peer's subscription to this worker's outbox. */
interface Outgoing {
  readonly call: ServerCall;
  readonly request: SubscribeRequest__Output;
}

/**
 * An observer for which so much has not left yet, or two whole rounds, is given up. Nobody waits for it, so nothing else bounds what is kept
 * for it.
 */
const leastBytesToObserver = 64 * bucketBytes;

export interface TransportOptions {
  /** "host:port"; port 0 takes any free one. */
  readonly listen: string;
  /** How long a peer may take to open its stream, and how long a connection may be silent. */
  readonly connectMs: number;
  readonly security: Security;
}

export interface CountedTransport extends Transport {
  /** Since it was opened. */
  readonly traffic: TrafficCounts;
}

export async function openTransport(options: TransportOptions): Promise<CountedTransport> {
  const transport = new GrpcTransport(options);
  await transport.listen();
  return transport;
}

class GrpcTransport implements CountedTransport {
  address = "";
  readonly #options: TransportOptions;
  readonly #server: StreamingServer;
  readonly #connections: PeerConnections;
  readonly #traffic = new Traffic();
  #generation = 0;
  #streams: GenerationStreams | null = null;
  #provide: StateProvider = () => Promise.resolve("this worker has no state yet");
  /** Of earlier generations: what may not have left yet. */
  #unfinished: Subscribed[] = [];
  /** Subscriptions to a generation that this worker has not reached. */
  #early: Outgoing[] = [];
  /** Names of workers by their addresses, as of the last generation that was joined. */
  #names: ReadonlyMap<string, string> = new Map();

  constructor(options: TransportOptions) {
    this.#options = options;
    this.#connections = new PeerConnections(options.connectMs, options.security.certificates, this.#traffic);
    this.#server = new StreamingServer(
      options.connectMs / 2,
      new Map([
        // The services' own decoders: each makes of bytes the message that its method takes.
        [
          Subscribe.path,
          (call: ServerCall, bytes: Uint8Array) =>
            this.#subscribed({
              call,
              request: Subscribe.requestDeserialize(asBuffer(bytes)) as SubscribeRequest__Output,
            }),
        ],
        [
          CopyState.path,
          (call: ServerCall, bytes: Uint8Array) =>
            void this.#stateAsked(call, CopyState.requestDeserialize(asBuffer(bytes)) as CopyStateRequest__Output),
        ],
      ]),
      options.security,
      // A coordinator keeps a connection open, to notice the end of this process.
      { roles: ["worker", "coordinator"] },
      this.#traffic,
    );
  }

  get traffic(): TrafficCounts {
    return this.#traffic.counts;
  }

  async listen(): Promise<void> {
    this.address = await this.#server.listen(this.#options.listen);
  }

  join(membership: Membership, events: StreamEvents): Streams {
    this.#streams?.close();
    // What is still on its way to others is in memory that is about to be used again; a member's streams only open when it
    // has been sent.
    this.#unfinished = [...this.#unfinished, ...(this.#streams?.outgoing ?? [])].filter(([, call]) => call.holdsBytes);
    for (const [workerId, call] of this.#unfinished) if (!membership.workerIds.includes(workerId)) call.cutOff();
    this.#generation = membership.generation;
    this.#connections.keepOnly(membership.addresses);
    this.#names = new Map(membership.addresses.map((at, rank) => [at, workerNameOf(membership.workerIds[rank]!)]));
    const streams = new GenerationStreams(membership, events, this.#connections, this.#options.connectMs);
    this.#streams = streams;
    const early = this.#early;
    this.#early = [];
    for (const subscription of early) this.#subscribed(subscription);
    return streams;
  }

  serveState(provide: StateProvider): void {
    this.#provide = provide;
  }

  async copyState(from: string, request: StateRequest, signal: AbortSignal): Promise<ServedState> {
    const { generation, step } = request;
    try {
      return await receiveState(
        this.#connections.to(from, this.#names.get(from) ?? null),
        { generation, step: step ?? 0, anyStep: step === null },
        signal,
      );
    } catch (error) {
      throw new LockstepError(
        "process-failed",
        `Copying the state${step === null ? "" : ` of step ${step}`} from ${from} failed: ${messageOf(error)}.`,
        { cause: error },
      );
    }
  }

  async close(): Promise<void> {
    this.#streams?.close();
    this.#connections.keepOnly([]);
    for (const { call } of this.#early) call.end();
    await this.#server.close();
  }

  #subscribed(subscription: Outgoing): void {
    const { call, request } = subscription;
    const { generation, observer, workerId } = request;
    if (!this.#isWorker(call, observer ? null : workerNameOf(workerId))) return;
    if (generation > this.#generation) {
      this.#early.push(subscription);
      call.onCancelled(() => {
        this.#early = this.#early.filter((other) => other !== subscription);
      });
      return;
    }
    const refusal =
      generation < this.#generation || !this.#streams
        ? `generation ${generation} is over, this worker is in ${this.#generation}`
        : this.#streams.accept(subscription);
    if (refusal) call.refuse(refusal);
  }

  /** Whether who calls is a worker, and the one whom it says that it is, if it says so. Else the call is refused. */
  #isWorker(call: ServerCall, name: string | null): boolean {
    const { peer } = call;
    if (peer === null || (peer.role === "worker" && (name === null || name === peer.name))) return true;
    const detail = `the ${described(peer)} calls as ${name === null ? "a worker" : `the worker "${name}"`}`;
    this.#options.security.refusals.note({ kind: "a call in another's name", from: described(peer), detail });
    call.refuse(detail, status.PERMISSION_DENIED);
    return false;
  }

  async #stateAsked(call: ServerCall, { generation, step, anyStep }: CopyStateRequest__Output): Promise<void> {
    if (!this.#isWorker(call, null)) return;
    const request = { generation, step: anyStep ? null : step };
    const state = await this.#provide(request).catch((error: unknown) => messageOf(error));
    if (typeof state === "string") {
      call.refuse(state);
      return;
    }
    const { progress, digest } = state;
    call.send(nothing, Buffer.from(encodeJson({ progress, digest })));
    const bytes = new Uint8Array(state.values.buffer, state.values.byteOffset, state.values.byteLength);
    for (let begin = 0; begin < bytes.length && !call.isCancelled; begin += stateChunkBytes) {
      await new Promise<void>((resolve) => {
        call.onCancelled(resolve);
        call.send(nothing, bytes.subarray(begin, begin + stateChunkBytes), resolve);
      });
    }
    call.end();
  }
}

const nothing = new Uint8Array(0);

/** protobuf's decoder wants a Buffer. */
function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The streams of one generation: to each peer an outbox that it subscribes to, from each peer a subscription. */
class GenerationStreams implements Streams {
  readonly #membership: Membership;
  /** The ranks of all others. */
  readonly #peers: readonly number[];
  readonly #events: StreamEvents;
  readonly #connections: PeerConnections;
  /** This worker's subscriptions. */
  readonly #subscriptions: Call[] = [];
  readonly #outgoing = new Map<number, ServerCall>();
  /** Peers that have been told that their subscription is taken. */
  readonly #accepted = new Set<number>();
  readonly #observers = new Set<ServerCall>();
  /** Messages for peers that have not subscribed yet. */
  readonly #waiting = new Map<number, (readonly [head: Uint8Array, payload: Uint8Array])[]>();
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

  send(rank: number, head: Uint8Array, payload: Uint8Array): void {
    const call = this.#outgoing.get(rank);
    if (call) call.send(head, payload);
    else this.#waiting.set(rank, [...(this.#waiting.get(rank) ?? []), [head, payload]]);
  }

  sendAll(head: Uint8Array, payload: Uint8Array): void {
    for (const rank of this.#peers) this.send(rank, head, payload);
    if (this.#observers.size === 0) return;
    const mostBytes = Math.max(leastBytesToObserver, 2 * this.#events.roundBytes);
    const copy = payload.slice();
    for (const call of this.#observers) {
      if (call.unsentBytes < mostBytes) call.send(head, copy);
      else {
        this.#observers.delete(call);
        call.giveUp(`this observer falls ${formatBytes(call.unsentBytes)} behind`);
      }
    }
  }

  /** Takes a peer's subscription; returns the reason if it is refused. */
  accept({ call, request }: Outgoing): string | null {
    const { rank, workerId, expectedWorkerId, observer } = request;
    const { workerIds } = this.#membership;
    if (this.#closed) return `generation ${this.#membership.generation} is over`;
    if (this.#membership.rank === null) return "this worker only observes";
    const own = workerIds[this.#membership.rank];
    if (expectedWorkerId !== own) return `this is ${own}, not ${expectedWorkerId}`;
    if (observer) {
      this.#acceptObserver(call, request.address);
      return null;
    }
    if (!this.#peers.includes(rank)) return `rank ${rank} is no peer in this generation`;
    if (workerId !== workerIds[rank]) return `rank ${rank} is ${workerIds[rank]}, not ${workerId}`;
    if (this.#outgoing.has(rank)) return `rank ${rank} has subscribed already`;
    // The subscriber knows at once that the stream is open. It is open here when nothing of an older one is left to be sent.
    call.accept(() => {
      this.#accepted.add(rank);
      this.#noteOpen();
    });
    this.#outgoing.set(rank, call);
    call.onCancelled(() => this.#break(rank, "it closed its subscription"));
    for (const [head, payload] of this.#waiting.get(rank) ?? []) call.send(head, payload);
    this.#waiting.delete(rank);
    return null;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#deadline);
    for (const call of this.#subscriptions) call.cancel();
    for (const call of this.#outgoing.values()) call.endNow();
    for (const call of this.#observers) call.end(); // they may still follow what they were told
  }

  /** What peers have subscribed to, each by its worker. */
  get outgoing(): Subscribed[] {
    return [...this.#outgoing].map(([rank, call]) => [this.#membership.workerIds[rank]!, call]);
  }

  /** Takes an observer's subscription, once it is reached where it says that it is. */
  #acceptObserver(call: ServerCall, address: string): void {
    this.#connections.whenConnected(address, call.peer?.name ?? null, (isConnected) => {
      if (this.#closed || call.isCancelled) return;
      if (!isConnected) return call.refuse(`this observer is not reached at ${address}`);
      call.accept();
      this.#observers.add(call);
      call.onCancelled(() => this.#observers.delete(call));
    });
  }

  #subscribe(address: string, rank: number): void {
    const { generation, workerIds, rank: own } = this.#membership;
    const client = this.#connections.to(address, workerNameOf(workerIds[rank]!));
    const request = Subscribe.requestSerialize({
      generation,
      ...(own === null
        ? { observer: true, address: this.#membership.address }
        : { rank: own, workerId: workerIds[own]! }),
      expectedWorkerId: workerIds[rank]!,
    });
    const call = client.call(Subscribe.path, request, headerBytes, {
      // The peer answers when it accepts.
      onAccepted: () => {
        this.#incoming.add(rank);
        this.#noteOpen();
      },
      place: (head, payloadBytes) => (this.#closed ? null : this.#events.place(rank, head, payloadBytes)),
      arrived: (head, payload) => {
        if (!this.#closed && payload) this.#events.onMessage(rank, head, payload);
      },
      onEnd: (end) => {
        if (end.kind === "ended") return this.#break(rank, "it closed its outbox");
        const isRefusal = end.kind === "refused" && end.code === status.FAILED_PRECONDITION;
        if (!this.#closed && !isRefusal) this.#connections.drop(address, client);
        this.#break(rank, end.reason);
      },
    });
    this.#subscriptions.push(call);
  }

  #noteOpen(): void {
    if (!this.#closed && this.#peers.every((rank) => this.#lack(rank) === null)) this.#events.onOpen();
  }

  /** Null when the streams with a peer are open, else what it has not done. */
  #lack(rank: number): string | null {
    // Nobody subscribes to an observer.
    if (this.#membership.rank !== null && !this.#accepted.has(rank)) return "it did not subscribe";
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
