/** `--tensorboard`: where a launch or a worker writes TensorBoard's event files, and what beside scalars. */
import { hostname } from "node:os";
import { resolve } from "node:path";
import { systemClock } from "../adapters/system/clock.ts";
import { type HistogramKind, histogramKinds, TensorBoardLog } from "../adapters/tensorboard/tensorboard-log.ts";
import { LockstepError } from "../core/errors.ts";
import type { EpochHistory } from "../core/status.ts";
import type { Log } from "../ports/log.ts";
import { EpochRecording } from "../runtime/epoch-recording.ts";
import type { Arguments } from "./command.ts";
import type { WorkerThreads } from "./threads/start-worker-threads.ts";

export const tensorBoardOptions = {
  tensorboard: { value: "DIR", help: "write event files for TensorBoard, into DIR/train and DIR/validation" },
  histograms: {
    value: "KIND,…",
    help: "with --tensorboard, histograms at every epoch's end: weights, gradients, or both",
  },
};

export interface TensorBoardWish {
  /** Absolute. */
  readonly directory: string;
  readonly histograms: readonly HistogramKind[];
}

/** Null where nobody asks for it. */
export function tensorBoardWish(args: Arguments): TensorBoardWish | null {
  const directory = args.text("tensorboard");
  const kinds = args.text("histograms")?.split(",") ?? [];
  const histograms = histogramKinds.filter((kind) => kinds.includes(kind));
  const unknown = kinds.find((kind) => !histogramKinds.some((known) => known === kind));
  if (unknown !== undefined) {
    throw new LockstepError(
      "usage",
      `--histograms names ${JSON.stringify(unknown)}; weights, gradients, or both with a comma between were expected.`,
    );
  }
  if (directory !== undefined) return { directory: resolve(directory), histograms };
  if (kinds.length === 0) return null;
  throw new LockstepError("usage", "--histograms is given, and where they are to be written is not.", {
    hint: "Name a folder with --tensorboard DIR.",
  });
}

/** The words that ask a worker for the same, wherever it is started. */
export function tensorBoardWords(wish: TensorBoardWish | null): string[] {
  if (wish === null) return [];
  const histograms = wish.histograms.length > 0 ? ["--histograms", wish.histograms.join(",")] : [];
  return ["--tensorboard", wish.directory, ...histograms];
}

/** What a worker records while it leads. */
export function recordingOf(
  { directory, histograms }: TensorBoardWish,
  { info, compute }: Pick<WorkerThreads, "info" | "compute">,
  name: string,
  log: Log,
): EpochRecording {
  const clock = systemClock;
  const files = { directory, histograms, writer: writerName(name), clock: () => clock.wallMs() };
  const epochLog = new TensorBoardLog({ ...files, topology: info.topology });
  return new EpochRecording({ epochLog, compute, info, clock, log: log.with({ tensorboard: directory }) });
}

/** Of a run that is over, what the folder lacks; as it is when it was over before anybody asked for this. */
export async function writeWhatLacks({ directory }: TensorBoardWish, history: readonly EpochHistory[]): Promise<void> {
  const clock = () => systemClock.wallMs();
  const files = { directory, histograms: [], topology: null, writer: writerName("launch"), clock };
  const boundary = { token: 0, history, weights: () => [], gradients: () => Promise.resolve(null) };
  await new TensorBoardLog(files).record(boundary);
}

function writerName(name: string): string {
  return `${hostname()}.${name}.${process.pid}`.replaceAll(/[^\w.-]/g, "-");
}
