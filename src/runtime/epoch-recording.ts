/**
 * The leader shows committed epochs to whoever watches curves. It does so after the commit and before the checkpoint: whoever
 * leads next has the boundaries that are not published, and so writes what a dead leader could not. Training waits for none of
 * it, and nothing depends on it: what fails, or takes too long, is a warning, and the next epoch brings what is missing.
 */
import { messageOf } from "../core/errors.ts";
import type { CheckpointContent, NamedTensor } from "../ports/checkpoint-storage.ts";
import type { Clock } from "../ports/clock.ts";
import type { Compute, ComputeInfo } from "../ports/compute.ts";
import type { EpochLog, LoggedBoundary } from "../ports/epoch-log.ts";
import type { Log } from "../ports/log.ts";
import type { Point } from "./point.ts";

/** So long a checkpoint waits for it. */
const patienceMs = 2000;

export interface EpochRecordingOptions {
  readonly epochLog: EpochLog;
  readonly compute: Pick<Compute, "gradient">;
  readonly info: Pick<ComputeInfo, "parameters" | "trainableCount">;
  readonly clock: Clock;
  readonly log: Log;
}

export class EpochRecording {
  readonly #options: EpochRecordingOptions;
  /** The boundaries that were written, or tried, under this token. */
  #done: { readonly token: number; readonly names: Set<string> } = { token: 0, names: new Set() };
  /** A writing that takes too long. */
  #late: Promise<void> | null = null;
  #isTroubled = false;

  constructor(options: EpochRecordingOptions) {
    this.#options = options;
  }

  /** Of a boundary that all have agreed on, by its leader under this token; of anything else nothing. Never rejects. */
  async record(point: Point, token: number): Promise<void> {
    const { lineage, era, epoch } = point.state;
    const name = `${lineage}/${era}/${epoch}`;
    if (this.#done.token !== token) this.#done = { token, names: new Set() };
    if (point.kind !== "boundary" || this.#done.names.has(name) || this.#late) return;
    this.#done.names.add(name);
    const writing = this.#write(point, token).finally(() => {
      this.#late = null;
    });
    const timer = new AbortController();
    const isLate = this.#options.clock.sleep(patienceMs, timer.signal).then(
      () => true,
      () => false,
    );
    if (await Promise.race([writing.then(() => false), isLate])) {
      this.#late = writing;
      this.#options.log.warn("writing an epoch for those who watch takes long; training does not wait", { epoch });
    }
    timer.abort();
  }

  async #write(point: Point, token: number): Promise<void> {
    const { epochLog, log } = this.#options;
    const { progress } = point;
    let content: CheckpointContent | null = null;
    const boundary: LoggedBoundary = {
      token,
      history: progress.history,
      weights: () => {
        content ??= point.content(unwritten);
        return content.weights;
      },
      gradients: () => this.#gradients(progress.step),
    };
    try {
      await epochLog.record(boundary);
      this.#isTroubled = false;
    } catch (error) {
      // Said once, however many epochs it lasts.
      const fields = { epoch: progress.epoch, error: messageOf(error) };
      log[this.#isTroubled ? "debug" : "warn"]("an epoch could not be written for those who watch", fields);
      this.#isTroubled = true;
    }
  }

  async #gradients(step: number): Promise<readonly NamedTensor[] | null> {
    const { compute, info } = this.#options;
    const row = await compute.gradient(step);
    if (row === null) return null;
    const trainable = info.parameters.filter(({ offset }) => offset < info.trainableCount);
    return trainable.map(({ name, shape, offset, size }) => ({
      name,
      shape,
      values: row.subarray(offset, offset + size),
    }));
  }
}

/** Of what is looked at, and never becomes a checkpoint. */
const unwritten = { id: "", generation: 0, fencingToken: 0, members: [], equivalences: [], writtenAt: "" };
