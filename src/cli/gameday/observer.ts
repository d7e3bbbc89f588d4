/** The run's keys as gameday sees them: past all proxies, and only to read. */
import type { EpochState } from "../../core/gameday.ts";
import { decodeJson } from "../../core/json.ts";
import { type Keys, keysOf } from "../../core/keys.ts";
import type { Ending, EpochRecord, JobRecord, LeaderRecord, Refusal } from "../../core/records.ts";
import type { CheckpointPointer } from "../../core/status.ts";
import type { Coordination, Entry } from "../../ports/coordination.ts";
import { type RunReading, readRun, readValue } from "../../runtime/run-reading.ts";
import { defaultLimitMs, inTime } from "./logbook.ts";

export interface Observation extends RunReading {
  readonly leader: (LeaderRecord & { readonly token: number }) | null;
  readonly latest: CheckpointPointer | null;
  readonly failed: string | null;
  /** The newest committed epoch; -1 before the first. */
  readonly epoch: number;
}

const pollMs = 500;

export class Observer {
  readonly keys: Keys;
  readonly #coordination: Coordination;

  constructor(coordination: Coordination, record: JobRecord) {
    this.#coordination = coordination;
    this.keys = keysOf(record.job, record.run);
  }

  async read(): Promise<Observation> {
    const { keys } = this;
    const { entries } = await this.#coordination.list(keys.prefix);
    const reading = readRun(entries, keys);
    const leader = reading.entries.get(keys.leader);
    return {
      ...reading,
      leader: leader ? { ...decodeJson<LeaderRecord>(leader.value), token: leader.createRevision } : null,
      latest: readValue<CheckpointPointer>(reading.entries, keys.latest),
      failed: readValue<Ending>(reading.entries, keys.failed)?.reason ?? null,
      epoch: Math.max(-1, ...reading.epochs.map(({ epoch }) => epoch)),
    };
  }

  /** Resolves with the first answer that is not null, asked after every change; etcd may be away meanwhile. */
  until<T>(what: string, answer: (now: Observation) => T | null, limitMs = defaultLimitMs): Promise<T> {
    return inTime<T>(what, limitMs, (found, failed) => {
      let again = false;
      let reading = false;
      let ended = false;
      const read = async () => {
        again = true;
        if (reading) return;
        reading = true;
        while (again && !ended) {
          again = false;
          const now = await this.read().catch(() => null); // asked again after the next hint
          try {
            const value = now && answer(now);
            if (value !== null) found(value);
          } catch (error) {
            failed(error);
          }
        }
        reading = false;
      };
      const watch = this.#coordination.watch(this.keys.prefix, pollMs, () => void read());
      void read();
      return () => {
        ended = true;
        watch.close();
      };
    });
  }

  async epochs(): Promise<readonly EpochState[]> {
    const { epochs } = await this.read();
    return epochs.map(epochState);
  }

  /** Of every epoch's record and every save: problems with how often it was written. */
  async writtenOnce(): Promise<readonly string[]> {
    const { entries } = await this.read();
    const twice = (entry: Entry) => entry.createRevision !== entry.modRevision;
    return [...entries.values()]
      .filter(({ key }) => key.startsWith(this.keys.epochs) || key.startsWith(this.keys.saves))
      .filter(twice)
      .map(({ key }) => `${key} was written more than once`);
  }

  /** Of the epochs that were committed from this one to that, both included: problems with how often each was published. */
  async publishedOnce(from: number, to: number): Promise<readonly string[]> {
    const { entries, epochs } = await this.read();
    return epochs
      .filter(({ epoch }) => epoch >= from && epoch <= to)
      .flatMap(({ epoch, state: { lineage, step } }) => {
        const save = entries.get(this.keys.save(lineage, step));
        if (save && save.createRevision === save.modRevision) return [];
        const what = save ? "was published more than once" : "was not published";
        return [`the checkpoint of epoch ${epoch} (step ${step}) ${what}`];
      });
  }

  async refusalOf(workerId: string): Promise<Refusal | null> {
    const { entries } = await this.read();
    return readValue<Refusal>(entries, this.keys.refusal(workerId));
  }

  async close(): Promise<void> {
    await this.#coordination.close();
  }
}

function epochState({ epoch, state, weightsDigest, metrics }: EpochRecord): EpochState {
  return { epoch, step: state.step, weightsDigest, metrics };
}

export function nameOf(workerId: string): string {
  return workerId.replace(/\.[^.]*$/, "");
}
