/** The data plane between workers: one outbox a worker, to which its peers subscribe once a generation. */
export interface Transport {
  /** Where this worker listens, as "host:port". */
  readonly address: string;
  /** Opens the streams of one generation, in both directions. Streams of older generations are refused from then on. */
  join(membership: Membership, events: StreamEvents): Streams;
  /** Serves this worker's state to peers that ask for it, until the next call. */
  serveState(provide: StateProvider): void;
  /** Copies a peer's state. Rejects when the peer refuses, breaks off or sends something else. */
  copyState(from: string, request: StateRequest, signal: AbortSignal): Promise<ServedState>;
  close(): Promise<void>;
}

export interface Membership {
  readonly generation: number;
  /**
   * Null for an observer: it hears what everyone is told, says nothing, and nobody waits for it. Members take it only if
   * they reach it, so that whoever observes could be a member.
   */
  readonly rank: number | null;
  /** Where the others reach this worker. */
  readonly address: string;
  /** Addresses in rank order, this worker's own included if it has a rank. */
  readonly addresses: readonly string[];
  readonly workerIds: readonly string[];
}

export interface StreamEvents {
  /** What the totals of a round have in bytes: they may be sent all at once, so an observer that lacks them is not far behind. */
  readonly roundBytes: number;
  /** Every stream of the generation is open, in both directions. At once in a generation of one. */
  onOpen(): void;
  /** A message from a peer's outbox begins: where its payload is wanted, or null if it is not wanted. */
  place(rank: number, head: Uint8Array, payloadBytes: number): Uint8Array | null;
  /** All of a message that is wanted is there, its payload where it was wanted. */
  onMessage(rank: number, head: Uint8Array, payload: Uint8Array): void;
  /** The stream from a peer broke, or could not be opened in time. Reported once a peer. */
  onBroken(rank: number, reason: string): void;
}

/**
 * A message is a head of `headerBytes` (core/frame.ts) and a payload. The payload is sent from where it lies, and stays
 * there: it must not change before its peer has it, or until the streams of a later generation are open. Who observes is
 * sent a copy, and given up when it falls far behind.
 */
export interface Streams {
  /** Puts a message into the outbox for a peer. Kept until the peer subscribes. */
  send(rank: number, head: Uint8Array, payload: Uint8Array): void;
  /** Puts a message into the outbox for all peers, and for all who observe. */
  sendAll(head: Uint8Array, payload: Uint8Array): void;
  /**
   * Afterwards nothing is told any more, and nothing is written to where a payload was wanted. What peers have not been sent
   * yet may be lost to them; but what is on its way already is still read from where it lies, until the streams of a later
   * generation are open. Who observes still gets all it was told.
   */
  close(): void;
}

export interface StateRequest {
  readonly generation: number;
  /** Null: whatever step it is at. */
  readonly step: number | null;
}

/** The replicated state of a worker at a step. */
export interface StateSnapshot {
  /** `Progress` as JSON text. */
  readonly progress: string;
  /** All weights in the model's order, then each optimizer slot. */
  readonly values: Float32Array;
}

/** A state as a peer gives it. Whoever takes it compares what has arrived with the digest. */
export interface ServedState extends StateSnapshot {
  /** "sha256:…" of what was sent. */
  readonly digest: string;
}

/** Answers with the state, or with the reason why there is none to give. */
export type StateProvider = (request: StateRequest) => Promise<ServedState | string>;
