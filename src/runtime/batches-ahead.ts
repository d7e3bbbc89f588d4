/**
 * The next step's batches, prepared by a thread of their own while this one computes. A batch is a function of epoch and positions,
 * whoever makes it; so whatever is not there, or not what was expected, is made here, and the bits are the same. The thread is only
 * started where getting batches takes a good part of a step: it opens the job and its data a second time.
 */
import { sharedMemory } from "../core/shared-memory.ts";
import { sizeOf } from "../core/transforms.ts";
import type { PreparedData } from "./prepared-data.ts";
import type { Batch } from "./training-program.ts";

/** Where the thread puts a batch. All of it is memory that threads share. */
export interface BatchSlot {
  /** The ticket of the request that was done last, or the negative of one that failed; whoever waits is woken. */
  readonly done: Int32Array<SharedArrayBuffer>;
  /** The ticket of the request that nobody has begun; 0 when somebody has. Whoever puts 0 there makes the batch. */
  readonly open: Int32Array<SharedArrayBuffer>;
  readonly features: Float32Array<SharedArrayBuffer>;
  readonly label: Float32Array<SharedArrayBuffer>;
  /** Null where the job has no weights. */
  readonly weight: Float32Array<SharedArrayBuffer> | null;
}

export interface BatchRequest {
  readonly slot: BatchSlot;
  /** From 1: a slot may be asked for again before an earlier request, which nobody wants any more, is done. */
  readonly ticket: number;
  readonly epoch: number;
  readonly positions: Uint32Array;
}

/** Another thread. It does what it is asked in that order. */
export interface BatchThread {
  readonly isOpen: boolean;
  prepare(request: BatchRequest): void;
  stop(): void;
}

export interface BatchesAheadOptions {
  readonly data: Pick<PreparedData, "shapes" | "isWeighted">;
  /** In one shard. */
  readonly mostSamples: number;
  /** `inputPart` of a step is what getting batches took; null while a thread would not help. It is asked again. */
  readonly start: (inputPart: number) => BatchThread | null;
  /** How long a batch may take that the thread has begun; then it is made here, and the thread is given up. */
  readonly patienceMs: number;
}

/** So many steps are looked at together. */
const stepsLookedAt = 20;
/** Below this part of a step a second copy of the data is the higher price. */
const leastPart = 0.1;
/** What all slots together may take. More shards than fit are prepared by whoever computes. */
const mostSlotBytes = 512 * 1024 * 1024;

export class BatchesAhead {
  readonly #options: BatchesAheadOptions;
  readonly #widths: { readonly features: number; readonly label: number };
  #thread: BatchThread | null = null;
  #isStarted = false;
  /** Of the steps that are looked at. */
  #looked = { steps: 0, inputMs: 0, stepMs: 0 };
  /** Of this step and the next one, in turns: what is read is not written. */
  readonly #slots: [BatchSlot[], BatchSlot[]] = [[], []];
  #turn: 0 | 1 = 0;
  #tickets = 0;
  #expected: BatchRequest[] = [];
  #coming: BatchRequest[] = [];

  constructor(options: BatchesAheadOptions) {
    this.#options = options;
    const { features, label } = options.data.shapes;
    this.#widths = { features: sizeOf(features), label: sizeOf(label) };
  }

