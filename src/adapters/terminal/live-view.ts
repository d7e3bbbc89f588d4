import type { CheckpointPolicy } from "../../core/checkpoint-policy.ts";
import { isOver } from "../../core/dashboard-view.ts";
import type { RunResult } from "../../core/run-result.ts";
import type { ClusterStatus, RunningEpoch } from "../../core/status.ts";
import { printable, summaryText } from "../../core/summary-table.ts";
import { Frame } from "./frame.ts";
import { ClusterJournal, type Earlier, EpochJournal } from "./journal.ts";
import { clusterLine, epochLine, epochPieces, fitted, progressLine, wrapPieces } from "./lines.ts";
import type { Style } from "./style.ts";
import type { LaunchView, ViewOptions } from "./view.ts";

const redrawIntervalMs = 100;

/** Training as Keras users know it: finished epochs stay, below them one line moves, and the last shows the cluster. */
export class LiveView implements LaunchView {
  readonly #columns: () => number;
  readonly #style: Style;
  readonly #frame: Frame;
  readonly #epochs: EpochJournal;
  readonly #cluster = new ClusterJournal();
  #status: ClusterStatus | null = null;
  /** Runs for a while after each drawing; updates that come meanwhile are drawn when it ends. */
  #pause: NodeJS.Timeout | null = null;
  #pending = false;
  /** Lines to stay that the next drawing brings. */
  #news: string[] = [];
  #lastRunning: RunningEpoch | null = null;
  #closed = false;

  constructor(options: Pick<ViewOptions, "stdout" | "columns"> & { policy: CheckpointPolicy; style: Style }) {
    // A terminal that does not know its size says 0.
    const columns = () => options.columns() || 80;
    // A line that fills the last column makes some terminals go on to the next row.
    this.#columns = () => Math.max(1, columns() - 1);
    this.#style = options.style;
    this.#frame = new Frame(options.stdout, columns);
    this.#epochs = new EpochJournal(options.policy);
  }

  say(line: string): void {
    this.#drawPending();
    this.#frame.print(printable(line).split("\n"));
  }

  earlier(status: ClusterStatus, when?: Earlier): void {
    const line = this.#epochs.earlier(status, when);
    if (line !== null) this.say(line);
  }

  update(status: ClusterStatus): void {
    if (this.#closed) return;
    this.#status = status;
    this.#lastRunning = status.running ?? this.#lastRunning;
    // Collected now: a short change of the cluster must not fall between two drawings.
    this.#news.push(...this.#newLines(status));
    if (this.#pause === null) this.#redraw();
    else this.#pending = true;
  }

  finished(result: RunResult): void {
    this.#drawPending();
    this.#stop("erase");
    this.say(`\n${summaryText(result)}`);
  }

  close(): void {
    this.#drawPending();
    // Of a run that is over the last line has told all, and nobody takes part.
    this.#stop(this.#status && isOver(this.#status.state) ? "erase" : "keep");
  }

  #redraw(): void {
    const status = this.#status;
    if (status === null) return;
    this.#pending = false;
    this.#frame.draw(this.#progress(status), this.#news);
    this.#news = [];
    this.#pause ??= setTimeout(() => {
      this.#pause = null;
      this.#drawPending();
    }, redrawIntervalMs);
    this.#pause.unref();
  }

  #drawPending(): void {
    if (this.#pending) this.#redraw();
  }

  #stop(leave: "keep" | "erase"): void {
    this.#closed = true;
    if (this.#pause !== null) clearTimeout(this.#pause);
    this.#pause = null;
    this.#frame.end(leave);
  }

  /** What this snapshot adds to the lines that stay. */
  #newLines(status: ClusterStatus): string[] {
    const change = this.#cluster.news(status);
    // Before the first generation the moving lines tell as much, and "finished" is what the summary is for.
    const worth = change !== null && status.generation > 0 && status.state !== "finished";
    const epochs = this.#epochs
      .news(status)
      .flatMap((news) => wrapPieces(epochPieces(news, status.epochs, this.#style), this.#columns()));
    return worth ? [...epochs, ...wrapPieces([this.#style.quiet(oneLine(change))], this.#columns())] : epochs;
  }

  /** The lines that move. */
  #progress(status: ClusterStatus): string[] {
    const columns = this.#columns();
    const { running, epochs, stepsPerEpoch, state } = status;
    const cluster = clusterLine(status, columns, this.#style);
    if (state !== "training" || (running === null && status.epoch >= epochs)) {
      const reason = status.reason === "" ? "" : `  ${oneLine(status.reason)}`;
      return [fitted(this.#style.bold(state) + reason, columns), cluster];
    }
    const shown = running ?? this.#restingEpoch(status);
    return [
      epochLine(shown.epoch, status, columns, this.#style),
      progressLine(shown, stepsPerEpoch, columns, this.#style),
      cluster,
    ];
  }

  /**
   * Between two epochs: the last one stays full until it is committed; then the next one's bar stands ready, so that
   * the lines keep their places.
   */
  #restingEpoch(status: ClusterStatus): RunningEpoch {
    const next = status.epoch + 1;
    if (this.#lastRunning?.epoch === next) return this.#lastRunning;
    return { epoch: next, stepInEpoch: 0, samplesPerSecond: 0, metrics: {} };
  }
}

function oneLine(text: string): string {
  return printable(text).replaceAll("\n", " ");
}
