/**
 * Reads a run again and again, each time as a whole and at one revision. Of the epochs, of which there are more and more, etcd
 * is asked for those alone whose records were not read yet.
 */
import { decodeJson } from "../core/json.ts";
import type { Keys } from "../core/keys.ts";
import type { EpochRecord } from "../core/records.ts";
import type { Coordination, Entry, Span } from "../ports/coordination.ts";
import { Decoder } from "./decoder.ts";
import { epochsOnTheWay, type RunReading, readRun } from "./run-reading.ts";

/** A request has room for so many: where epochs are missing in between at more places, what is after them is read again. */
const mostSpans = 50;

export class RunReader {
  readonly #coordination: Coordination;
  readonly #keys: Keys;
  readonly #decoder = new Decoder();
  /**
   * What the records were read under. While it is the same each is written once and none is taken away: that takes a Running, or
   * another store.
   */
  #under = "";
  readonly #records = new Map<string, EpochRecord>();
  /** Their keys, without a gap in which another one might be written. */
  #spans: readonly Span[] = [];
  /** Null: to be found anew among the records. */
  #onTheWay: readonly EpochRecord[] | null = null;

  constructor(coordination: Coordination, keys: Keys) {
    this.#coordination = coordination;
    this.#keys = keys;
  }

  /** What etcd holds of the run, without what was saved when: that is for people, who read all of it. */
  async read(): Promise<RunReading> {
    const [coordination, keys] = [this.#coordination, this.#keys];
    const { entries } = await coordination.list(keys.prefix, [...this.#spans, under(keys.saves)]);
    const written = entries.filter(({ key }) => key === keys.generation || key === keys.origin);
    const now = JSON.stringify([coordination.rollbacks, written.map(({ modRevision, value }) => [modRevision, value])]);
    if (now !== this.#under) {
      const isKnown = this.#records.size > 0;
      this.#under = now;
      this.#records.clear();
      this.#spans = [];
      this.#onTheWay = null;
      if (isKnown) return this.read();
    }
    const isEpoch = ({ key }: Entry) => key.startsWith(keys.epochs);
    for (const entry of entries.filter(isEpoch)) this.#know(entry);
    const others = entries.filter((entry) => !isEpoch(entry));
    const reading = readRun(others, keys, this.#decoder);
    this.#onTheWay ??= epochsOnTheWay([...this.#records.values()], reading.origin, reading.earlier);
    return { ...reading, epochs: this.#onTheWay };
  }

  #know({ key, value }: Entry): void {
    const record = decodeJson<EpochRecord>(value);
    this.#records.set(key, record);
    this.#onTheWay = null;
    const before = this.#keys.epoch(record.state.lineage, record.epoch + 1);
    const extended = this.#spans.findIndex((span) => span.before === key);
    if (extended >= 0) this.#spans = this.#spans.with(extended, { from: this.#spans[extended]!.from, before });
    else if (this.#spans.length < mostSpans) {
      this.#spans = [...this.#spans, { from: key, before }].sort((a, b) => (a.from < b.from ? -1 : 1));
    }
  }
}

/** All keys that begin with this prefix, whose last character is "/". */
function under(prefix: string): Span {
  const next = String.fromCharCode(prefix.charCodeAt(prefix.length - 1) + 1);
  return { from: prefix, before: prefix.slice(0, -1) + next };
}
