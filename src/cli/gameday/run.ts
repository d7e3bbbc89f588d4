/** A gameday: the disturbed run with its faults, the undisturbed one, and what comes of comparing them. */
import { join } from "node:path";
import { openDirectoryStorage } from "../../adapters/fs/checkpoint-storage.ts";
import { systemClock } from "../../adapters/system/clock.ts";
import { createLog } from "../../adapters/system/log.ts";
import { LockstepError, messageOf } from "../../core/errors.ts";
import {
  attribute,
  type Comparison,
  compareRuns,
  type EpochState,
  type FaultName,
  type Finding,
  noTimes,
  verdictOf,
  type WholeRun,
} from "../../core/gameday.ts";
import type { Equivalences } from "../../core/records.ts";
import type { CheckpointPointer } from "../../core/status.ts";
import { readValue } from "../../runtime/run-reading.ts";
import { crashLoop, scale, sigterm } from "./changes.ts";
import { type ClusterPlan, GamedayCluster, maxWorkerRestarts, NotHere } from "./cluster.ts";
import { etcdLeader, etcdMember, etcdOutage } from "./etcd-faults.ts";
import { flipBit, flipBitTwo, hang } from "./inside-faults.ts";
import {
  killAllButOne,
  killAllWorkers,
  killCoordinator,
  killCoordinatorStandby,
  killCoordinatorWorker,
  killLeader,
  killLeaderArrival,
  killLeaderWriting,
  killTwo,
  killWorker,
  restart,
} from "./kills.ts";
import { defaultLimitMs } from "./logbook.ts";
import { Scene, type Told } from "./scene.ts";
import { cutEtcd, cutEtcdOneWay, cutOneWay, cutOneWayIn, cutPeers, stopLeader, stopWorker } from "./silences.ts";

const faults: Readonly<Record<FaultName, (scene: Scene) => Promise<Told>>> = {
  "kill-worker": killWorker,
  restart,
  "kill-leader": killLeader,
  "kill-leader-arrival": killLeaderArrival,
  "kill-leader-writing": killLeaderWriting,
  "kill-coordinator": killCoordinator,
  "kill-coordinator-standby": killCoordinatorStandby,
  "kill-coordinator-worker": killCoordinatorWorker,
  "kill-two": killTwo,
  "kill-all-but-one": killAllButOne,
  "kill-all-workers": killAllWorkers,
  "etcd-member": etcdMember,
  "etcd-leader": etcdLeader,
  "etcd-outage": etcdOutage,
  "stop-worker": stopWorker,
  "stop-leader": stopLeader,
  "cut-peers": cutPeers,
  "cut-one-way": cutOneWay,
  "cut-one-way-in": cutOneWayIn,
  "cut-etcd": cutEtcd,
  "cut-etcd-one-way": cutEtcdOneWay,
  hang,
  "flip-bit": flipBit,
  scale,
  sigterm,
  "crash-loop": crashLoop,
  "flip-bit-two": flipBitTwo,
};

export interface Gameday {
  readonly plan: ClusterPlan;
  readonly job: string;
  readonly directory: string;
  readonly workers: number;
  readonly chosen: readonly FaultName[];
  readonly slack: number;
  readonly signal: AbortSignal;
  readonly say: (line: string) => void;
  readonly onFinding: (finding: Finding) => void;
}

export interface GamedayResult {
  readonly findings: readonly Finding[];
  readonly run: WholeRun;
}

/** Until the cluster is whole at the beginning: engines are loaded and steps recorded. */
const startLimitMs = 180_000;
/** How many times longer the undisturbed run may take than the disturbed one took. */
const referencePatience = 3;

export async function runGameday(gameday: Gameday): Promise<GamedayResult> {
  const { plan, job, directory, workers, say } = gameday;
  const disturbedFolder = join(directory, "disturbed");
  const beginMs = systemClock.monotonicMs();
  const cluster = await GamedayCluster.start({
    ...plan,
    ...{ job, directory: disturbedFolder, workers, etcdMembers: 3, maxRestarts: maxWorkerRestarts },
    ...{ proxied: true, logLevel: "debug", say },
  });
  let disturbed: DisturbedRun;
  try {
    disturbed = await disturb(cluster, gameday);
  } finally {
    await cluster.close();
  }
  const { findings, epochs, problems } = disturbed;
  if (gameday.signal.aborted || epochs.length === 0) return { findings, run: { comparison: null, problems } };
  const tookMs = systemClock.monotonicMs() - beginMs;
  say(`undisturbed: ${epochs.at(-1)!.epoch} epochs …`);
  let reference: readonly EpochState[];
  try {
    reference = await undisturbed(gameday, epochs.at(-1)!.epoch, referencePatience * tookMs);
  } catch (error) {
    // What the faults have shown is not lost with it; the bits are then unproven, which is a failure.
    const why = `there is nothing to compare with, the undisturbed run failed: ${messageOf(error)}`;
    return { findings, run: { comparison: null, problems: { ...problems, Exact: [...(problems.Exact ?? []), why] } } };
  }
  const comparison = compareRuns(epochs, reference);
  const exact = comparison.difference ? [sentence(comparison)] : [];
  return {
    findings: attribute(findings, comparison),
    run: { comparison, problems: { ...problems, Exact: [...(problems.Exact ?? []), ...exact] } },
  };
}

function sentence({ difference }: Comparison): string {
  return difference === null ? "" : `epoch ${difference.epoch} differs: ${difference.what}`;
}

interface DisturbedRun {
  readonly findings: readonly Finding[];
  readonly epochs: readonly EpochState[];
  readonly problems: Record<string, readonly string[]>;
}

