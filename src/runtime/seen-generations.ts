/**
 * The highest generation that a process has read of. What etcd knows only grows: where it knows of none so high, its data
 * were lost, or older ones were put back, and what it says of generations stands for nothing. Put back to an earlier moment of
 * the same generation it lacks something that no number tells. The client notices that; from then on, until somebody opens an
 * era, each generation that is read counts as if its successor had been read, too: so etcd knows less than it should.
 */
import type { Origin } from "../core/origin.ts";

export class SeenGenerations {
  #highest = 0;
  /** The latest era that was read of; 0 before anything was read. */
  #era = 0;
  /** In it etcd was put back; 0 if it never was. */
  #voidEra = 0;
  #rollbacks = 0;

  /** 0 before the first. */
  get highest(): number {
    return this.#highest;
  }

  /** There has been this one, whoever tells that. */
  atLeast(generation: number): void {
    this.#highest = Math.max(this.#highest, generation);
  }

  /**
   * Notes what was read: a generation (0: there was none), in the era that began at this origin, when the client had noticed so
   * many rollbacks. True when what this process has announced may be gone, or is to be announced with a higher number.
   */
  note(generation: number, { era, after }: Pick<Origin, "era" | "after">, rollbacks: number): boolean {
    // A later era was opened by somebody else who has noticed it; and who has read nothing before has lost nothing.
    const isPutBack = rollbacks > this.#rollbacks && era <= this.#era;
    const isOpened = this.#era > 0 && era > this.#era;
    if (isPutBack && this.#highest > 0) this.#voidEra = this.#era;
    this.#rollbacks = rollbacks;
    this.#era = Math.max(this.#era, era);
    const before = this.#highest;
    const isVoid = era <= this.#voidEra && generation > 0;
    // Those who opened an era know of all that were formed before it.
    this.atLeast(Math.max(after, isVoid ? generation + 1 : generation));
    return isPutBack || isOpened || (isVoid && this.#highest > before);
  }
}
