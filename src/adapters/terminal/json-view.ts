import type { Writable } from "node:stream";
import type { CheckpointPolicy } from "../../core/checkpoint-policy.ts";
import { epochRecords, finishedEvent, type RunResult } from "../../core/run-result.ts";
import type { ClusterStatus } from "../../core/status.ts";
import { printable } from "../../core/summary-table.ts";
import { ClusterJournal, EpochJournal } from "./journal.ts";
import type { LaunchView } from "./view.ts";

/**
 * For programs: one JSON object a line on standard output, nothing else. Readers should skip events and fields that
 * they do not know. Numbers that JSON has no word for (NaN, the infinities) are null.
 *
 * - `{"event":"message","text"}`: set-up progress, a decision, a warning. Standard error has the same text.
 * - `{"event":"state","job","state","reason","generation","epoch","step","workers":[{"workerId","rank","leader","pid"}]}`:
 *   the cluster has another state or generation, or another reason for not training.
 * - `{"event":"epoch","job","epoch","epochs","step","metrics":{"loss",…},"improved","checkpoint"}`: an epoch is
 *   committed. Also for epochs before this launch, if the job was resumed. A number comes again only with other
 *   values, after the job went back. `checkpoint` says what became of it, in words.
 * - `{"event":"finished",…}`: the result; always the last line, and absent if the run came to no end.
 */
export class JsonView implements LaunchView {
  readonly #stdout: Writable;
  readonly #stderr: Writable;
  readonly #epochs: EpochJournal;
  readonly #cluster = new ClusterJournal();
  #ended = false;

  constructor(options: { stdout: Writable; stderr: Writable; policy: CheckpointPolicy }) {
    this.#stdout = options.stdout;
    this.#stderr = options.stderr;
    this.#epochs = new EpochJournal(options.policy);
  }

  say(line: string): void {
    if (!this.#stderr.destroyed && !this.#stderr.writableEnded) this.#stderr.write(`${printable(line)}\n`);
    this.#emit({ event: "message", text: line });
  }

  /** Programs get an event for each of them, with the first update. */
  earlier(): void {}

  update(status: ClusterStatus): void {
    const { job, state, reason, generation, epoch, epochs, step } = status;
    if (this.#cluster.news(status) !== null) {
      const workers = status.processes
        .filter(({ role }) => role === "worker")
        .map(({ workerId, rank, leader, pid }) => ({ workerId, rank, leader, pid }));
      this.#emit({ event: "state", job, state, reason, generation, epoch, step, workers });
    }
    for (const { record, step: epochStep, verdict } of this.#epochs.news(status)) {
      const [{ epoch: number, ...metrics } = { epoch: record.epoch }] = epochRecords([record]);
      const { improved } = record;
      this.#emit({
        event: "epoch",
        job,
        epoch: number,
        epochs,
        step: epochStep,
        metrics,
        improved,
        checkpoint: verdict,
      });
    }
  }

  finished(result: RunResult): void {
    this.#emit(finishedEvent(result));
    this.#ended = true;
  }

  close(): void {
    this.#ended = true;
  }

  #emit(event: Record<string, unknown>): void {
    if (this.#ended || this.#stdout.destroyed || this.#stdout.writableEnded) return;
    this.#stdout.write(`${JSON.stringify(event)}\n`);
  }
}
