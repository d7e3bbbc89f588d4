/** One of TensorBoard's folders: what it has of a run, and what is appended to it. */
import { appendFile, mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { decodeEvent, type Event, encodeEvent, type ReadEvent, type SummaryValue } from "./events.ts";
import { decodeRecords, encodeRecord } from "./records.ts";

/** Values of one epoch. */
export interface EpochValues {
  readonly epoch: number;
  readonly values: readonly SummaryValue[];
}

/** Seconds, as in the names that TensorFlow gives; they are read in the order of their names. */
const fileName = /tfevents\.(\d+)\./;

export class EventFolder {
  readonly #path: string;
  readonly #file: string;
  readonly #clock: () => number;
  /** The scalars that readers see now, by epoch and tag. */
  readonly #epochs: Map<number, Map<string, number>>;
  readonly #models: Set<string>;
  #isNew = true;

  private constructor(path: string, file: string, clock: () => number, read: Contents) {
    this.#path = path;
    this.#file = file;
    this.#clock = clock;
    this.#epochs = read.epochs;
    this.#models = read.models;
  }

  /**
   * Reads what is there; a folder that is not is made with the first event.
   * @param writer a name for the file that is written, of letters, digits, "-" and "."
   * @param clock wall-clock time in ms
   */
  static async open(path: string, writer: string, clock: () => number): Promise<EventFolder> {
    const names = (await namesIn(path)).filter((name) => fileName.test(name)).sort();
    const read: Contents = { epochs: new Map(), models: new Set() };
    for (const name of names) note(read, await readFile(join(path, name)));
    // After those that are there, whatever the clock of another machine said.
    const newest = names.reduce((most, name) => Math.max(most, Number(fileName.exec(name)![1])), 0);
    const number = Math.max(Math.floor(clock() / 1000), newest + 1);
    const file = `events.out.tfevents.${String(number).padStart(10, "0")}.${writer}.v2`;
    return new EventFolder(path, file, clock, read);
  }

  /** Appends the model unless it is there, and the first of these epochs that is not there as it is now, with all after it. */
  async write(model: SummaryValue | null, epochs: readonly EpochValues[]): Promise<void> {
    const events: Event[] = [];
    if (model?.kind === "model" && !this.#models.has(model.json)) {
      events.push({ kind: "summary", step: 0, values: [model] });
    }
    const first = epochs.findIndex((one) => !this.#has(one));
    const lacking = first < 0 ? [] : epochs.slice(first);
    const [from] = lacking;
    // The run has gone back behind what is there, or something in the middle could not be written.
    if (from && [...this.#epochs.keys()].some((epoch) => epoch >= from.epoch)) {
      // Twice: TensorBoard takes the first mark that it sees for the beginning, which takes nothing back.
      const back = { kind: "restart", step: from.epoch } as const;
      events.push(back, back);
    }
    events.push(...lacking.map(({ epoch, values }): Event => ({ kind: "summary", step: epoch, values })));
    if (events.length === 0) return;
    const wallTimeS = this.#clock() / 1000;
    const all = this.#isNew ? [{ kind: "version" } as const, ...events] : events;
    const records = all.map((event) => encodeRecord(encodeEvent(event, wallTimeS)));
    await mkdir(this.#path, { recursive: true });
    await appendFile(join(this.#path, this.#file), Buffer.concat(records));
    this.#isNew = false;
    for (const record of records) note({ epochs: this.#epochs, models: this.#models }, record);
  }

  /** With these very scalars. Histograms are written with them, or never. */
  #has({ epoch, values }: EpochValues): boolean {
    const there = this.#epochs.get(epoch);
    return values.every(
      (value) => value.kind !== "scalar" || Object.is(there?.get(value.tag), Math.fround(value.value)),
    );
  }
}

interface Contents {
  readonly epochs: Map<number, Map<string, number>>;
  readonly models: Set<string>;
}

/** As TensorBoard reads: a restart takes back its step and all later ones. What is no event is passed over. */
function note({ epochs, models }: Contents, file: Uint8Array): void {
  for (const record of decodeRecords(file)) {
    const event = decoded(record);
    if (event === null) continue;
    const { step, isRestart, scalars, models: read } = event;
    if (isRestart) for (const epoch of [...epochs.keys()]) if (epoch >= step) epochs.delete(epoch);
    for (const model of read) models.add(model);
    if (scalars.length === 0) continue;
    const there = epochs.get(step) ?? new Map<string, number>();
    for (const { tag, value } of scalars) there.set(tag, value);
    epochs.set(step, there);
  }
}

function decoded(record: Uint8Array): ReadEvent | null {
  try {
    return decodeEvent(record);
  } catch {
    return null;
  }
}

async function namesIn(path: string): Promise<readonly string[]> {
  return readdir(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw error;
  });
}