  /** At the beginning of a step: the positions of each of the next one's shards. What was expected last is this step's. */
  expect(epoch: number, shards: readonly Uint32Array[]): void {
    this.#expected = this.#coming;
    this.#coming = [];
    if (!this.#thread?.isOpen) return;
    this.#turn = this.#turn === 0 ? 1 : 0;
    for (const [i, positions] of shards.entries()) {
      const slot = this.#slot(i);
      if (slot === null || positions.length > this.#options.mostSamples) continue;
      const request = { slot, ticket: ++this.#tickets, epoch, positions: positions.slice() };
      Atomics.store(slot.open, 0, request.ticket);
      this.#coming.push(request);
      this.#thread.prepare(request);
    }
  }

  /**
   * A batch that was expected and is made, or is about to be: then it is waited for. Null for any other, also where the thread has not
   * begun it, which is late where processors are busy. It is good until the next step ends.
   */
  take(positions: Uint32Array, epoch: number): Batch | null {
    const request = this.#expected.find((one) => one.epoch === epoch && areEqual(one.positions, positions));
    if (!request) return null;
    const { open, features, label, weight } = request.slot;
    if (Atomics.compareExchange(open, 0, request.ticket, 0) === request.ticket) return null;
    if (!this.#isDone(request)) {
      this.close();
      return null;
    }
    const count = positions.length;
    const batch = {
      count,
      features: features.subarray(0, count * this.#widths.features),
      label: label.subarray(0, count * this.#widths.label),
    };
    return weight === null ? batch : { ...batch, weight: weight.subarray(0, count) };
  }

  /** At the end of a step: how long it took, and its batches. */
  stepped(inputMs: number, stepMs: number): void {
    if (this.#isStarted) return;
    const { steps, inputMs: input, stepMs: all } = this.#looked;
    this.#looked = { steps: steps + 1, inputMs: input + inputMs, stepMs: all + stepMs };
    if (this.#looked.steps < stepsLookedAt) return;
    const part = this.#looked.inputMs / this.#looked.stepMs;
    this.#looked = { steps: 0, inputMs: 0, stepMs: 0 };
    if (part < leastPart) return;
    this.#thread = this.#options.start(part);
    this.#isStarted = this.#thread !== null;
  }

  close(): void {
    this.#thread?.stop();
    this.#thread = null;
    this.#expected = [];
    this.#coming = [];
  }

  /** Of a request that the thread has begun. */
  #isDone({ slot, ticket }: BatchRequest): boolean {
    for (;;) {
      const done = Atomics.load(slot.done, 0);
      if (Math.abs(done) === ticket) return done > 0;
      // Woken by the request before it, it waits for its own.
      if (Atomics.wait(slot.done, 0, done, this.#options.patienceMs) === "timed-out") return false;
    }
  }

  #slot(index: number): BatchSlot | null {
    const slots = this.#slots[this.#turn];
    if (index < slots.length) return slots[index]!;
    const { mostSamples, data } = this.#options;
    const { features, label } = this.#widths;
    const floatBytes = Float32Array.BYTES_PER_ELEMENT;
    const slotBytes = mostSamples * (features + label + 1) * floatBytes;
    if (this.#slots.length * (slots.length + 1) * slotBytes > mostSlotBytes) return null;
    const number = () => new Int32Array(sharedMemory(Int32Array.BYTES_PER_ELEMENT));
    const floats = (width: number) => new Float32Array(sharedMemory(mostSamples * width * floatBytes));
    slots.push({
      done: number(),
      open: number(),
      features: floats(features),
      label: floats(label),
      weight: data.isWeighted ? floats(1) : null,
    });
    return slots[index] ?? null;
  }
}

/** What the other thread does with a request. */
export function prepareBatch(data: Pick<PreparedData, "training">, request: BatchRequest): void {
  const { slot, ticket, epoch, positions } = request;
  // Somebody else has begun it, or the slot was asked for something else meanwhile.
  if (Atomics.compareExchange(slot.open, 0, ticket, 0) !== ticket) return;
  let done = -ticket;
  try {
    const { features, label, weight } = data.training(positions, epoch);
    slot.features.set(features);
    slot.label.set(label);
    if (weight) slot.weight?.set(weight);
    done = ticket;
  } finally {
    Atomics.store(slot.done, 0, done);
    Atomics.notify(slot.done, 0);
  }
}

function areEqual(one: Uint32Array, other: Uint32Array): boolean {
  return one.length === other.length && one.every((position, i) => position === other[i]);
}
