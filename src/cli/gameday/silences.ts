/** Faults of silence: workers that are stopped, and networks that are cut. Whoever was away may not change a thing. */
import { systemClock } from "../../adapters/system/clock.ts";
import { memberIds } from "../../core/membership.ts";
import type { LogLine } from "../../core/log-reading.ts";
import { NotHere } from "./cluster.ts";
import { socketOwnersAreKnown } from "./socket-owner.ts";
import { followerOf, othersOf, type Scene, type Standing, type Told } from "./scene.ts";

/** Beyond the failure budget, until the next generation is written down. */
const decisionMs = 1500;

export async function stopWorker(scene: Scene): Promise<Told> {
  const before = await scene.whole();
  return stop(scene, before, followerOf(before));
}

export async function stopLeader(scene: Scene): Promise<Told> {
  const before = await scene.whole();
  return stop(scene, before, before.leader);
}

/** SIGSTOP until its lease is over and the others have committed an epoch without it, then SIGCONT. */
async function stop(scene: Scene, before: Standing, sleeper: string): Promise<Told> {
  const { observer } = scene.cluster;
  const id = before.members.get(sleeper)!;
  const child = scene.cluster.child(sleeper);
  await scene.midEpoch(sleeper, before);
  const atMs = systemClock.wallMs();
  child.kill("SIGSTOP");
  const left = await leftOut(scene, before, id);
  await scene.until(`the end of the lease of ${id}`, ({ entries }) => !entries.has(observer.keys.member(id)) || null);
  const survivors = othersOf(before, sleeper);
  const recovery = await scene.recovered(atMs, before, survivors);
  const others = await scene.epochAfter(Math.max(left.epoch, before.now.epoch));
  const leaseMs = systemClock.wallMs() - atMs;
  const wokenMs = systemClock.wallMs();
  child.kill("SIGCONT");
  const after = await scene.whole();
  const noticed = await noticedBy(scene, sleeper, wokenMs);
  scene.check(after.pids.get(sleeper) === before.pids.get(sleeper), `${sleeper} was started again instead of joining`);
  scene.check(after.members.get(sleeper) !== id, `${sleeper} came back under its old id`);
  scene.checkTime("its eviction", recovery.times.form, scene.limits.budgetMs + decisionMs);
  scene.checkKept(before, after, survivors);
  checkFenced(scene, before, sleeper, atMs, after);
  return {
    target: sleeper,
    proof: `${sleeper} (pid ${child.pid}) was stopped for ${leaseMs} ms; its lease ran out and epoch ${others.epoch} was committed without it; awake, it said "${String(noticed.message)}" and came back as ${after.members.get(sleeper)}`,
    times: recovery.times,
    stepsLost: recovery.stepsLost,
    details: { silentMs: leaseMs },
  };
}

export async function cutPeers(scene: Scene): Promise<Told> {
  return cut(scene, "peers, both ways", (victim, peers) => [
    ...peers.map((peer) => [victim, peer] as const),
    ...peers.map((peer) => [peer, victim] as const),
  ]);
}

export async function cutOneWay(scene: Scene): Promise<Told> {
  return cut(scene, "peers, one way", (victim, peers) => peers.map((peer) => [victim, peer] as const));
}

/** It reaches the others, and hears nothing of them. */
export async function cutOneWayIn(scene: Scene): Promise<Told> {
  return cut(scene, "peers, the other way", (victim, peers) => peers.map((peer) => [peer, victim] as const));
}

export async function cutEtcd(scene: Scene): Promise<Told> {
  return cut(scene, "etcd", (victim) => [
    [victim, "etcd"],
    ["etcd", victim],
  ]);
}

/** It is told of every change, and can write nothing itself. */
export async function cutEtcdOneWay(scene: Scene): Promise<Told> {
  return cut(scene, "etcd, one way", (victim) => [[victim, "etcd"]]);
}

