/**
 * The dashboard's view of a job that is over, from the files in its folder: history and policy from the newest checkpoint,
 * memberships and decisions from the logs. What only etcd knew, such as pins, is not there.
 */
import { statSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { linesOf, parseLogLine, startMessage } from "../../adapters/fs/process-log.ts";
import { type LaunchFailure, type LaunchRecord, readLaunchRecord } from "../../adapters/system/launch-record.ts";
import type { CheckpointRow, DashboardView, DecisionEntry } from "../../core/dashboard-view.ts";
import { decisionsLength } from "../../core/dashboard-view.ts";
import { LockstepError, messageOf } from "../../core/errors.ts";
import type { LogLine } from "../../core/log-reading.ts";
import { contentBytes } from "../../core/manifest.ts";
import type { Progress } from "../../core/progress.ts";
import type { ClusterState } from "../../core/status.ts";
import { timelineOfLog } from "../../core/timeline-log.ts";
import { settingsIn } from "../../core/settings.ts";
import type { StoredCheckpoint } from "../../ports/checkpoint-storage.ts";
import type { DashboardSource } from "../../ports/dashboard.ts";
import type { Log } from "../../ports/log.ts";
import { newestWhole, policyIn } from "../../runtime/read-history.ts";
import { runsIn } from "../find-checkpoints.ts";
import { openStorage } from "../open-storage.ts";
import { downloadOf } from "./download.ts";

const noWishes = { start: 0, workers: null, drained: [], restarts: {} };

/** "usage": there is nothing of a job in this folder, or not that run. */
export async function openFinishedJob(directory: string, run: number | null, log: Log): Promise<DashboardSource> {
  const number = newestRun(directory, run);
  const storage = await openStorage(join(directory, `run-${number}`, "checkpoints"), log);
  const stored = (await storage.list()).filter(({ manifest }) => manifest.run === String(number));
  const newest = stored.at(-1);
  if (!newest) {
    throw new LockstepError(
      "usage",
      `Run ${number} in ${directory} has no checkpoint, and without one there is nothing to show.`,
    );
  }
  // What is damaged is said in its row.
  const { progress } = await newestWhole(storage, stored, () => {});
  const lines = await readLogs(join(directory, "logs"), number);
  const verified = new Map<string, Pick<CheckpointRow, "verification" | "problem">>();
  // One after the other, while the page is looked at: each is read to its end.
  const verifying = async () => {
    for (const { id } of [...stored].reverse()) {
      const finding = await storage.check(id).then(
        () => ({ verification: "verified", problem: null }) as const,
        (error: unknown) => ({ verification: "corrupt", problem: messageOf(error) }) as const,
      );
      verified.set(id, finding);
    }
  };
  void verifying();
  const launched = await readLaunchRecord(directory).catch(() => null);
  const base = viewOf({ directory, number, newest, stored, progress, lines, launched });
  return {
    view: async () => ({
      ...base,
      checkpoints: {
        ...base.checkpoints,
        rows: base.checkpoints.rows.map((row) => ({ ...row, ...verified.get(row.id) })),
      },
    }),
    setPinned: null,
    download: (id) => downloadOf(id, stored, (one) => storage.load(one)),
  };
}

interface FoundRun {
  readonly directory: string;
  readonly number: number;
  readonly newest: StoredCheckpoint;
  readonly stored: readonly StoredCheckpoint[];
  readonly progress: Progress;
  readonly lines: readonly LogLine[];
  /** Last. */
  readonly launched: LaunchRecord | null;
}

function viewOf({ directory, number, newest, stored, progress, lines, launched }: FoundRun): DashboardView {
  const { manifest } = newest;
  const { history } = progress;
  const policy = policyIn(progress);
  const shards = Number(manifest.fingerprint.shards);
  const timeline = timelineOfLog(
    lines.filter(({ process }) => process.startsWith("coordinator")),
    Number.isSafeInteger(shards) ? shards : null,
  );
  const best = stored.find(({ manifest: one }) => one.step === progress.best?.step && one.stepInEpoch === 0);
  const { state, reason } = ending(directory, number, newest, lines, launched?.failure ?? null);
  const first = history[0];
  return {
    status: {
      ...{ job: manifest.job, run: number, state, reason, failure: null, source: "files", policy },
      ...{ generation: manifest.generation, epoch: progress.epoch, step: progress.step, epochs: progress.epoch },
      shards: Number.isSafeInteger(shards) ? shards : 0,
      progress: { percent: state === "finished" ? 100 : 0, remainingSeconds: null, updatedAt: null },
      stepsPerEpoch: first ? Math.round(first.step / first.epoch) : 0,
      ...{ running: null, processes: [], best: null, latest: null, early: null, wishes: noWishes },
      equivalences: manifest.equivalences,
      settings: settingsIn(manifest.fingerprint),
    },
    history: { first: 0, items: history },
    timeline,
    checkpoints: {
      monitor: policy.monitor,
      rows: stored.map((one) => rowOf(one, policy.monitor, best?.id ?? null, newest.id)),
      ...{ canPin: false, canDownload: true, jobFile: launched && jobFileOf(launched) },
      words: ["--job", manifest.job, "--run", String(number), "--directory", directory],
    },
    rates: { first: 0, items: [] },
    health: { etcd: null, coordinator: null },
    decisions: { first: 0, items: decisionsOf(lines) },
  };
}

function rowOf(
  { id, manifest }: StoredCheckpoint,
  monitor: string,
  best: string | null,
  latest: string,
): CheckpointRow {
  const { lineage, epoch, stepInEpoch, step, metrics, writtenAt } = manifest;
  return {
    ...{ id, lineage, epoch, stepInEpoch, step, pins: [], verification: "unchecked", problem: null },
    value: metrics?.[monitor] ?? null,
    sizeBytes: contentBytes(manifest),
    writtenAtMs: Date.parse(writtenAt),
    isBest: id === best,
    isLatest: id === latest,
  };
}

/** Null: it has gone from where it was launched. */
function jobFileOf({ workingDirectory, goOn: { words } }: LaunchRecord): string | null {
  const path = resolve(workingDirectory, words[0] ?? "");
  return statSync(path, { throwIfNoEntry: false })?.isFile() ? path : null;
}

function ending(
  directory: string,
  number: number,
  newest: StoredCheckpoint,
  lines: readonly LogLine[],
  failure: LaunchFailure | null,
): { state: ClusterState; reason: string } {
  if (failure?.run === number) return { state: "failed", reason: failure.reason };
  const telling = ["the job is finished", "the run cannot go on", "asked to stop", "running"];
  const last = lines.findLast(({ message }) => telling.includes(String(message)));
  const reason = String(last?.reason ?? "");
  if (last?.message === "the job is finished") return { state: "finished", reason };
  // Where the logs are gone, or an older lockstep's: `launch` draws the curve when a run has finished, and only then.
  const curve = statSync(join(directory, `run-${number}`, "curve.svg"), { throwIfNoEntry: false });
  if (curve && curve.mtimeMs >= Date.parse(newest.manifest.writtenAt)) {
    return { state: "finished", reason: "worked out from the files in the job's folder" };
  }
  if (last?.message === "the run cannot go on") return { state: "failed", reason };
  if (last?.message === "asked to stop") return { state: "stopped", reason };
  return { state: "stopped", reason: "it ended before its last epoch, as far as the files in its folder tell" };
}

function newestRun(directory: string, run: number | null): number {
  const numbers = runsIn(directory);
  const found = run === null ? numbers[0] : numbers.find((number) => number === run);
  if (found !== undefined) return found;
  const there =
    numbers.length > 0 ? `There are: ${numbers.join(", ")}.` : "A job's folder holds run-1 and logs, as runs/digits.";
  const what = run === null ? "no run of a job" : `no run ${run}`;
  throw new LockstepError("usage", `There is ${what} with checkpoints in ${directory}.`, { hint: there });
}

/** Of all processes, in the order of time. Lines that are no JSON, such as another program's, are passed over. */
async function readLogs(folder: string, run: number): Promise<readonly LogLine[]> {
  const names = (await readdir(folder).catch(() => [])).filter((name) => name.endsWith(".log")).sort();
  const lines: LogLine[] = [];
  for (const name of names) {
    const process = basename(name, ".log");
    const own: LogLine[] = [];
    for await (const text of linesOf(join(folder, name), { start: 0 })) {
      const line = parseLogLine(process, text);
      if (line) own.push(line);
    }
    lines.push(...linesOfRun(own, run));
  }
  return lines.sort((a, b) => a.atMs - b.atMs);
}

/** @param lines of one process' log: since it was started, and until it knows of which run it is, a process does not say so */
function linesOfRun(lines: readonly LogLine[], run: number): readonly LogLine[] {
  const found: LogLine[] = [];
  let unknown: LogLine[] = [];
  let current: number | null = null;
  for (const line of lines) {
    if (line.message === startMessage) current = null;
    if (typeof line.run === "number") current = line.run;
    if (current === null) unknown.push(line);
    else {
      if (current === run) found.push(...unknown, line);
      unknown = [];
    }
  }
  return [...found, ...unknown]; // one that failed before it knew may have been of any run
}

/** As a coordinator keeps them: its own from "info" on, and of workers what is no everyday matter. */
function decisionsOf(lines: readonly LogLine[]): readonly DecisionEntry[] {
  const isTold = ({ level, process }: LogLine) =>
    level === "warn" || level === "error" || (level === "info" && process.startsWith("coordinator"));
  return lines
    .filter((line) => isTold(line) && typeof line.message === "string")
    .slice(-decisionsLength)
    .map(({ atMs, process, level, message, time: _, ...fields }) => ({
      ...{ atMs, process, level: level as DecisionEntry["level"], message: String(message) }, // isTold has looked
      fields: Object.fromEntries(
        Object.entries(fields).filter(([, value]) => value === null || /^(string|number|boolean)$/.test(typeof value)),
      ) as DecisionEntry["fields"], // those types alone are left
    }));
}
