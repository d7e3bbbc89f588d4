/**
 * Finds the run to go on with, or begins a new one, before anything is formed: what must not change from start to start
 * is compared here, field by field.
 */
import { LockstepError } from "../core/errors.ts";
import type { FailureBudget } from "../core/failure-budget.ts";
import type { Fingerprint } from "../core/fingerprint.ts";
import type { WorkerCounts } from "../core/decision.ts";
import type { CheckpointRule } from "../core/job.ts";
import { decodeJson, encodeJson } from "../core/json.ts";
import { type Keys, keysOf, runKey } from "../core/keys.ts";
import type { Origin } from "../core/origin.ts";
import type { Done, JobRecord } from "../core/records.ts";
import { checkReplicas } from "../core/replicas.ts";
import { type JobSettings, settingsHint } from "../core/settings.ts";
import { type CheckpointPointer, stateOf } from "../core/status.ts";
import type { Clock } from "../ports/clock.ts";
import type { Condition, Coordination, Operation } from "../ports/coordination.ts";
import { type ChosenRun, chooseRun } from "./choose-run.ts";
import { bestSoFar } from "./decision-operations.ts";
import { mendPublished } from "./mend-published.ts";
import { findCheckpoint, noCheckpoint } from "./named-checkpoint.ts";
import { type RunArchive, rebuildRun, unknownGeneration } from "./rebuild-run.ts";
import { readRun, readValue } from "./run-reading.ts";
import { unchanged } from "./run-view.ts";
import { isOfLastStart, startNames } from "./start-names.ts";

export interface RunRequest {
  readonly job: string;
  /**
   * "never": a new run beside the old ones; "same": no start, but a process of the last one that is started again. From
   * a checkpoint other than `latest` the run goes back, in a new lineage: "best", or a checkpoint's id.
   */
  readonly resume: "auto" | "never" | "same" | { readonly checkpoint: string };
  /** The start's name: whoever comes with the name of the last start takes part in that one. Null: each is a start of its own. */
  readonly startName: string | null;
  /** Null: the run that was trained last. */
  readonly run: number | null;
  /** Null: as in the run's record, or the default for a new one. */
  readonly shards: number | null;
  readonly threads: number | null;
  /** How many a start waits for. */
  readonly workers: number;
  /** With fewer the run pauses; more than this many stand by. Null: one is enough, and every shard may have its own. */
  readonly bounds: { readonly min: number; readonly max: number } | null;
  /** How many others keep a copy of each checkpoint; null: as in the run's record, or none for a new one. */
  readonly replicas: number | null;
  readonly budgetMs: number;
  readonly fields: Readonly<Record<string, string>>;
  readonly settings: JobSettings;
  readonly epochs: number;
  readonly checkpoint: CheckpointRule;
  /** What decides the bits may differ from the record; the run is then only equivalent. */
  readonly allowChange: boolean;
  /** The job's checkpoints, where this process sees them: what etcd has lost is rebuilt from them. */
  readonly archive: RunArchive | null;
  /** By the wall clock, for how long ago something was written. */
  readonly nowMs: number;
  /** For a new run: threads, once S is known. */
  readonly defaultThreads: (shards: number) => number;
}

export interface OpenedRun {
  readonly record: JobRecord;
  readonly keys: Keys;
  readonly resumed: boolean;
  /** What this start changes that a person should know of, each a sentence. */
  readonly notices: readonly string[];
}

/** As `openRun`; but a cluster that was killed a moment ago may keep its keys for as long as a lease lives. */
export async function openRunWhenLeft(
  coordination: Coordination,
  request: RunRequest,
  { clock, budget }: { readonly clock: Clock; readonly budget: FailureBudget },
): Promise<OpenedRun> {
  const untilMs = clock.monotonicMs() + 2 * budget.leaseTtlMs;
  for (;;) {
    try {
      return await openRun(coordination, request);
    } catch (error) {
      const isThere = error instanceof LockstepError && error.code === "job-running";
      if (!isThere || clock.monotonicMs() > untilMs) throw error;
      await clock.sleep(budget.watchMs);
    }
  }
}

