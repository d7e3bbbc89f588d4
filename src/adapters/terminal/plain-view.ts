import type { Writable } from "node:stream";
import type { CheckpointPolicy } from "../../core/checkpoint-policy.ts";
import type { RunResult } from "../../core/run-result.ts";
import type { ClusterStatus } from "../../core/status.ts";
import { printable, summaryText } from "../../core/summary-table.ts";
import { ClusterJournal, type Earlier, EpochJournal } from "./journal.ts";
import { epochPieces } from "./lines.ts";
import { plainStyle } from "./style.ts";
import type { LaunchView } from "./view.ts";

/** For files and pipes: a line for each epoch, each set-up step and each decision; no escape codes. */
export class PlainView implements LaunchView {
  readonly #stdout: Writable;
  readonly #epochs: EpochJournal;
  readonly #cluster = new ClusterJournal();

  constructor(options: { stdout: Writable; policy: CheckpointPolicy }) {
    this.#stdout = options.stdout;
    this.#epochs = new EpochJournal(options.policy);
  }

  say(line: string): void {
    if (!this.#stdout.destroyed && !this.#stdout.writableEnded) this.#stdout.write(`${printable(line)}\n`);
  }

  earlier(status: ClusterStatus, when?: Earlier): void {
    const line = this.#epochs.earlier(status, when);
    if (line !== null) this.say(line);
  }

  update(status: ClusterStatus): void {
    const change = this.#cluster.news(status);
    for (const news of this.#epochs.news(status)) this.say(epochPieces(news, status.epochs, plainStyle).join("  "));
    if (change !== null && status.state !== "finished") this.say(change.replaceAll("\n", " "));
  }

  finished(result: RunResult): void {
    this.say(`\n${summaryText(result)}`);
  }

  close(): void {}
}
