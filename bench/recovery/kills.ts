/** The kills of the recovery benchmark: whom, when, and that the cluster is whole again afterwards. */
import { systemClock } from "../../src/adapters/system/clock.ts";
import type { ClusterStatus, ProcessStatus } from "../../src/core/status.ts";
import type { TrainingCluster } from "./cluster.ts";
import { workers } from "./job.ts";

export const victims = ["worker", "leader", "coordinator"] as const;
/** "worker" is one that does not lead. */
export type Victim = (typeof victims)[number];

export interface Kill {
  readonly victim: Victim;
  /** Names, as those of the logs. */
  readonly process: string;
  readonly survivors: readonly string[];
  /** Training was undisturbed from here on … */
  readonly quietFromMs: number;
  /** … until SIGKILL was sent, on the wall clock that logs use. */
  readonly atMs: number;
  /** Whether the workers that were not killed kept their processes and their ids. */
  readonly survivorsKept: boolean;
}

/** How long steps are looked at before and after every kill. */
export const windowMs = 3000;
const startMs = 120_000;
const recoverMs = 60_000;

/** Kills one process in the middle of a step, and waits until all train again. */
export async function killOne(
  cluster: TrainingCluster,
  victim: Victim,
  killsOf: Map<string, number>,
  say: (line: string) => void,
): Promise<Kill> {
  await cluster.whenStatus("three workers in training", startMs, allTrain);
  const quietFromMs = systemClock.wallMs();
  // A step takes some ten milliseconds: a random moment is the middle of one.
  await systemClock.sleep(windowMs + Math.random() * 500);
  const before = await cluster.whenStatus("three workers in training", startMs, allTrain);
  const target = choose(before, victim, killsOf);
  const name = nameOf(target);
  killsOf.set(name, (killsOf.get(name) ?? 0) + 1);
  const atMs = systemClock.wallMs();
  process.kill(target.pid!, "SIGKILL");
  await systemClock.sleep(windowMs);
  const after = await cluster.whenStatus("the killed process at work again", recoverMs, (status) => {
    const again = status.processes.find((candidate) => nameOf(candidate) === name);
    return allTrain(status) && again !== undefined && again.pid !== target.pid;
  });
  const survivors = before.processes.filter(({ role, pid }) => role === "worker" && pid !== target.pid);
  const survivorsKept = survivors.every(({ pid, workerId }) =>
    after.processes.some((candidate) => candidate.pid === pid && candidate.workerId === workerId),
  );
  say(`${victim} killed: ${name}`);
  return { victim, process: name, survivors: survivors.map(nameOf), quietFromMs, atMs, survivorsKept };
}

function allTrain({ state, processes }: ClusterStatus): boolean {
  const ranked = processes.filter(({ role, rank, step }) => role === "worker" && rank !== null && step !== null);
  return state === "training" && ranked.length === workers && processes.some(({ leader }) => leader);
}

/** Of several, the one that was killed least: launch starts a process again only so often. */
function choose({ processes }: ClusterStatus, victim: Victim, killsOf: ReadonlyMap<string, number>): ProcessStatus {
  const candidates = processes.filter(({ role, leader }) =>
    victim === "coordinator" ? role === "coordinator" : role === "worker" && leader === (victim === "leader"),
  );
  const kills = (candidate: ProcessStatus) => killsOf.get(nameOf(candidate)) ?? 0;
  return candidates.reduce((least, candidate) => (kills(candidate) < kills(least) ? candidate : least));
}

const nameOf = ({ role, workerId }: ProcessStatus): string => workerId?.replace(/\.[^.]*$/, "") ?? role;