/** Reads the record of the run to go on with, or writes one; first of all, what etcd has lost of it is rebuilt. */
export async function openRun(coordination: Coordination, wanted: RunRequest): Promise<OpenedRun> {
  const chosen = await chooseRun(coordination, wanted);
  const { number } = chosen;
  const request: RunRequest = (await isOfLastStart(coordination, wanted, number))
    ? { ...wanted, resume: "same" }
    : wanted;
  if (request.resume !== "never" && number > 0) {
    const rebuilt = await rebuildIfLost(coordination, request, number);
    if (rebuilt) {
      const opened = await openRun(coordination, request);
      return { ...opened, notices: [...rebuilt, ...opened.notices] };
    }
  }
  if (number === 0 && typeof request.resume === "object") {
    throw new LockstepError(
      "usage",
      `The job "${request.job}" has no run yet, so there is no checkpoint to resume from.`,
      {
        hint: "Start it without --resume.",
      },
    );
  }
  if (number === 0 || request.resume === "never") {
    const record = newRecord(request, await chosen.free());
    const keys = keysOf(request.job, record.run);
    const { succeeded } = await coordination.transact(
      [chosen.condition],
      [
        { kind: "put", key: runKey(request.job), value: String(record.run) },
        { kind: "put", key: keys.record, value: encodeJson(record) },
      ],
    );
    // Another coordinator was first: its run is the one to take part in.
    if (!succeeded) return openRun(coordination, { ...request, resume: request.resume === "same" ? "same" : "auto" });
    return { record, keys, resumed: false, notices: [] };
  }
  const keys = keysOf(request.job, number);
  const trainsOn = (done: Done, old: JobRecord) => isOpenAgain(done, old, request);
  const mended =
    request.resume === "same" ? [] : await mendPublished(coordination, request.archive, keys, request.nowMs, trainsOn);
  const opened = await resume(coordination, request, keys, chosen);
  return { ...opened, notices: [...chosen.notices, ...mended, ...opened.notices] };
}

/** What was rebuilt, as sentences; null when etcd knows of all that the checkpoints tell. */
async function rebuildIfLost(
  coordination: Coordination,
  request: RunRequest,
  run: number,
): Promise<readonly string[] | null> {
  const { job, archive, budgetMs, epochs, checkpoint } = request;
  const keys = keysOf(job, run);
  const { entries } = await coordination.list(keys.prefix);
  const reading = readRun(entries, keys);
  const stored = (await archive?.checkpointsOf(run)) ?? [];
  if (stored.length === 0) return null;
  const record = readValue<JobRecord>(reading.entries, keys.record);
  if (record && unknownGeneration(reading, stored) === null) return null;
  const shards = Number(stored.at(-1)?.manifest.fingerprint.shards);
  const workers = workerCounts(request, shards);
  // With the record it is lost how many copies there were, but not whether there were any: the disks tell.
  const isReplicated = !record && (await archive?.isReplicated(run));
  const known = record ?? { run, replicas: isReplicated ? 1 : 0 };
  const wishes = { workers, budgetMs, epochs, checkpoint, replicas: replicasFor(request, workers, known) };
  const { succeeded, notices } = await rebuildRun({
    coordination,
    job,
    run,
    record,
    wishes,
    archive,
    seen: 0,
    conditions: [],
  });
  if (!succeeded) return [];
  if (!isReplicated || request.replicas !== null) return notices;
  return [
    ...notices,
    "Its checkpoints are on its workers' own disks; one copy of each is kept: give --replicas for more.",
  ];
}

function newRecord(request: RunRequest, run: number): JobRecord {
  const { job, budgetMs, fields, settings, epochs, checkpoint } = request;
  const shards = request.shards ?? request.bounds?.max ?? request.workers;
  const workers = workerCounts(request, shards);
  return {
    job,
    run,
    shards,
    workers,
    budgetMs,
    threads: request.threads ?? request.defaultThreads(shards),
    fields,
    settings,
    epochs,
    checkpoint,
    replicas: replicasFor(request, workers),
    mayChange: false,
    isAskedFor: request.resume === "never",
    start: 1,
    startName: request.startName,
  };
}

