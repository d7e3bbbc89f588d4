/** Faults of SIGKILL: workers, the leader at three moments, the coordinator. */
import { watch } from "node:fs";
import { readdir } from "node:fs/promises";
import { isStaging, stagedId } from "../../adapters/fs/staging.ts";
import { systemClock } from "../../adapters/system/clock.ts";
import { placeInId } from "../../core/checkpoint-id.ts";
import { LockstepError } from "../../core/errors.ts";
import { noTimes } from "../../core/gameday.ts";
import { firstStepMessage, type LogLine, longestGap } from "../../core/log-reading.ts";
import { NotHere } from "./cluster.ts";
import { inTime } from "./logbook.ts";
import { nameOf } from "./observer.ts";
import { followerOf, othersOf, type Scene, type Standing, type Told } from "./scene.ts";

/** The longest that survivors of a kill may take to their next step, that an election may take, and so on. */
const nextStepMs = 1000;
const electionMs = 1000;
const readyToStepMs = 500;
const startToStepMs = 3000;
const membershipMs = 2000;

export async function killWorker(scene: Scene): Promise<Told> {
  const before = await scene.whole();
  const victim = followerOf(before);
  const { step } = await scene.midEpoch(victim, before);
  const { atMs, proof } = await scene.kill(victim);
  const survivors = othersOf(before, victim);
  const { times, stepsLost } = await scene.recovered(atMs, before, survivors);
  scene.checkTime("the survivors' next step", times.firstStep, nextStepMs);
  scene.checkKept(before, await scene.bringBack(victim), survivors);
  return { target: victim, proof: `${proof} after step ${Number(step)}`, times, stepsLost };
}

export async function restart(scene: Scene): Promise<Told> {
  const before = await scene.whole();
  const victim = followerOf(before);
  const { proof, atMs: killedMs } = await scene.kill(victim);
  const survivors = othersOf(before, victim);
  await scene.recovered(killedMs, before, survivors);
  const startedMs = systemClock.wallMs();
  const after = await scene.bringBack(victim);
  scene.checkKept(before, after, survivors);
  const mine = (message: string) => (line: LogLine) => line.process === victim && line.message === message;
  const ready = await scene.line(`${victim} ready`, startedMs, mine("ready"));
  const copied = await scene.line(`${victim} with a state`, startedMs, mine("standing by with the current state"));
  const first = await scene.line(`${victim}'s first step`, startedMs, mine(firstStepMessage));
  const readyToStep = first.atMs - ready.atMs;
  const startToStep = readyToStep + Number(ready.afterMs);
  scene.checkTime("from ready to the first step", readyToStep, readyToStepMs);
  scene.checkTime("from process start to the first step", startToStep, startToStepMs);
  const fromPeer = survivors.includes(nameOf(String(copied.from)));
  scene.check(fromPeer, `${victim} took its state from ${String(copied.from)}, not from a peer`);
  const { times, stepsLost } = scene.recovery(startedMs, after, []);
  return {
    target: victim,
    proof: `${proof}; started again as pid ${after.pids.get(victim)}, it copied step ${Number(copied.step)} from ${String(copied.from)}`,
    times: { ...times, catchUp: copied.atMs - ready.atMs + Number(ready.afterMs), firstStep: startToStep },
    stepsLost,
    details: { readyToStepMs: readyToStep, startToStepMs: startToStep },
  };
}

export async function killLeader(scene: Scene): Promise<Told> {
  const before = await scene.whole();
  const { step } = await scene.midEpoch(before.leader, before);
  const { atMs, proof } = await scene.kill(before.leader);
  return afterLeader(scene, before, atMs, `${proof} after step ${Number(step)}, in the middle of an epoch`);
}

/** A follower that cannot reach etcd cannot arrive, so the leader, which has arrived, cannot commit. */
export async function killLeaderArrival(scene: Scene): Promise<Told> {
  const before = await scene.whole();
  const { cluster } = scene;
  const late = followerOf(before);
  await scene.midEpoch(before.leader, before);
  cluster.network.cut(late, "etcd");
  const leaderId = before.members.get(before.leader)!;
  const { arrived, epoch } = await scene.until("the leader's arrival at an epoch's end", ({ entries, epoch }) => {
    const arrivals = [...entries.values()].filter(({ key }) => key.startsWith(cluster.observer.keys.arrived));
    const arrived = arrivals.find(({ value }) => value.includes(leaderId));
    return arrived ? { arrived: arrived.key, epoch } : null;
  });
  const { atMs, proof } = await scene.kill(before.leader);
  cluster.network.heal();
  const point = Number(/epoch-(\d+)/.exec(arrived)?.[1]);
  const uncommitted = point === epoch + 1;
  scene.check(uncommitted, `epoch ${point} was committed before the leader was killed`);
  return afterLeader(scene, before, atMs, `${proof} with its arrival at epoch ${point} in etcd and no record of it`);
}

/**
 * Small checkpoints are written in milliseconds: now and then the leader is done before the signal reaches it, or does not lead any more
 * when one is written.
 */
