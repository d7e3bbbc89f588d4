/**
 * The keys of a run as a worker reads them, read again after every hint. Whoever waits for something waits for a state
 * of these keys, never for an event: a hint that is lost or doubled changes nothing.
 */

import { messageOf } from "../core/errors.ts";
import type { Generation } from "../core/membership.ts";
import { decodeJson } from "../core/json.ts";
import type { Keys } from "../core/keys.ts";
import { firstOrigin, type Origin } from "../core/origin.ts";
import { type Ending, type EpochRecord, isFor, type LeaderRecord, type Refusal } from "../core/records.ts";
import type { CheckpointPointer } from "../core/status.ts";
import { type Wishes, wishesOf } from "../core/wishes.ts";
import type { Condition, Coordination, Entry, Watch } from "../ports/coordination.ts";
import type { Log } from "../ports/log.ts";
import { Decoder } from "./decoder.ts";

export interface Versioned<T> {
  readonly value: T;
  readonly createRevision: number;
  readonly modRevision: number;
}

export interface RunState {
  readonly generation: Versioned<Generation> | null;
  readonly leader: Versioned<LeaderRecord> | null;
  /** The lineage and era under way, as etcd has it: what is fenced is fenced in these alone. Null in the first. */
  readonly origin: string | null;
  readonly latest: Versioned<CheckpointPointer> | null;
  readonly best: Versioned<CheckpointPointer> | null;
  /** A stop was asked for, of this start. */
  readonly stop: boolean;
  readonly done: boolean;
  /** Why this start of the run cannot go on, or null. */
  readonly failed: Ending | null;
  readonly refusal: Refusal | null;
  readonly wishes: Wishes;
}

export class RunView {
  readonly #coordination: Coordination;
  readonly #keys: Keys;
  /** The start of the run that the worker belongs to. */
  readonly #start: number;
  readonly #log: Log;
  readonly #watch: Watch;
  readonly #decoder = new Decoder();
  readonly #listeners = new Set<(state: RunState) => void>();
  #workerId: string | null = null;
  #state: RunState | null = null;
  #reading: Promise<void> | null = null;
  #next: Promise<void> | null = null;
  #closed = false;

  constructor(coordination: Coordination, keys: Keys, start: number, pollMs: number, log: Log) {
    this.#coordination = coordination;
    this.#keys = keys;
    this.#start = start;
    this.#log = log;
    this.#watch = coordination.watch(keys.now, pollMs, () => void this.refresh());
  }

  /** The id whose refusal is read. */
  follow(workerId: string): void {
    this.#workerId = workerId;
    this.#state = null;
  }

  /** What was read last; null before the first reading. */
  get state(): RunState | null {
    return this.#state;
  }

  /** Called after every reading, with what was read. Returns a function that ends it. */
  onReading(listener: (state: RunState) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Resolves with the first truthy answer; rejects with what `answer` throws, or with the signal's reason. */
  until<T>(answer: (state: RunState) => T | null | undefined | false, signal?: AbortSignal): Promise<T> {
    return new Promise((resolve, reject) => {
      const check = () => {
        try {
          const found = this.#state && answer(this.#state);
          if (!found) return;
          end();
          resolve(found);
        } catch (error) {
          end();
          reject(error);
        }
      };
      const aborted = () => {
        end();
        reject(signal?.reason);
      };
      const forget = this.onReading(check);
      const end = () => {
        forget();
        signal?.removeEventListener("abort", aborted);
      };
      if (signal?.aborted) return aborted();
      signal?.addEventListener("abort", aborted);
      check();
    });
  }

  /** Resolves when everything has been read again, by a reading that began after this call. */
  refresh(): Promise<void> {
    if (this.#reading === null) {
      this.#reading = this.#readOnce().finally(() => {
        this.#reading = null;
      });
      return this.#reading;
    }
    // The reading under way may have missed what the caller knows of; all who ask meanwhile share the next one.
    this.#next ??= this.#reading.then(() => {
      this.#next = null;
      return this.refresh();
    });
    return this.#next;
  }

  close(): void {
    this.#closed = true;
    this.#watch.close();
  }

  async #readOnce(): Promise<void> {
    let state: RunState;
    try {
      state = await this.#read();
    } catch (error) {
      // etcd is out of reach: the next poll reads again.
      if (!this.#closed) this.#log.debug("reading the run's keys failed", { error: messageOf(error) });
      return;
    }
    this.#state = state;
    if (this.#closed) return;
    for (const listener of [...this.#listeners]) listener(state);
  }

  async #read(): Promise<RunState> {
    const keys = this.#keys;
    const refusalKey = this.#workerId === null ? null : keys.refusal(this.#workerId);
    const { generation, leader, origin, latest, best, stop, done, failed, wishes } = keys;
    // At one revision, so that what is decided on fits together.
    const always = [generation, leader, origin, latest, best, stop, done, failed, wishes];
    const wanted = [...always, ...(refusalKey ? [refusalKey] : [])];
    const entries = await this.#coordination.read(wanted);
    const refusal = refusalKey ? entries.get(refusalKey) : undefined;
    const ending = (key: string) => {
      const entry = entries.get(key);
      const found = entry ? decodeJson<Ending>(entry.value) : null;
      return isFor(found, this.#start) ? found : null;
    };
    const versioned = <T>(entry: Entry | undefined): Versioned<T> | null => {
      if (!entry) return null;
      const { createRevision, modRevision } = entry;
      return { value: this.#decoder.decode<T>(entry), createRevision, modRevision };
    };
    return {
      generation: versioned<Generation>(entries.get(generation)),
      leader: versioned<LeaderRecord>(entries.get(leader)),
      origin: entries.get(origin)?.value ?? null,
      latest: versioned<CheckpointPointer>(entries.get(latest)),
      best: versioned<CheckpointPointer>(entries.get(best)),
      stop: ending(stop) !== null,
      done: entries.has(done),
      failed: ending(failed),
      refusal: refusal ? decodeJson<Refusal>(refusal.value) : null,
      wishes: wishesOf(this.#start, versioned<Wishes>(entries.get(wishes))?.value ?? null),
    };
  }
}

/** Where the lineage and the era under way begin. */
export function originOf({ origin }: Pick<RunState, "origin">): Origin {
  return origin === null ? firstOrigin : decodeJson<Origin>(origin);
}

/** Revisions alone begin anew when etcd loses its data. */
export function isSame(one: Versioned<Generation> | null, other: Versioned<Generation>): boolean {
  return one?.modRevision === other.modRevision && one.value.generation === other.value.generation;
}

/** The key is as it was when it was read. */
export function unchanged(key: string, known: Pick<Entry, "modRevision"> | null | undefined): Condition {
  return known ? { kind: "modified-at", key, revision: known.modRevision } : { kind: "absent", key };
}

/**
 * What a leader compares: its token, and that the lineage and the era are those in which it was elected. Revisions begin anew
 * when etcd's data are lost, so that a token alone might fit another's.
 */
export function asLeader(keys: Keys, token: number, { origin }: Pick<RunState, "origin">): Condition[] {
  return [{ kind: "created-at", key: keys.leader, revision: token }, inEra(keys, { origin })];
}

/** The lineage and the era are those that were read. */
export function inEra(keys: Keys, { origin }: Pick<RunState, "origin">): Condition {
  return origin === null ? { kind: "absent", key: keys.origin } : { kind: "equals", key: keys.origin, value: origin };
}

export async function readEpoch(coordination: Coordination, key: string): Promise<EpochRecord | null> {
  const entry = await coordination.get(key);
  return entry && decodeJson<EpochRecord>(entry.value);
}