async function disturb(cluster: GamedayCluster, gameday: Gameday): Promise<DisturbedRun> {
  const { chosen, plan, slack, say, signal } = gameday;
  const scene = new Scene(cluster, { budgetMs: plan.budgetMs, slack }, say, whenAborted(signal));
  await scene.whole(startLimitMs);
  // A state that could be gone back to, before anything happens.
  await scene.epochAfter(0);
  const findings: Finding[] = [];
  let lost: string | null = null;
  for (const [i, fault] of chosen.entries()) {
    if (signal.aborted) break;
    say(`${i + 1} of ${chosen.length}: ${fault} …`);
    const finding = await inject(scene, fault, lost);
    findings.push(finding);
    gameday.onFinding(finding);
    if (verdictOf(finding) === "fail" && lost === null && !signal.aborted) lost = await restored(scene);
  }
  const stopProblems = lost !== null ? [lost] : signal.aborted ? [] : await lastEpoch(scene);
  const problems = await wholeProblems(cluster);
  return {
    findings,
    epochs: await cluster.observer.epochs(),
    problems: { ...problems, Live: stopProblems },
  };
}

/** Does one fault, and says what came of it whatever happens. `lost` says why nothing can be done any more. */
async function inject(scene: Scene, fault: FaultName, lost: string | null): Promise<Finding> {
  const epochNow = async () => (await scene.cluster.observer.read().catch(() => null))?.epoch ?? 0;
  const nothing = { fault, target: "", proof: "", times: noTimes, stepsLost: null, details: {}, epochs: null };
  if (lost !== null) return { ...nothing, problems: [], skipped: lost };
  const before = await epochNow();
  try {
    const told = await faults[fault](scene);
    // Whatever it did to a bit is in the next committed epoch at the latest.
    const { epoch } = await scene.epochAfter(await epochNow());
    await scene.checkPublished(before, epoch);
    const epochs = fault === "flip-bit-two" ? null : { before, after: epoch };
    return { ...nothing, ...told, epochs, problems: scene.takeProblems(), skipped: null };
  } catch (error) {
    const known = scene.takeProblems();
    if (error instanceof NotHere) return { ...nothing, problems: known, skipped: error.message };
    const epochs = { before, after: await epochNow() };
    return { ...nothing, epochs, problems: [...known, messageOf(error)], skipped: null };
  }
}

/** Undoes what a fault that failed has left; why nothing can be done any more, or null. */
async function restored(scene: Scene): Promise<string | null> {
  try {
    await scene.restore();
    await scene.whole(2 * defaultLimitMs);
    return null;
  } catch (error) {
    return `the cluster did not come back: ${messageOf(error)}`;
  }
}

async function lastEpoch(scene: Scene): Promise<readonly string[]> {
  try {
    const { epoch } = await scene.cluster.observer.read();
    await scene.epochAfter(epoch);
  } catch (error) {
    return [messageOf(error)];
  }
  return scene.cluster.stop();
}

/** What does not hold of everything that was committed and published, by promise. */
async function wholeProblems(cluster: GamedayCluster): Promise<Record<string, readonly string[]>> {
  const { observer, checkpoints } = cluster;
  const now = await observer.read();
  const storage = await openDirectoryStorage(checkpoints, quiet());
  const whole: string[] = [];
  for (const name of ["latest", "best"] as const) {
    const pointer = readValue<CheckpointPointer>(now.entries, observer.keys[name]);
    if (!pointer) continue;
    await storage.check(pointer.id).catch((error: unknown) => whole.push(`${name}: ${messageOf(error)}`));
  }
  const perEpoch = now.epochs.find(({ epoch }) => epoch === 1)?.state.step ?? 0;
  const uneven = now.epochs.filter(({ epoch, state }) => state.step !== epoch * perEpoch);
  const equivalences = readValue<Equivalences>(now.entries, observer.keys.equivalences)?.reasons ?? [];
  return {
    Whole: whole,
    Fenced: await observer.writtenOnce(),
    "Every sample once": uneven.map(({ epoch, state }) => `epoch ${epoch} ended with step ${state.step}`),
    Exact: equivalences.map((reason) => `the run is only equivalent: ${reason}`),
  };
}

/** The same run with nothing done to it, up to this epoch. */
async function undisturbed(gameday: Gameday, epoch: number, limitMs: number): Promise<readonly EpochState[]> {
  const { plan, job, directory, say } = gameday;
  const cluster = await GamedayCluster.start({
    ...plan,
    // One worker has nobody to lose, and on a small machine it is the quickest.
    ...{ job: `${job}-undisturbed`, directory: join(directory, "undisturbed"), workers: 1, etcdMembers: 1 },
    ...{ maxRestarts: 0, proxied: false, logLevel: "info", say },
  });
  try {
    const reached = cluster.observer.until(
      `epoch ${epoch} of the undisturbed run`,
      (now) => (now.epoch >= epoch ? now : null),
      Math.max(startLimitMs, limitMs),
    );
    await Promise.race([reached, cluster.processes.failure, whenAborted(gameday.signal)]);
    await cluster.stop();
    return await cluster.observer.epochs();
  } finally {
    await cluster.close();
  }
}

function whenAborted(signal: AbortSignal): Promise<never> {
  const ended = new Promise<never>((_, reject) => {
    const end = () => reject(new LockstepError("interrupted", "The gameday was ended before this."));
    signal.addEventListener("abort", end, { once: true });
  });
  ended.catch(() => undefined);
  return ended;
}

function quiet() {
  return createLog({ stream: process.stderr, format: "text", level: "error" });
}