const attemptsAtWriting = 10;

export async function killLeaderWriting(scene: Scene): Promise<Told> {
  for (let attempt = 1; ; attempt++) {
    const before = await scene.whole();
    const killed = await killWhileWriting(scene, before);
    if ((killed === null || killed.step === null) && attempt < attemptsAtWriting) {
      await scene.bringBack(before.leader);
      continue;
    }
    if (killed === null) throw new LockstepError("process-failed", `Another worker led by then, ${attempt} times.`);
    const { atMs, proof, step } = killed;
    scene.check(step !== null, `the leader had finished its checkpoint before it was killed, ${attempt} times`);
    return afterLeader(scene, before, atMs, `${proof}; its half of the checkpoint of step ${step} is still there`);
  }
}

interface KilledWriting {
  readonly atMs: number;
  readonly proof: string;
  /** Of the checkpoint that is left half-written; null when it was finished. */
  readonly step: number | null;
}

/** Null, and nobody is killed, when the checkpoint is another leader's. */
async function killWhileWriting(scene: Scene, before: Standing): Promise<KilledWriting | null> {
  const { cluster } = scene;
  const { checkpoints, record } = cluster;
  const stagings = async () => (await readdir(checkpoints)).filter(isStaging);
  const known = await stagings();
  cluster.processes.hold(before.leader);
  const atMs = await inTime<number | null>("a checkpoint that is being written", 60_000, (found) => {
    const watcher = watch(checkpoints, (_, name) => {
      if (!name || !isStaging(name) || known.includes(name)) return;
      if (placeInId(record, stagedId(name) ?? "")?.fencingToken !== before.token) return found(null);
      cluster.child(before.leader).kill("SIGKILL");
      found(systemClock.wallMs());
    });
    return () => watcher.close();
  });
  if (atMs === null) return null;
  const { proof } = await scene.kill(before.leader);
  const [left] = (await stagings()).filter((name) => !known.includes(name));
  return { atMs, proof, step: left === undefined ? null : Number(/-step-(\d+)-/.exec(left)?.[1]) };
}

/** A new leader is elected, the boundary that was under way is committed and published, and the survivors train on. */
async function afterLeader(scene: Scene, before: Standing, atMs: number, proof: string): Promise<Told> {
  const survivors = othersOf(before, before.leader);
  const isElection = (line: { message?: unknown; process: string }) =>
    line.message === "elected leader" && survivors.includes(line.process);
  const election = await scene.line("a new leader", atMs, isElection);
  const { times, stepsLost } = await scene.recovered(atMs, before, survivors);
  const electedMs = election.atMs - atMs;
  scene.checkTime("the election of a new leader", electedMs, electionMs);
  scene.checkTime("the survivors' next step", times.firstStep, nextStepMs);
  const { epoch } = await scene.cluster.observer.read();
  const next = await scene.epochAfter(epoch);
  scene.check(nameOf(next.leader?.workerId ?? "") !== before.leader, "the leader that was killed still leads");
  await scene.until("its checkpoint", ({ latest }) => (latest && latest.epoch >= next.epoch ? latest : null));
  scene.checkKept(before, await scene.bringBack(before.leader), survivors);
  return {
    target: before.leader,
    proof: `${proof}; ${election.process} was elected after ${electedMs} ms`,
    times,
    stepsLost,
    details: { electionMs: electedMs },
  };
}

export async function killCoordinator(scene: Scene): Promise<Told> {
  const before = await scene.whole();
  const { cluster } = scene;
  const { atMs, proof } = await scene.kill("coordinator");
  const { epoch } = await cluster.observer.read();
  await scene.epochAfter(epoch + 1);
  const untilMs = systemClock.wallMs();
  const gapMs = longestGap(cluster.book.lines, [...before.members.keys()], atMs, untilMs);
  // Steps do pause at an epoch's end; a pause for the coordinator's sake would last until it is back.
  scene.checkTime("the longest time without a step", gapMs, nextStepMs);
  const back = systemClock.wallMs();
  cluster.processes.release("coordinator");
  const active = await scene.line("a coordinator", back, (line) => line.message === "active coordinator");
  const after = await scene.whole();
  scene.check(after.generation === before.generation, "the membership changed though all workers were there");
  scene.checkKept(before, after, [...before.members.keys()]);
  return {
    target: "coordinator",
    proof: `${proof}; two epochs were committed without one, and the longest gap between steps was ${gapMs} ms`,
    times: noTimes,
    stepsLost: scene.stepsRepeated(atMs),
    details: { longestGapMs: gapMs, takeoverMs: active.atMs - back },
  };
}

