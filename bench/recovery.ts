/**
 * What a death costs. A cluster of three, started by `lockstep launch`, trains while its processes are killed with
 * SIGKILL in the middle of a step: a worker, the leader, the coordinator, in turns. The workers' logs say when which step
 * was committed. torchrun and torchft train the same model in the same run.
 *
 *     npm run bench -- recovery [--runs N] [--json FILE] [--no-peers]
 */
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { LockstepError, messageOf } from "../src/core/errors.ts";
import type { LogLine } from "../src/core/log-reading.ts";
import { TrainingCluster } from "./recovery/cluster.ts";
import { workers, writeJob } from "./recovery/job.ts";
import { type Kill, killOne, victims } from "./recovery/kills.ts";
import { measurePeers, type PeerReadings, peerVersions } from "./recovery/peers.ts";
import { type Readings, readingsOf } from "./recovery/readings.ts";
import { load, lockstepVersion, machine, type Result, resultsOf, resultTable, worst, writeReport } from "./results.ts";

/** Of each victim in one cluster; launch starts a process again five times and pauses longer each time. */
const killsACluster = 3;
/** A run of a peer takes half a minute. */
const mostPeerRuns = 5;

export async function run(words: string[]): Promise<void> {
  const { values } = parseArgs({
    args: words,
    options: { runs: { type: "string" }, json: { type: "string" }, "no-peers": { type: "boolean" } },
  });
  const runs = Number(values.runs ?? 20);
  if (!Number.isInteger(runs) || runs < 1) {
    throw new LockstepError("usage", `--runs is ${JSON.stringify(values.runs)}; a whole number from 1 was expected.`);
  }
  const say = (line: string) => process.stderr.write(`${line}\n`);
  const loadBefore = load();
  const own = await measureLockstep(runs, say);
  const peerRuns = Math.min(runs, mostPeerRuns);
  const { readings: peers, skipped } = values["no-peers"]
    ? { readings: [], skipped: [{ peer: "all", why: "--no-peers" }] }
    : await measurePeers(peerRuns, say);
  const results = resultsWith(own.readings, peers);
  const report = {
    benchmark: "recovery",
    machine: machine(loadBefore),
    versions: { lockstep: lockstepVersion(), node: process.versions.node, engine: own.engine, ...peerVersions() },
    results,
    skipped,
  };
  const [before, after] = report.machine.load;
  process.stdout.write(
    [
      resultTable(results),
      "",
      `${report.machine.cores} cores, ${report.machine.processor}; load ${before.toFixed(1)} before, ${after.toFixed(1)} after`,
      ...own.remarks,
      ...peers.map(({ peer, runs, nextStep }) => `${peer} recovered in ${nextStep.length} of ${runs} runs`),
      ...skipped.map(({ peer, why }) => `skipped: ${peer}: ${why}`),
      "",
    ].join("\n"),
  );
  if (values.json !== undefined) await writeReport(values.json, report);
}

interface Own {
  readonly readings: Readings;
  readonly engine: string;
  readonly remarks: readonly string[];
}

async function measureLockstep(runs: number, say: (line: string) => void): Promise<Own> {
  const folder = await mkdtemp(join(tmpdir(), "lockstep-bench-"));
  const readings: Readings[] = [];
  const kills: Kill[] = [];
  const failures: string[] = [];
  let engine = "unknown";
  try {
    const jobFile = await writeJob(folder);
    for (let done = 0; done < runs; done += killsACluster) {
      const own = join(folder, `cluster-${done}`);
      const some = await runCluster(own, jobFile, Math.min(killsACluster, runs - done), failures, say);
      readings.push(readingsOf(some.lines, some.kills));
      kills.push(...some.kills);
      engine = String(some.lines.find(({ message }) => message === "ready")?.engine ?? engine);
      await rm(own, { recursive: true, force: true });
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  const all = merged(readings);
  const kept = kills.filter(({ survivorsKept }) => survivorsKept).length;
  const remarks = [
    `${kills.length} kills; survivors kept process and id in ${kept}; committed steps taken twice: ${all.repeatedSteps}`,
    ...failures.map((failure) => `a cluster did not come back: ${failure}`),
  ];
  return { readings: all, engine, remarks };
}

/** One cluster: `rounds` times a worker, the leader and the coordinator are killed. */
async function runCluster(
  folder: string,
  jobFile: string,
  rounds: number,
  failures: string[],
  say: (line: string) => void,
): Promise<{ lines: readonly LogLine[]; kills: readonly Kill[] }> {
  await mkdir(folder);
  const cluster = new TrainingCluster(folder, jobFile, { job: "recovery", workers });
  const kills: Kill[] = [];
  const killsOf = new Map<string, number>();
  try {
    for (let round = 0; round < rounds; round++) {
      for (const victim of victims) kills.push(await killOne(cluster, victim, killsOf, say));
    }
  } catch (error) {
    failures.push(messageOf(error));
    say(messageOf(error));
  } finally {
    await cluster.stop();
  }
  return { lines: await cluster.logs(), kills };
}

function merged(parts: readonly Readings[]): Readings {
  const all = (pick: (readings: Readings) => readonly number[]) => parts.flatMap(pick);
  return {
    steps: all(({ steps }) => steps),
    nextStep: { worker: all(({ nextStep }) => nextStep.worker), leader: all(({ nextStep }) => nextStep.leader) },
    gapBefore: all(({ gapBefore }) => gapBefore),
    gapAfter: all(({ gapAfter }) => gapAfter),
    startToStep: all(({ startToStep }) => startToStep),
    readyToStep: all(({ readyToStep }) => readyToStep),
    election: all(({ election }) => election),
    repeatedSteps: parts.reduce((sum, { repeatedSteps }) => sum + repeatedSteps, 0),
  };
}

function resultsWith(own: Readings, peers: readonly PeerReadings[]): Result[] {
  const times = { world: workers, unit: "ms" as const };
  const limit = (milliseconds: number) => ({ peer: "limit", samples: [milliseconds], goal: 1 });
  const beside = (pick: (readings: PeerReadings) => readonly number[]) =>
    peers.map((readings) => ({ peer: readings.peer, samples: pick(readings), goal: null }));
  const nextSteps = beside(({ nextStep }) => nextStep);
  const starts = beside(({ startToStep }) => startToStep).filter(({ samples }) => samples.length > 0);
  const undisturbed = { peer: "before the kill", samples: own.gapBefore, goal: null };
  const { worker, leader } = own.nextStep;
  return [
    ...resultsOf(
      { ...times, work: "recovery-step", samples: own.steps },
      beside(({ steps }) => steps),
    ),
    ...resultsOf({ ...times, work: "recovery-worker", samples: worker }, [limit(250), ...nextSteps]),
    ...resultsOf({ ...times, work: "recovery-worker-worst", samples: worker, of: worst }, [limit(1000), ...nextSteps]),
    ...resultsOf({ ...times, work: "recovery-leader", samples: leader }, [limit(250), ...nextSteps]),
    ...resultsOf({ ...times, work: "recovery-leader-worst", samples: leader, of: worst }, [limit(1000)]),
    ...resultsOf({ ...times, work: "recovery-election", samples: own.election }, [limit(1000)]),
    ...resultsOf({ ...times, work: "recovery-rejoin-ready", samples: own.readyToStep }, [limit(500)]),
    ...resultsOf({ ...times, work: "recovery-rejoin-start", samples: own.startToStep }, [limit(3000), ...starts]),
    ...resultsOf({ ...times, work: "recovery-coordinator-gap", samples: own.gapAfter }, [undisturbed]),
  ];
}
