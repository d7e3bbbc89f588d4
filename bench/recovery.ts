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
import { messageOf } from "../src/core/errors.ts";
import type { LogLine } from "../src/core/log-reading.ts";
import { formatValue } from "../src/core/number-format.ts";
import { whyNoPeers } from "./python.ts";
import { TrainingCluster } from "./recovery/cluster.ts";
import { workers, writeJob } from "./recovery/job.ts";
import { type Kill, killOne, victims } from "./recovery/kills.ts";
import { measurePeer, type PeerReadings, peers } from "./recovery/peers.ts";
import { type Readings, readingsOf } from "./recovery/readings.ts";
import {
  load,
  machine,
  printRemarks,
  printRows,
  type Result,
  resultsOf,
  type Skipped,
  versions,
  worst,
  writeReport,
} from "./results.ts";
import { commonOptions, wholeNumber } from "./words.ts";

/** Of each victim in one cluster; launch starts a process again five times and pauses longer each time. */
const killsACluster = 3;
/** A run of a peer takes half a minute. */
const mostPeerRuns = 5;

export async function run(words: string[]): Promise<void> {
  const { values } = parseArgs({
    args: words,
    options: { runs: { type: "string", default: "20" }, ...commonOptions },
  });
  const runs = wholeNumber("runs", values.runs);
  const why = whyNoPeers(values["no-peers"]);
  const say = (line: string) => process.stderr.write(`${line}\n`);
  const loadBefore = load();
  const skipped: Skipped[] = why === null ? [] : peers.map(({ peer }) => ({ peer, why }));
  // It takes long, and may be cut off: what has been measured is written at once.
  const write = async (engine: string, results: readonly Result[]) => {
    const report = {
      ...{ benchmark: "recovery", machine: machine(loadBefore), results, skipped },
      versions: { ...versions(), engine },
    };
    await writeReport(report, values.json);
    return report;
  };
  const own = await measureLockstep(runs, say, async (soFar) => {
    const { worker, leader } = soFar.readings.nextStep;
    const figures = (samples: readonly number[]) => samples.map(formatValue).join(", ");
    say(`so far, ms to the next step: worker ${figures(worker)}; leader ${figures(leader)}`);
    await write(soFar.engine, resultsOfLockstep(soFar.readings));
  });
  const results = resultsOfLockstep(own.readings);
  let report = await write(own.engine, results);
  printRows(results);
  const remarks = [...own.remarks];
  for (const peer of why === null ? peers : []) {
    const readings = await measurePeer(peer, Math.min(runs, mostPeerRuns), say);
    if (readings.failure !== null && readings.runs === 0) skipped.push({ peer: peer.peer, why: readings.failure });
    else {
      const rows = resultsBeside(own.readings, readings);
      results.push(...rows);
      printRows(rows);
      const failed = readings.failure === null ? "" : `; then ${readings.failure}`;
      remarks.push(`${peer.peer} recovered in ${readings.nextStep.length} of ${readings.runs} runs${failed}`);
    }
    report = await write(own.engine, results);
  }
  printRemarks(report, remarks);
}

interface Own {
  readonly readings: Readings;
  readonly engine: string;
  readonly remarks: readonly string[];
}

/** `onCluster` hears what has been measured so far, a cluster after another. */
async function measureLockstep(
  runs: number,
  say: (line: string) => void,
  onCluster: (soFar: Own) => Promise<void>,
): Promise<Own> {
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
      await onCluster({ readings: merged(readings), engine, remarks: [] });
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

const times = { world: workers, unit: "ms" as const };

/** lockstep's figures, beside their limits. */
function resultsOfLockstep(own: Readings): Result[] {
  const limit = (milliseconds: number) => [{ peer: "limit", samples: [milliseconds], goal: 1 }];
  const undisturbed = { peer: "before the kill", samples: own.gapBefore, goal: null };
  const { worker, leader } = own.nextStep;
  return [
    ...resultsOf({ ...times, work: "recovery-step", samples: own.steps }, []),
    ...resultsOf({ ...times, work: "recovery-worker", samples: worker }, limit(250)),
    ...resultsOf({ ...times, work: "recovery-worker-worst", samples: worker, of: worst }, limit(1000)),
    ...resultsOf({ ...times, work: "recovery-leader", samples: leader }, limit(250)),
    ...resultsOf({ ...times, work: "recovery-leader-worst", samples: leader, of: worst }, limit(1000)),
    ...resultsOf({ ...times, work: "recovery-election", samples: own.election }, limit(1000)),
    ...resultsOf({ ...times, work: "recovery-rejoin-ready", samples: own.readyToStep }, limit(500)),
    ...resultsOf({ ...times, work: "recovery-rejoin-start", samples: own.startToStep }, limit(3000)),
    ...resultsOf({ ...times, work: "recovery-coordinator-gap", samples: own.gapAfter }, [undisturbed]),
  ];
}

/** The same beside a peer's. */
function resultsBeside(own: Readings, { peer, steps, nextStep, startToStep }: PeerReadings): Result[] {
  const beside = (samples: readonly number[]) => [{ peer, samples, goal: null }];
  const { worker, leader } = own.nextStep;
  return [
    ...resultsOf({ ...times, work: "recovery-step", samples: own.steps }, beside(steps)),
    ...resultsOf({ ...times, work: "recovery-worker", samples: worker }, beside(nextStep)),
    ...resultsOf({ ...times, work: "recovery-worker-worst", samples: worker, of: worst }, beside(nextStep)),
    ...resultsOf({ ...times, work: "recovery-leader", samples: leader }, beside(nextStep)),
    ...(startToStep.length === 0
      ? []
      : resultsOf({ ...times, work: "recovery-rejoin-start", samples: own.startToStep }, beside(startToStep))),
  ];
}