async function resume(
  coordination: Coordination,
  request: RunRequest,
  keys: Keys,
  { condition, selecting }: ChosenRun,
): Promise<OpenedRun> {
  const entry = await coordination.get(keys.record);
  if (!entry) {
    throw new LockstepError("incompatible", `etcd names run ${keys.prefix}, but holds no record of it.`, {
      hint: "Start a new run with --resume never.",
    });
  }
  const known = await coordination.get(keys.fingerprint);
  const old = lastTrained(decodeJson<JobRecord>(entry.value), known && decodeJson<Fingerprint>(known.value));
  const changes = changesOf(old, request);
  if (changes.length > 0 && !request.allowChange) {
    const again = settingsHint(old.settings, request.settings);
    throw new LockstepError("incompatible", `The run cannot go on as before: ${changes.join("; ")}.`, {
      hint: `${again ?? "Undo the change"}, or go on with --allow-change (the result is then equivalent, not bit-exact), or start anew with --resume never.`,
    });
  }
  const ended = await coordination.get(keys.done);
  const done = ended && decodeJson<Done>(ended.value);
  const shards = request.allowChange ? (request.shards ?? old.shards) : old.shards;
  const workers = workerCounts(request, shards);
  const record: JobRecord = {
    ...old,
    workers,
    replicas: replicasFor(request, workers, old),
    budgetMs: request.budgetMs,
    settings: request.settings,
    epochs: request.epochs,
    checkpoint: request.checkpoint,
    mayChange: request.allowChange,
    isAskedFor: request.resume === "same" && old.isAskedFor,
    start: old.start + (request.resume === "same" ? 0 : 1),
    ...startNames(request, old),
    ...(changes.length > 0 ? { shards, threads: request.threads ?? old.threads, fields: request.fields } : {}),
  };
  const opening = await openingOf(coordination, keys, request, old, shards);
  const operations: Operation[] = [
    { kind: "put", key: keys.record, value: encodeJson(record) },
    ...selecting,
    ...opening.operations,
  ];
  const from = opening.origin?.from?.state;
  const isBehind = from !== undefined && from.epoch < record.epochs;
  if (done && (isBehind || isOpenAgain(done, old, record))) operations.push({ kind: "delete", key: keys.done });
  const { succeeded } = await coordination.transact(
    [unchanged(keys.record, entry), condition, ...opening.conditions],
    operations,
  );
  if (!succeeded) return openRun(coordination, request);
  const notices = noticesOf(old.checkpoint, record.checkpoint);
  if (opening.origin) notices.unshift(`Lineage ${opening.origin.lineage} begins: ${opening.origin.reason}.`);
  return { record, keys, resumed: true, notices };
}

/** More epochs, or another rule by which a run that stopped early would stop; the same rule would end it at once. */
function isOpenAgain(
  { epoch, early }: Done,
  before: JobRecord,
  now: Pick<JobRecord, "epochs" | "checkpoint">,
): boolean {
  const ruleOf = ({ checkpoint: { monitor, mode, earlyStopping } }: Pick<JobRecord, "checkpoint">) =>
    encodeJson({ monitor, mode, earlyStopping });
  return now.epochs > epoch && (early === null || ruleOf(before) !== ruleOf(now));
}

/** Another metric or mode begins a new line of bests: what was best before counts no more. */
function noticesOf(before: CheckpointRule, now: CheckpointRule): string[] {
  if (before.monitor === now.monitor && before.mode === now.mode) return [];
  return [
    `What is best was decided by ${before.monitor} (${before.mode}) and is decided by ${now.monitor} (${now.mode}) from here on: a new line of bests begins, and best moves with the next finite ${now.monitor}.`,
  ];
}

interface OpeningChange {
  readonly origin: Origin | null;
  readonly conditions: readonly Condition[];
  readonly operations: readonly Operation[];
}

const noOpening: OpeningChange = { origin: null, conditions: [], operations: [] };

/**
 * A new lineage, where this start goes back on purpose or has another S. Everything that it is decided by is compared
 * again when it is written; and nobody may be training, as the members would be taken from under their own feet.
 */