async function cut(
  scene: Scene,
  from: string,
  directions: (victim: string, peers: readonly string[]) => readonly (readonly [string, string])[],
): Promise<Told> {
  if (!socketOwnersAreKnown) throw new NotHere("which process a connection comes from is known on Linux only");
  const { network } = scene.cluster;
  const before = await scene.whole();
  if (before.members.size < 3 && !from.startsWith("etcd")) {
    throw new NotHere("of two workers, nobody can tell which one is cut off; it needs three");
  }
  const victim = followerOf(before);
  const id = before.members.get(victim)!;
  const survivors = othersOf(before, victim);
  await scene.midEpoch(victim, before);
  const swallowedBefore = network.swallowed;
  const atMs = systemClock.wallMs();
  for (const [sender, receiver] of directions(victim, survivors)) network.cut(sender, receiver);
  const left = await leftOut(scene, before, id);
  const recovery = await scene.recovered(atMs, before, survivors);
  const others = await scene.epochAfter(Math.max(left.epoch, before.now.epoch));
  const swallowed = network.swallowed - swallowedBefore;
  scene.check(swallowed > 0, "nothing was swallowed");
  const healedMs = systemClock.wallMs();
  network.heal();
  const after = await scene.whole();
  const noticed = await noticedBy(scene, victim, atMs);
  scene.checkTime("its eviction", recovery.times.form, scene.limits.budgetMs + decisionMs);
  // Which end of a link is at fault, nobody can know: one at the other end may have had to join again.
  const ids = survivors.filter((name) => before.members.get(name) !== after.members.get(name));
  for (const name of survivors) {
    scene.check(before.pids.get(name) === after.pids.get(name), `${name} was started again`);
  }
  scene.check(after.members.get(victim) !== id, `${victim} came back under its old id`);
  checkFenced(scene, before, victim, atMs, after);
  return {
    target: `${victim} from ${from}`,
    proof: `${swallowed} bytes were swallowed in ${healedMs - atMs} ms; epoch ${others.epoch} was committed without ${victim}, which said "${String(noticed.message)}" and came back as ${after.members.get(victim)}${ids.length === 0 ? "" : `; at the other end ${ids.join(" and ")} had to join again`}`,
    times: recovery.times,
    stepsLost: recovery.stepsLost,
    details: { swallowedBytes: swallowed, generations: after.generation - before.generation, joinedAgain: ids.length },
  };
}

/** Resolves when a generation without this id is forming or runs. */
async function leftOut(scene: Scene, before: Standing, id: string): Promise<{ readonly epoch: number }> {
  return scene.until(`a generation without ${id}`, (now) =>
    now.generation && now.generation.generation > before.generation && !memberIds(now.generation).includes(id)
      ? now
      : null,
  );
}

/** What a worker says when it finds that the others went on without it. */
export async function noticedBy(scene: Scene, name: string, sinceMs: number): Promise<LogLine> {
  const words = ["left out of the generation", "evicted; joining again"];
  return scene.line(
    `${name} noticing that it was left out`,
    sinceMs,
    ({ process, message }) => process === name && words.some((word) => String(message).startsWith(word)),
  );
}

/** Between the fault and its return under a new id a process has committed and published nothing, and leads no more. */
function checkFenced(scene: Scene, before: Standing, name: string, atMs: number, after: Standing): void {
  const id = before.members.get(name)!;
  const gone = scene.cluster.book.lines.find((line) => line.message === "forming" && line.atMs >= atMs);
  const back = scene.cluster.book.lines.findLast(
    (line) => line.process === name && line.message === "stopped and reported" && line.atMs >= atMs,
  );
  const acted = scene.cluster.book.lines.filter(
    ({ process, message, atMs: saidMs }) =>
      process === name &&
      (message === "committed" || message === "published") &&
      saidMs > (gone?.atMs ?? atMs) &&
      saidMs < (back?.atMs ?? 0),
  );
  scene.check(acted.length === 0, `${name} said that it ${String(acted[0]?.message)} something while it was left out`);
  // Epochs that were committed in generations without it name it nowhere, and the leadership is another's.
  for (const { epoch, generation, members } of after.now.epochs) {
    const without = generation > before.generation;
    scene.check(!without || !members.includes(id), `epoch ${epoch} of generation ${generation} names ${id}`);
  }
  scene.check(after.now.leader?.workerId !== id, `${id} still leads`);
  if (before.leader !== name) return;
  scene.check(after.token > before.token, "the new leader's token is not above the old one");
  const { latest } = after.now;
  const token = Number(/-t(\d+)-/.exec(latest?.id ?? "")?.[1]);
  scene.check(token !== before.token || latest?.generation === before.generation, `latest was written under ${token}`);
}
