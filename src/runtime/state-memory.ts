/**
 * Memory for the copies of the state that training stands still for. The pages of new memory come from the system one by one
 * when they are first written to, which takes several times as long as the copy, so it is made ready beside training; what is
 * given back is used again. Threads share it, so that it need not travel.
 */
import { setImmediate } from "node:timers/promises";
import { sharedMemory } from "../core/shared-memory.ts";

/** Kept for later. More are in use only while storage lags behind. */
const mostFree = 2;
/** Touched at once, in about a millisecond. */
const sliceLength = 256 * 1024;

export class StateMemory {
  readonly #length: number;
  readonly #free: Float32Array[] = [];
  readonly #lent = new WeakSet<Float32Array>();
  #isPreparing = false;

  /** @param length of a row of state */
  constructor(length: number) {
    this.#length = length;
  }

  /** Has memory ready for the next copy, before there is one. Fails with a RangeError where there is not as much. */
  async prepare(): Promise<void> {
    if (this.#isPreparing || this.#free.length > 0) return;
    this.#isPreparing = true;
    try {
      const values = this.#allocate();
      for (let begin = 0; begin < this.#length; begin += sliceLength) {
        values.fill(0, begin, begin + sliceLength);
        if (begin + sliceLength < this.#length) await setImmediate();
      }
      if (this.#free.length < mostFree) this.#free.push(values);
    } finally {
      this.#isPreparing = false;
    }
  }

  /** Whoever takes it writes all of it. It is given back once nobody reads it any more, or else left to the collector. */
  take(): Float32Array {
    const values = this.#free.pop() ?? this.#allocate();
    this.#lent.add(values);
    return values;
  }

  /** Memory that was not taken from here, or is back already, is left alone. */
  giveBack(values: Float32Array): void {
    if (this.#lent.delete(values) && this.#free.length < mostFree) this.#free.push(values);
  }

  #allocate(): Float32Array {
    return new Float32Array(sharedMemory(this.#length * Float32Array.BYTES_PER_ELEMENT));
  }
}