async function openingOf(
  coordination: Coordination,
  keys: Keys,
  { resume }: RunRequest,
  old: JobRecord,
  shards: number,
): Promise<OpeningChange> {
  const wanted = typeof resume === "object" ? resume.checkpoint : null;
  if (wanted === null && old.shards === shards) return noOpening;
  const { entries } = await coordination.list(keys.prefix);
  const reading = readRun(entries, keys);
  const pointer = (key: string) => readValue<CheckpointPointer>(reading.entries, key);
  const [latest, best] = [pointer(keys.latest), pointer(keys.best)];
  // S decides how sums are split, and no step was taken yet.
  if (wanted === null && !latest) return noOpening;
  const from = wanted === null || wanted === "latest" ? latest : findCheckpoint(wanted, reading, best, old);
  if (!from) throw noCheckpoint(wanted ?? "latest", reading, old);
  if (wanted !== null && from.id === latest?.id) return noOpening;
  if (reading.members.length > 0) {
    const who = reading.members.map(({ name }) => name).join(", ");
    throw new LockstepError("job-running", `The run is being trained by ${who}, so it cannot begin a new lineage.`, {
      hint: "Stop it first, for instance with Ctrl-C in its launch.",
    });
  }
  const why =
    wanted === null
      ? `S was ${old.shards} and is ${shards}`
      : `resumed from ${wanted === "best" ? `best (${from.id})` : from.id} at step ${from.step}, where latest was at step ${latest?.step ?? 0}`;
  const origin: Origin = {
    ...{ lineage: reading.origin.lineage + 1, era: reading.origin.era, reason: why },
    ...{ from: { checkpoint: from.id, state: stateOf(from) }, best: bestSoFar(best) },
    after: reading.origin.after,
  };
  const asRead = (key: string) => unchanged(key, reading.entries.get(key));
  const value = encodeJson(origin);
  return {
    origin,
    // The record of the checkpoint too: it must still be live.
    conditions: [keys.origin, keys.generation, keys.latest, keys.best, keys.checkpoint(from.id)].map(asRead),
    operations: [keys.origin, keys.lineage(origin.lineage)].map((key) => ({ kind: "put", key, value })),
  };
}

/**
 * The record with what the run was last trained with. A start that was allowed to change something has written its wish
 * down, but if no worker of it was let in, nothing was changed.
 */
function lastTrained(record: JobRecord, fingerprint: Fingerprint | null): JobRecord {
  if (!fingerprint) return record;
  const fields = Object.entries(fingerprint).filter(([field]) => field.startsWith("job.") && field !== "job.graph");
  // Other engines have one thread, whatever the record says.
  const isNative = fingerprint["engine.kind"] === "native";
  return {
    ...record,
    fields: Object.fromEntries(fields),
    shards: Number(fingerprint.shards),
    threads: isNative ? Number(fingerprint["engine.threads"]) : record.threads,
  };
}

function changesOf(old: JobRecord, request: RunRequest): string[] {
  const wanted: Record<string, string> = {
    ...request.fields,
    ...(request.shards === null ? {} : { shards: String(request.shards) }),
    ...(request.threads === null ? {} : { threads: String(request.threads) }),
  };
  const before: Record<string, string> = { ...old.fields, shards: String(old.shards), threads: String(old.threads) };
  return Object.keys(wanted)
    .filter((field) => wanted[field] !== before[field])
    .map((field) => `${field} was ${before[field] ?? "(nothing)"} and is ${wanted[field]}`);
}

/** How many workers a start wants, of a run with this many shards; "usage" when there is not a shard for each. */
export function workerCounts(
  { workers, bounds }: Pick<RunRequest, "workers" | "bounds">,
  shards: number,
): WorkerCounts {
  const most = bounds?.max ?? workers;
  if (most > shards) {
    throw new LockstepError(
      "usage",
      `${most} workers cannot share ${shards} shards: every worker needs at least one.`,
      {
        hint: `Use at most ${shards} workers, or start a new run with --shards ${most} or more.`,
      },
    );
  }
  return { start: workers, min: bounds?.min ?? 1, max: bounds?.max ?? shards };
}

/** How many copies there are is a matter of each start; whether the workers share one place is not: checkpoints lie there. */
function replicasFor(
  { replicas }: RunRequest,
  { max }: WorkerCounts,
  old?: Pick<JobRecord, "run" | "replicas">,
): number {
  const before = old && (old.replicas ?? 0);
  const wanted = replicas ?? before ?? 0;
  checkReplicas(wanted, max);
  if (before === undefined || wanted > 0 === before > 0) return wanted;
  throw new LockstepError(
    "usage",
    before > 0
      ? `--replicas is 0, and run ${old?.run} has its checkpoints on its workers' own disks (--replicas).`
      : `--replicas is ${wanted}, and run ${old?.run} has its checkpoints in one directory that all workers share.`,
    { hint: `Leave out --replicas${before > 0 ? ", or give 1 or more" : ""}; or start a new run with --resume never.` },
  );
}