export async function killCoordinatorStandby(scene: Scene): Promise<Told> {
  const { cluster } = scene;
  await cluster.startCoordinator("coordinator-2");
  const before = await scene.whole();
  const victim = followerOf(before);
  // Its first look at the run, after which it watches the active one.
  await scene.epochAfter(before.now.epoch);
  const { atMs, proof } = await scene.kill("coordinator", victim);
  const active = await scene.line(
    "the standby taking over",
    atMs,
    (line) => line.process === "coordinator-2" && line.message === "active coordinator",
  );
  const survivors = othersOf(before, victim);
  const { times, stepsLost } = await scene.recovered(atMs, before, survivors);
  scene.checkTime("the next membership change", times.form, membershipMs);
  scene.checkKept(before, await scene.bringBack("coordinator", victim), survivors);
  const other = cluster.child("coordinator-2");
  const leavingMs = systemClock.wallMs();
  await other.stop(30_000);
  await scene.line(
    "the first coordinator active again",
    leavingMs,
    (line) => line.process === "coordinator" && line.message === "active coordinator",
  );
  return {
    target: `coordinator, ${victim}`,
    proof: `${proof}; coordinator-2 was active after ${active.atMs - atMs} ms`,
    times,
    stepsLost,
    details: { takeoverMs: active.atMs - atMs },
  };
}

/** Nobody stands by: a change of membership waits until the coordinator is back. */
export async function killCoordinatorWorker(scene: Scene): Promise<Told> {
  const { cluster } = scene;
  const { keys } = cluster.observer;
  const before = await scene.whole();
  const victim = followerOf(before);
  await scene.midEpoch(victim, before);
  const { atMs, proof } = await scene.kill("coordinator", victim);
  const id = before.members.get(victim)!;
  const survivors = othersOf(before, victim);
  const saysSo = (by: string) => keys.suspicion(before.generation, id, before.members.get(by)!);
  // Its own key is gone as well: there is nobody who could decide anything.
  await scene.until(`word of ${victim}, and the end of the coordinator's lease`, ({ entries }) =>
    survivors.every((by) => entries.has(saysSo(by))) && !entries.has(keys.coordinator) ? true : null,
  );
  const backMs = systemClock.wallMs();
  const { generation } = await cluster.observer.read();
  const isUnchanged = generation?.kind === "running" && generation.generation === before.generation;
  scene.check(isUnchanged, "the membership changed without a coordinator");
  cluster.processes.release("coordinator");
  const active = await scene.line("a coordinator", backMs, (line) => line.message === "active coordinator");
  const { times, stepsLost } = await scene.recovered(atMs, before, survivors);
  const changeMs = times.form === null ? null : atMs + times.form - active.atMs;
  scene.checkTime("the membership change, once a coordinator was active", changeMs, membershipMs);
  scene.checkKept(before, await scene.bringBack(victim), survivors);
  return {
    target: `coordinator, ${victim}`,
    proof: `${proof}; generation ${before.generation} stood for ${backMs - atMs} ms, and the next one ran ${changeMs} ms after a coordinator was active again`,
    times,
    stepsLost,
    details: { takeoverMs: active.atMs - backMs, ...(changeMs !== null && { changeMs }) },
  };
}

export async function killTwo(scene: Scene): Promise<Told> {
  const before = await scene.whole();
  return killSeveral(scene, before, [before.leader, followerOf(before)]);
}

export async function killAllButOne(scene: Scene): Promise<Told> {
  const before = await scene.whole();
  return killSeveral(scene, before, othersOf(before, followerOf(before)));
}

async function killSeveral(scene: Scene, before: Standing, victims: readonly string[]): Promise<Told> {
  if (before.members.size < 3) throw new NotHere("it needs at least three workers");
  await scene.midEpoch(before.leader, before);
  const { atMs, proof } = await scene.kill(...victims);
  const survivors = othersOf(before, ...victims);
  const { times, stepsLost } = await scene.recovered(atMs, before, survivors);
  scene.checkTime("the survivors' next step", times.firstStep, 2 * nextStepMs);
  scene.checkKept(before, await scene.bringBack(...victims), survivors);
  return { target: victims.join(", "), proof, times, stepsLost };
}

export async function killAllWorkers(scene: Scene): Promise<Told> {
  const before = await scene.whole();
  await scene.epochAfter(before.now.epoch);
  await scene.midEpoch(before.leader, before);
  const everyone = [...before.members.keys()];
  const { atMs, proof } = await scene.kill(...everyone);
  const { latest } = await scene.cluster.observer.read();
  const back = systemClock.wallMs();
  const after = await scene.bringBack(...everyone);
  const running = await scene.line("a generation from latest", back, (line) => line.message === "running");
  scene.check(running.source === latest?.id, `it went on from ${String(running.source)}, not from ${latest?.id}`);
  const first = await scene.firstStep(after.leader, Number(running.generation));
  const step = latest?.step ?? 0;
  scene.check(Number(first.step) === step + 1, `the first step was ${Number(first.step)}, latest was step ${step}`);
  const { times } = scene.recovery(back, before, []);
  return {
    target: everyone.join(", "),
    proof: `${proof}; ${everyone.length} new processes went on from latest, step ${step}`,
    times: { ...times, form: running.atMs - atMs, firstStep: first.atMs - atMs },
    stepsLost: null,
  };
}
